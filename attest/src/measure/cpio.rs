//! The small cpio archives systemd-stub makes of UKI sections and appends to the initrd.
//!
//! Format `newc`: a directory `.extra`, one file in it, a trailer; all owned by root at time zero.

/// One archive with the file `.extra/<name>`.
pub(super) fn extra(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    entry(&mut out, 1, 0o040_555, ".extra", &[]);
    entry(&mut out, 2, 0o100_444, &format!(".extra/{name}"), content);
    out.extend_from_slice(TRAILER);
    out
}

/// Appends zeros up to a multiple of four.
pub(super) fn pad4(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

const TRAILER: &[u8] = b"070701\
    00000000000000000000000000000000\
    00000001000000000000000000000000\
    0000000000000000000000000000000B00000000\
    TRAILER!!!\0\0\0\0";

fn entry(out: &mut Vec<u8>, inode: usize, mode: usize, name: &str, content: &[u8]) {
    let fields = [
        inode,
        mode,
        0,
        0,
        1,
        0,
        content.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad4(out);
    out.extend_from_slice(content);
    pad4(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_aligned_and_end_with_a_trailer() {
        let archive = extra("os-release", b"ID=x");
        assert_eq!(archive.len() % 4, 0);
        assert_eq!(TRAILER.len(), 124);
        assert!(archive.ends_with(TRAILER));
    }
}
