//! Writing a header: secondary copy, flush, primary copy, flush.

use std::io;

use crate::disk::Disk;
use crate::header::{CopyName, HEADER_COPY_BYTES, SealedHeader};

/// Writes both copies. On success the disk has confirmed that they are durable.
///
/// At every moment one whole copy is on the disk, if one was there before.
pub fn write(disk: &mut dyn Disk, header: &SealedHeader) -> io::Result<()> {
    let region = header.encode();
    let (primary, secondary) = region.split_at(HEADER_COPY_BYTES);
    disk.write_at(CopyName::Secondary.offset(), secondary)?;
    disk.flush()?;
    disk.write_at(CopyName::Primary.offset(), primary)?;
    disk.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::geometry::{Integrity, Layout};
    use crate::header::{REGION_BYTES, parse};
    use crate::testing::{MemoryDisk, Operation};
    use dawnkey_secret::Dek;
    use uuid::Uuid;

    fn dek() -> Dek {
        Dek::take(&mut [7; 32]).unwrap()
    }

    fn two_states() -> (SealedHeader, SealedHeader) {
        let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
        let (old, key) = SealedHeader::create(Uuid::from_u128(1), 1, 1, layout, &dek()).unwrap();
        let new = old.advance(2, &dek(), &key).unwrap();
        (old, new)
    }

    /// Everything the disk may hold after a power cut at any moment: a prefix of the flushed writes, then any subset
    /// of the sectors written since the last flush.
    fn torn_states(before: &[u8], log: &[Operation], mut check: impl FnMut(&[u8])) {
        let mut flushed = before.to_vec();
        for operation in log {
            let Operation::Write(offset, bytes) = operation else {
                continue;
            };
            let at = usize::try_from(*offset).unwrap();
            let sectors = bytes.len() / 512;
            // Every prefix, every suffix, every single sector, and every other sector.
            let keep: Vec<Box<dyn Fn(usize) -> bool>> = (0..=sectors)
                .flat_map(|n| {
                    let all: [Box<dyn Fn(usize) -> bool>; 3] = [
                        Box::new(move |s| s < n),
                        Box::new(move |s| s >= n),
                        Box::new(move |s| s == n),
                    ];
                    all
                })
                .chain([Box::new(|s: usize| s.is_multiple_of(2)) as Box<dyn Fn(usize) -> bool>])
                .collect();
            for kept in keep {
                let mut torn = flushed.clone();
                for sector in (0..sectors).filter(|s| kept(*s)) {
                    let range = sector * 512..(sector + 1) * 512;
                    torn[at..][range.clone()].copy_from_slice(&bytes[range]);
                }
                check(&torn);
            }
            flushed[at..at + bytes.len()].copy_from_slice(bytes);
        }
        check(&flushed);
    }

    #[test]
    fn every_torn_update_opens_the_old_or_the_new_state() {
        let (old, new) = two_states();
        let mut disk = MemoryDisk::zeros(64 << 20);
        write(&mut disk, &old).unwrap();
        let before = disk.bytes()[..REGION_BYTES].to_vec();
        disk.log.clear();
        write(&mut disk, &new).unwrap();
        let (mut states, mut olds, mut news) = (0, 0, 0);
        torn_states(&before, &disk.log, |torn| {
            let found = parse(torn).unwrap().header;
            assert!(found.open(&dek()).is_ok());
            match found.seen().generation {
                1 => olds += 1,
                2 => news += 1,
                other => panic!("generation {other}"),
            }
            states += 1;
        });
        assert!(
            states > 150 && olds > 10 && news > 10,
            "{states} {olds} {news}"
        );
    }

    #[test]
    fn every_torn_first_write_is_refused_or_is_the_new_state() {
        let (old, _) = two_states();
        let mut disk = MemoryDisk::zeros(64 << 20);
        write(&mut disk, &old).unwrap();
        torn_states(&vec![0; REGION_BYTES], &disk.log, |torn| {
            if let Ok(parsed) = parse(torn) {
                assert_eq!(parsed.header, old);
            }
        });
    }

    #[test]
    fn writes_secondary_then_primary_and_flushes_after_each() {
        let (old, _) = two_states();
        let mut disk = MemoryDisk::zeros(64 << 20);
        write(&mut disk, &old).unwrap();
        let order: Vec<String> = disk
            .log
            .iter()
            .map(|operation| match operation {
                Operation::Write(offset, bytes) => format!("write {offset}+{}", bytes.len()),
                Operation::Flush => "flush".into(),
            })
            .collect();
        assert_eq!(
            order,
            ["write 16384+16384", "flush", "write 0+16384", "flush"]
        );
    }

    #[test]
    fn any_failed_write_or_flush_is_an_error_and_leaves_a_state_that_opens() {
        let (old, new) = two_states();
        for failing in 0..4 {
            let mut disk = MemoryDisk::zeros(64 << 20);
            write(&mut disk, &old).unwrap();
            disk.fail_after = Some(failing);
            assert!(write(&mut disk, &new).is_err(), "operation {failing}");
            let found = parse(&disk.bytes()[..REGION_BYTES]).unwrap().header;
            assert!(found == old || found == new);
        }
    }
}
