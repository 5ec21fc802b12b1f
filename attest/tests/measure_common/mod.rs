//! Files that the tests of measurements are made of.
#![allow(dead_code, clippy::indexing_slicing, clippy::cast_possible_truncation)] // each test binary uses its part

pub const STUB_252: &[u8] = b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\0";
pub const STUB_257: &[u8] = b"#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0";
pub const HEADERS: usize = 0x400;
pub const OPTIONAL: usize = 0x40 + 24;

/// A PE32+ file with these sections, each at the next multiple of 512 bytes.
pub fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; HEADERS];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &(sections.len() as u16).to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    put(0x56, &0x0022u16.to_le_bytes());
    put(OPTIONAL, &0x020bu16.to_le_bytes());
    put(OPTIONAL + 32, &4096u32.to_le_bytes());
    put(OPTIONAL + 36, &512u32.to_le_bytes());
    put(OPTIONAL + 60, &(HEADERS as u32).to_le_bytes());
    put(OPTIONAL + 108, &16u32.to_le_bytes());
    for (index, (name, content)) in sections.iter().enumerate() {
        let start = out.len();
        let raw = content.len().next_multiple_of(512);
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[8..12].copy_from_slice(&(content.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(0x1_0000 * (index as u32 + 1)).to_le_bytes());
        header[16..20].copy_from_slice(&(raw as u32).to_le_bytes());
        header[20..24].copy_from_slice(&(start as u32).to_le_bytes());
        out[OPTIONAL + 240 + index * 40..][..40].copy_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(start + raw, 0);
    }
    out
}

pub fn kernel() -> Vec<u8> {
    pe(&[(".text", b"kernel code")])
}

pub fn image(stub: &[u8], cmdline: &[u8]) -> Vec<u8> {
    pe(&[
        (".sdmagic", stub),
        (".sbat", b"sbat"),
        (".osrel", b"ID=x\n"),
        (".cmdline", cmdline),
        (".initrd", b"initrd!"),
        (".linux", &kernel()),
    ])
}

/// Google's synthetic firmware (google/gce-tcb-verifier, `testing/fakeovmf`, `CleanExample` of 2 MiB), for which digests
/// are published. Its TDX sections are those of OVMF.
pub fn google_firmware() -> Vec<u8> {
    const SIZE: usize = 2 << 20;
    let mut firmware = vec![0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| firmware[at..at + bytes.len()].copy_from_slice(bytes);
    let sev: [u32; 13] = [
        u32::from_le_bytes(*b"ASEV"),
        52,
        1,
        3,
        0xff00_1000,
        0x1000,
        1,
        0xff00_3000,
        0x1000,
        3,
        0xff00_4000,
        0x1000,
        2,
    ];
    put(0, &words(&sev));
    put(
        0x100,
        &hex::decode("f3f9eae98e16d544a8eb7f4d8738f6ae").unwrap(),
    );
    let mut tdx = words(&[u32::from_le_bytes(*b"TDVF"), 208, 1, 6]);
    for (offset, raw, address, size, kind, attributes) in [
        (0x2_0000, 0x1e_0000, 0xffe2_0000, 0x1e_0000, 0, 1),
        (0, 0x2_0000, 0xffe0_0000, 0x2_0000, 1, 0),
        (0, 0, 0x81_0000, 0x1_0000, 3, 0),
        (0, 0, 0x80_b000, 0x2000, 3, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ] {
        tdx.extend(words(&[offset, raw, address, 0, size, 0, kind, attributes]));
    }
    put(0x110, &tdx);
    put(0x800, b"LGTMLGTMLGTMLGTM");
    put(0xa00, b"LGTMLGTMLGTMLGTM");
    // Entries of OVMF's table, the last one first.
    let mut at = SIZE - 32 - 18;
    for (value, guid) in [
        (0xff00_00ff, "de71f7007e1acb4f890e68c77e2fb44e"),
        (SIZE as u32, "666588dc4a989847a75e5585a7bf67cc"),
        (SIZE as u32 - 0x110, "35657ae44a989847865e4685a7bf8ec2"),
    ] {
        at -= 22;
        put(at, &u32::to_le_bytes(value));
        put(at + 4, &22u16.to_le_bytes());
        put(at + 6, &hex::decode(guid).unwrap());
    }
    put(SIZE - 50, &84u16.to_le_bytes());
    put(
        SIZE - 48,
        &hex::decode("de82b596b21ff745baeaa366c55a082d").unwrap(),
    );
    firmware
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
