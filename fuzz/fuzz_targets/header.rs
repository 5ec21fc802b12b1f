//! Header parsing: no input panics, and whatever is accepted is exactly what its values are written as.
//!
//! Inputs are applied as patches to a sound header, and put in place of its JSON; the checksums are then mended, since
//! otherwise nearly every input would end there. Patches are repeated (offset: u16 LE, byte: u8); an offset's top bit
//! chooses the secondary copy. The input's length chooses the kind of volume.
#![no_main]

use std::sync::LazyLock;

use dawnkey_dm::header::{HEADER_COPY_BYTES, REGION_BYTES, SealedHeader, parse};
use dawnkey_dm::{Integrity, Layout};
use dawnkey_secret::Dek;
use libfuzzer_sys::fuzz_target;

fn dek() -> Dek {
    Dek::take(&mut [7; 32]).expect("32 bytes")
}

/// A sound header of each kind of integrity, one with a journal MAC, one that is not ready.
static SOUND: LazyLock<Vec<SealedHeader>> = LazyLock::new(|| {
    let layout = |kind| Layout::for_disk(kind, 256 << 20).expect("large enough");
    let hmac = layout(Integrity::HmacSha256);
    let mut layouts: Vec<_> = Integrity::ALL.into_iter().map(layout).collect();
    layouts.push(hmac.with_journal_mac(true));
    layouts.push(hmac.with_ready(4096).expect("within the volume"));
    let volume = "0f0e0d0c-0b0a-4908-8706-050403020100"
        .parse()
        .expect("an id");
    let made = layouts
        .into_iter()
        .map(|layout| SealedHeader::create(volume, 1, 1, layout, &dek()));
    made.map(|made| made.expect("random source").0).collect()
});

fn mend(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = sha2::Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&sum);
}

use sha2::Digest as _;

fuzz_target!(|input: &[u8]| {
    let _ = parse(input);
    let sound = &SOUND[input.len() % SOUND.len()];
    judge(sound, |region| {
        for patch in input.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([patch[0], patch[1]]));
            region[at % REGION_BYTES] = patch[2];
        }
    });
    judge(sound, |region| {
        for copy in region.chunks_exact_mut(HEADER_COPY_BYTES) {
            let area = &mut copy[4096..];
            let length = input.len().min(area.len());
            area.fill(0);
            area[..length].copy_from_slice(&input[..length]);
        }
    });
});

/// Changes the sound header, mends both copies, and looks at what is read from it.
fn judge(sound: &SealedHeader, change: impl Fn(&mut [u8; REGION_BYTES])) {
    let mut region = sound.encode();
    change(&mut region);
    region.chunks_exact_mut(HEADER_COPY_BYTES).for_each(mend);
    let Ok(parsed) = parse(region.as_slice()) else {
        return;
    };
    let written = parsed.header.encode();
    let (first, second) = written.split_at(HEADER_COPY_BYTES);
    assert!(*first == region[..HEADER_COPY_BYTES] || *second == region[HEADER_COPY_BYTES..]);
    // Only the header that was sealed opens.
    assert_eq!(parsed.header.open(&dek()).is_ok(), parsed.header == *sound);
}
