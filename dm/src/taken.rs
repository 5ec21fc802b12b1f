//! What dm-integrity took from the superblock, asked of the kernel before the mapping is started.
//!
//! The kernel reads the superblock by itself when a table is loaded, once, and whoever has the disk may answer that
//! read otherwise than ours. So between loading and starting, the kernel is asked what it is going to work with, and
//! that is compared with the sealed layout. Afterwards it works with its own memory and reads no superblock again.
//!
//! What it says is `dm_integrity_status` of `drivers/md/dm-integrity.c` (Linux 6.12). Of the superblock's fields, tag
//! size, block size, version and the journal-MAC and recalculation flags are compared by the kernel with the table;
//! the journal's length, the interleaving and the padding of tag runs it takes over, and says so. The number of data
//! sectors it computes anew from the disk's size: a grown disk has more, and the first ones are where they were.

use crate::geometry::{BLOCK_BYTES, DATA_OFFSET_SECTORS, INTERLEAVE_SECTORS, Layout};
use crate::tables::{DeviceNumber, Writing, journal_mac};
use dawnkey_secret::JournalKey;
use zeroize::Zeroizing;

/// A loaded table in the kernel's own words, before it is started.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The target's parameters (`dmsetup table`), the journal MAC's key among them.
    pub(crate) table: Zeroizing<String>,
    /// The target's state (`dmsetup status`).
    pub(crate) status: String,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("table", &redacted(&self.table))
            .field("status", &self.status)
            .finish()
    }
}

/// Words of a table without the keys that may be in them: a key is what stands behind an algorithm.
fn redacted(words: &str) -> String {
    let clipped = words
        .split(' ')
        .map(|word| match word.split(':').collect::<Vec<_>>()[..] {
            [option, algorithm, _, ..] => format!("{option}:{algorithm}:…"),
            _ => word.to_owned(),
        });
    clipped.collect::<Vec<_>>().join(" ")
}

/// The kernel would work with another layout than the sealed one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakenError {
    /// The kernel's words are not of the known form.
    #[error(
        "understand what dm-integrity says of itself: {text:?} is not of the form of Linux 6.12"
    )]
    Form {
        /// What it says.
        text: String,
    },
    /// An option that the superblock, not the table, has switched on or changed.
    #[error(
        "dm-integrity works with {found:?}, which the table did not ask for: the disk showed it another superblock than was checked"
    )]
    Added {
        /// The option.
        found: String,
    },
    /// An option of the table that the superblock has taken away or changed.
    #[error(
        "dm-integrity does not work with {wanted:?}: the disk showed it another superblock than was checked"
    )]
    Missing {
        /// The option.
        wanted: String,
    },
    /// The device provides fewer sectors than the volume has.
    #[error("dm-integrity provides {found} sectors, the volume has {wanted}")]
    TooFew {
        /// What it provides.
        found: u64,
        /// What the sealed layout has.
        wanted: u64,
    },
    /// Tags are being computed anew.
    #[error("dm-integrity is about to compute tags anew from sector {from}; it must never")]
    Recalculating {
        /// Where it stands.
        from: String,
    },
}

/// Options that come from the table's defaults and decide over speed only.
const SPEED: &[&str] = &["buffer_sectors:", "journal_watermark:", "commit_time:"];

/// Compares a loaded dm-integrity table with what was asked for.
pub(crate) fn check(
    loaded: &Loaded,
    disk: DeviceNumber,
    layout: &Layout,
    writing: Writing,
    journal: Option<&JournalKey>,
) -> Result<(), TakenError> {
    options(&loaded.table, disk, layout, writing, journal)?;
    let form = || TakenError::Form {
        text: loaded.status.clone(),
    };
    let mut words = loaded.status.split_ascii_whitespace().skip(1);
    let found = words.next().and_then(|word| word.parse().ok());
    let (found, recalculated): (u64, _) = found.zip(words.next()).ok_or_else(form)?;
    let wanted = layout.data_sectors();
    if recalculated != "-" {
        let from = recalculated.to_owned();
        Err(TakenError::Recalculating { from })
    } else if found < wanted {
        Err(TakenError::TooFew { found, wanted })
    } else {
        Ok(())
    }
}

