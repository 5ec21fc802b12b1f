//! Writing a header: the copy that is not needed, flush, the other copy, flush.

use std::io;

use crate::disk::Disk;
use crate::header::{Condition, CopyName, HEADER_COPY_BYTES, SealedHeader};

/// Writes both copies over a header that was found in `condition` (a blank disk counts as clean). On success the disk
/// has confirmed that they are durable.
///
/// At every moment one whole copy is on the disk, if one was there before; and it is the newest one, since the damaged
/// or older copy is overwritten first. Of two equal copies the secondary is.
pub fn write(disk: &mut dyn Disk, header: &SealedHeader, condition: Condition) -> io::Result<()> {
    let region = header.encode();
    let (primary, secondary) = region.split_at(HEADER_COPY_BYTES);
    let primary = (CopyName::Primary, primary);
    let secondary = (CopyName::Secondary, secondary);
    let order = match condition {
        Condition::Clean => [secondary, primary],
        Condition::Recovered { damaged: first, .. } | Condition::Interrupted { older: first } => {
            match first {
                CopyName::Primary => [primary, secondary],
                CopyName::Secondary => [secondary, primary],
            }
        }
    };
    for (which, copy) in order {
        disk.write_at(which.offset(), copy)?;
        disk.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::geometry::{Integrity, Layout};
    use crate::header::{REGION_BYTES, Torn, parse};
    use crate::testing::{MemoryDisk, Operation};
    use dawnkey_secret::Dek;
    use uuid::Uuid;

    fn dek() -> Dek {
        Dek::take(&mut [7; 32]).unwrap()
    }

    fn two_states() -> (SealedHeader, SealedHeader) {
        let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
        let (old, key) = SealedHeader::create(Uuid::from_u128(1), 1, 1, layout, &dek()).unwrap();
        let new = old.advance(old.next(2), &dek(), &key).unwrap();
        (old, new)
    }

    /// Every condition, and the copy that must be overwritten first.
    fn conditions() -> [(Condition, CopyName); 5] {
        use CopyName::{Primary, Secondary};
        let torn = Torn::Checksum;
        let recovered = |damaged| Condition::Recovered { damaged, torn };
        [
            (Condition::Clean, Secondary),
            (recovered(Primary), Primary),
            (recovered(Secondary), Secondary),
            (Condition::Interrupted { older: Primary }, Primary),
            (Condition::Interrupted { older: Secondary }, Secondary),
        ]
    }

    #[test]
    fn overwrites_the_copy_that_is_not_needed_first_and_flushes_after_each() {
        let (old, _) = two_states();
        for (condition, first) in conditions() {
            let mut disk = MemoryDisk::zeros(64 << 20);
            write(&mut disk, &old, condition).unwrap();
            let order: Vec<String> = disk
                .log
                .iter()
                .map(|operation| match operation {
                    Operation::Write(offset, bytes) => format!("write {offset}+{}", bytes.len()),
                    Operation::Flush => "flush".into(),
                })
                .collect();
            let (a, b) = ("write 0+16384", "write 16384+16384");
            let wanted = match first {
                CopyName::Primary => [a, "flush", b, "flush"],
                CopyName::Secondary => [b, "flush", a, "flush"],
            };
            assert_eq!(order, wanted, "{condition:?}");
        }
    }

    #[test]
    fn any_failed_write_or_flush_is_an_error_and_leaves_a_state_that_opens() {
        let (old, new) = two_states();
        for (condition, first) in conditions() {
            for failing in 0..4 {
                let mut disk = MemoryDisk::zeros(64 << 20);
                write(&mut disk, &old, Condition::Clean).unwrap();
                if condition != Condition::Clean {
                    disk.load(first.offset(), &[0; HEADER_COPY_BYTES]);
                }
                disk.fail_after = Some(failing);
                assert!(
                    write(&mut disk, &new, condition).is_err(),
                    "operation {failing}"
                );
                let found = parse(&disk.bytes()[..REGION_BYTES]).unwrap().header;
                assert!(found == old || found == new);
            }
        }
    }
}
