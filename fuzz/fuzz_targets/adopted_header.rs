//! Foreign LUKS2 headers: no input panics, and what is taken keeps the rules whatever else it says.
//!
//! The input stands in place of the JSON of a header whose binary part and checksums are right, after a seed that is a
//! real header's JSON; or it patches one. Patches are repeated (offset: u16 LE, byte: u8).
#![no_main]

use dawnkey_dm::adopt::parse;
use dawnkey_dm::header::{HEADER_COPY_BYTES, REGION_BYTES};
use libfuzzer_sys::fuzz_target;
use sha2::Digest as _;

const DISK_BYTES: u64 = 256 << 20;
/// Written by cryptsetup 2.6.1.
const JSON: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"argon2id","time":4,"memory":65536,"cpus":2,"salt":"1e4b3oIVOfMl8OaDRhqGX0Kqn5qZQ0jJOFjgIKTfmx0="}}},"tokens":{},"segments":{"0":{"type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"w0AzaMBlwvy8WYB+1vycKIcWUFBfiUEoM0EC3i//bUY=","digest":"QyR/k4zVVa9lBPZgyen2UFhLxJGmj7jvrqthedHjgsU="}},"config":{"json_size":"12288","keyslots_size":"16744448"}}"#;

fuzz_target!(|input: &[u8]| {
    let _ = parse(input, DISK_BYTES);
    judge(&mut region(input));
    let mut patched = region(JSON.as_bytes());
    for patch in input.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % HEADER_COPY_BYTES;
        for copy in patched.chunks_exact_mut(HEADER_COPY_BYTES) {
            copy[at] = patch[2];
        }
    }
    judge(&mut patched);
});

/// Two copies around a text.
fn region(json: &[u8]) -> Vec<u8> {
    let mut region = vec![0; REGION_BYTES];
    let magics = [*b"LUKS\xba\xbe", *b"SKUL\xba\xbe"];
    for (copy, magic) in region.chunks_exact_mut(HEADER_COPY_BYTES).zip(magics) {
        copy[..6].copy_from_slice(&magic);
        copy[7] = 2;
        copy[14] = 0x40;
        copy[23] = 1;
        copy[72..78].copy_from_slice(b"sha256");
        copy[168..204].copy_from_slice(b"0f0e0d0c-0b0a-4908-8706-050403020100");
        copy[262] = if magic[0] == b'S' { 0x40 } else { 0 };
        let length = json.len().min(HEADER_COPY_BYTES - 4096);
        copy[4096..4096 + length].copy_from_slice(&json[..length]);
    }
    region
}

/// Mends both checksums and looks at what is taken.
fn judge(region: &mut [u8]) {
    for copy in region.chunks_exact_mut(HEADER_COPY_BYTES) {
        copy[448..512].fill(0);
        let sum = sha2::Sha256::digest(&*copy);
        copy[448..480].copy_from_slice(&sum);
    }
    let Ok(header) = parse(region, DISK_BYTES) else {
        return;
    };
    assert!(header.area_bytes() <= header.data_offset() && header.data_offset() < DISK_BYTES);
    assert!((1..=32).contains(&header.keyslots().len()));
}