fn options(
    table: &str,
    disk: DeviceNumber,
    layout: &Layout,
    writing: Writing,
    journal: Option<&JournalKey>,
) -> Result<(), TakenError> {
    let form = || TakenError::Form {
        text: redacted(table),
    };
    let begin = format!(
        "{disk} {DATA_OFFSET_SECTORS} {} {} ",
        layout.integrity().tag_bytes(),
        writing.letter()
    );
    let mut words = table
        .strip_prefix(&begin)
        .ok_or_else(form)?
        .split_ascii_whitespace();
    let count: Option<usize> = words.next().and_then(|word| word.parse().ok());
    let found: Vec<&str> = words.collect();
    if count != Some(found.len()) {
        return Err(form());
    }
    let mut wanted = vec![
        Zeroizing::new(format!("block_size:{BLOCK_BYTES}")),
        Zeroizing::new(format!("journal_sectors:{}", layout.journal_sectors())),
        Zeroizing::new(format!("interleave_sectors:{INTERLEAVE_SECTORS}")),
        Zeroizing::new("fix_padding".to_owned()),
    ];
    if let Some(key) = journal {
        wanted.extend([Zeroizing::new("fix_hmac".to_owned()), journal_mac(key)]);
    }
    let speed = |word: &&str| SPEED.iter().any(|option| word.starts_with(option));
    let mut rest = found.iter().filter(|word| !speed(word));
    if let Some(added) = rest.find(|word| !wanted.iter().any(|option| option.as_str() == **word)) {
        return Err(TakenError::Added {
            found: redacted(added),
        });
    }
    match wanted
        .into_iter()
        .find(|option| !found.contains(&option.as_str()))
    {
        None => Ok(()),
        Some(wanted) => Err(TakenError::Missing {
            wanted: redacted(&wanted),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]
    use super::*;
    use crate::geometry::Integrity;
    use crate::superblock::{SUPERBLOCK_BYTES, expected};

    const DISK: DeviceNumber = DeviceNumber {
        major: 254,
        minor: 16,
    };
    const DISK_SECTORS: u64 = (256 << 20) / 512;

    fn layout() -> Layout {
        Layout::for_disk(Integrity::HmacSha256, DISK_SECTORS * 512).unwrap()
    }

    /// As `dm_integrity_status` writes it for a volume on a disk of 256 MiB.
    fn good() -> Loaded {
        Loaded {
            table: "254:16 32768 32 J 7 block_size:4096 journal_sectors:3960 \
                    interleave_sectors:32768 buffer_sectors:128 journal_watermark:50 \
                    commit_time:10000 fix_padding"
                .to_owned()
                .into(),
            status: "0 483712 -".into(),
        }
    }

    fn judged(loaded: &Loaded) -> Result<(), TakenError> {
        check(loaded, DISK, &layout(), Writing::Journal, None)
    }

    #[test]
    fn accepts_what_the_table_asked_for_and_a_disk_that_grew() {
        assert_eq!(judged(&good()), Ok(()));
        let mut grown = good();
        grown.status = "0 999992 -".into();
        assert_eq!(judged(&grown), Ok(()));
        let mut direct = good();
        direct.table = "254:16 32768 32 D 5 block_size:4096 journal_sectors:3960 \
                        interleave_sectors:32768 buffer_sectors:128 fix_padding"
            .to_owned()
            .into();
        assert_eq!(
            check(&direct, DISK, &layout(), Writing::Direct, None),
            Ok(())
        );
    }

    #[test]
    fn journal_mac_must_be_there_with_its_own_key_and_is_never_told() {
        let key = |byte: u8| JournalKey::take(&mut [byte; 32]).unwrap();
        let layout = layout().with_journal_mac(true);
        let judged = |table: &str, byte| {
            let mut loaded = good();
            loaded.table = table.to_owned().into();
            assert!(!format!("{loaded:?}").contains("5a5a"));
            check(&loaded, DISK, &layout, Writing::Journal, Some(&key(byte)))
        };
        let without = good().table.replace("J 7 ", "J 9 ");
        let with = format!(
            "{without} fix_hmac journal_mac:hmac(sha256):{}",
            "5a".repeat(32)
        );
        assert_eq!(judged(&with, 0x5a), Ok(()));
        let found = "journal_mac:hmac(sha256):…".to_owned();
        assert_eq!(judged(&with, 0x5b), Err(TakenError::Added { found }));
        let wanted = "fix_hmac".to_owned();
        let bare = with.replace(" fix_hmac", "").replace("J 9 ", "J 8 ");
        assert_eq!(judged(&bare, 0x5a), Err(TakenError::Missing { wanted }));
        let wanted = "journal_mac:hmac(sha256):…".to_owned();
        let none = without.replace("J 9 ", "J 8 ") + " fix_hmac";
        assert_eq!(judged(&none, 0x5a), Err(TakenError::Missing { wanted }));
        let text = judged(&with.replace("J 9", "J 3"), 0x5a)
            .unwrap_err()
            .to_string();
        assert!(!text.contains("5a5a"), "{text}");
    }

    #[test]
    fn refuses_every_option_that_came_from_the_disk() {
        for added in [
            "recalculate",
            "reset_recalculate",
            "allow_discards",
            "fix_hmac",
            "legacy_recalculate",
            "meta_device:254:0",
            "internal_hash:crc32c",
            "journal_mac:hmac(sha256):00",
            "sectors_per_bit:32768",
            "something_new",
        ] {
            let mut bent = good();
            bent.table = format!("{} {added}", *bent.table)
                .replace("J 7 ", "J 8 ")
                .into();
            let found = redacted(added);
            assert_eq!(judged(&bent), Err(TakenError::Added { found }));
        }
    }

    #[test]
    fn refuses_another_journal_interleaving_block_or_padding() {
        for (option, other) in [
            ("journal_sectors:3960", "journal_sectors:4224"),
            ("interleave_sectors:32768", "interleave_sectors:16384"),
            ("block_size:4096", "block_size:512"),
        ] {
            let mut bent = good();
            bent.table = bent.table.replace(option, other).into();
            let found = other.to_owned();
            assert_eq!(judged(&bent), Err(TakenError::Added { found }));
        }
        let mut bent = good();
        bent.table = bent
            .table
            .replace("J 7 ", "J 6 ")
            .replace(" fix_padding", "")
            .into();
        let wanted = "fix_padding".to_owned();
        assert_eq!(judged(&bent), Err(TakenError::Missing { wanted }));
    }

    #[test]
    fn refuses_fewer_sectors_recalculation_and_words_of_another_form() {
        let with = |status: &str| Loaded {
            status: status.into(),
            ..good()
        };
        let (found, wanted) = (483_704, 483_712);
        assert_eq!(
            judged(&with("0 483704 -")),
            Err(TakenError::TooFew { found, wanted })
        );
        let from = "0".to_owned();
        assert_eq!(
            judged(&with("0 483712 0")),
            Err(TakenError::Recalculating { from })
        );
        for odd in ["", "0", "0 x -", "0 483712"] {
            assert!(matches!(judged(&with(odd)), Err(TakenError::Form { .. })));
        }
        for (a, b) in [
            ("254:16", "254:17"),
            ("32768 32 J", "32768 32 B"),
            ("J 7", "J 9"),
        ] {
            let mut bent = good();
            bent.table = bent.table.replacen(a, b, 1).into();
            assert!(matches!(judged(&bent), Err(TakenError::Form { .. })), "{b}");
        }
    }

    /// `dm_integrity_ctr` and `dm_integrity_status` of Linux 6.12, as far as they use the superblock. `None`: the
    /// kernel refuses the table.
    fn kernel(superblock: &[u8; SUPERBLOCK_BYTES]) -> Option<Loaded> {
        let zeros = superblock.iter().all(|byte| *byte == 0);
        let sb = if zeros {
            expected(&layout())
        } else {
            *superblock
        };
        let word = |at: usize| u32::from_le_bytes(sb[at..at + 4].try_into().unwrap());
        let (version, interleave, journal, flags) = (sb[8], sb[9], word(12), word(24));
        let sound = sb.starts_with(b"integrt\0")
            && (1..=5).contains(&version)
            && flags & 32 == 0 // inline tags
            && u16::from_le_bytes([sb[10], sb[11]]) == 32
            && sb[28] == 3
            && journal != 0
            && (3..=31).contains(&interleave)
            && flags & 1 == 0 // journal MAC
            && flags & 2 == 0; // recalculating
        if !sound {
            return None;
        }
        let initial = 8 + u64::from(journal) * 264;
        let padding: u64 = if flags & 8 == 0 { 131_072 } else { 4096 };
        let run = (32_u64 << (interleave - 3)).div_ceil(padding) * padding / 512;
        let end = |sectors: u64| {
            let (area, offset) = (
                (sectors - 1) >> interleave,
                (sectors - 1) % (1 << interleave),
            );
            32_768 + initial + (area << interleave) + (area + 1) * run + offset
        };
        let provided = (3..20).rev().fold(0, |provided, bit| {
            let more = provided | 1 << bit;
            if initial <= u64::from(u32::MAX) && end(more) < DISK_SECTORS {
                more
            } else {
                provided
            }
        });
        let padded = if flags & 8 == 0 { "" } else { " fix_padding" };
        let hmac = if flags & 16 == 0 { "" } else { " fix_hmac" };
        let options = 6 + u32::from(flags & 8 != 0) + u32::from(flags & 16 != 0);
        (provided >= layout().data_sectors()).then(|| Loaded {
            table: format!(
                "254:16 32768 32 J {options} block_size:4096 journal_sectors:{} interleave_sectors:{} \
                 buffer_sectors:128 journal_watermark:50 commit_time:10000{padded}{hmac}",
                initial - 8,
                1_u64 << interleave
            )
            .into(),
            status: format!("0 {provided} -"),
        })
    }

    /// The disk answers our read with the good superblock, and the kernel's with another one.
    #[test]
    fn another_superblock_at_the_kernels_read_is_refused_or_changes_nothing() {
        let good_block = expected(&layout());
        assert_eq!(kernel(&good_block), Some(good()));
        let (mut refused_by_kernel, mut refused_by_us, mut unchanged) = (0, 0, 0);
        let mut judge = |block: &[u8; SUPERBLOCK_BYTES]| match kernel(block) {
            None => refused_by_kernel += 1,
            Some(loaded) if judged(&loaded).is_err() => refused_by_us += 1,
            Some(loaded) => {
                assert_eq!(loaded, good());
                unchanged += 1;
            }
        };
        judge(&[0; SUPERBLOCK_BYTES]);
        for (at, value) in (0..SUPERBLOCK_BYTES).flat_map(|at| (1..=255).map(move |x| (at, x))) {
            let mut block = good_block;
            block[at] ^= value;
            judge(&block);
        }
        println!(
            "superblocks at the second read: {refused_by_kernel} refused by the kernel, {refused_by_us} by us, \
             {unchanged} with the sealed layout"
        );
        assert!(refused_by_us > 30, "{refused_by_us}");
    }
}
