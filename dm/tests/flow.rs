//! Finding, formatting and opening over plain files: the order of steps, and every disk that must be refused.
//!
//! After each refusal nothing on any disk has changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::{Path, PathBuf};

use dawnkey_dm::blank::Content;
use dawnkey_dm::disk::OpenError;
use dawnkey_dm::fake::FakeMapper;
use dawnkey_dm::header::{self, CopyError};
use dawnkey_dm::{
    BlankDisk, Condition, Filesystem, Found, Grant, HeaderError, Integrity, MapError, MappedName,
    Mapper, Progress, SealError, SealedVolume, Wanted, Wipe,
};
use dawnkey_secret::Dek;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
const DISK_BYTES: u64 = 40 << 20;
const FIRST: Grant = Grant {
    epoch: 1,
    generation: 1,
};

struct Machine {
    dir: tempfile::TempDir,
    disks: Vec<PathBuf>,
}

impl Machine {
    fn with_disks(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disks: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
        for disk in &disks {
            let file = std::fs::File::create(disk).unwrap();
            file.set_len(DISK_BYTES).unwrap();
        }
        Self { dir, disks }
    }

    /// One disk that holds the volume, generation 1.
    fn formatted() -> Self {
        let machine = Self::with_disks(&["a"]);
        machine.format(&machine.disks[0]);
        machine
    }

    fn format(&self, disk: &Path) {
        let mut mapper = FakeMapper::new(vec![disk.to_owned()]);
        let blank = blank(mapper.find(&wanted(Some(disk))).unwrap());
        mapper.format(blank, &dek(7), FIRST, &mut |_| {}).unwrap();
    }

    fn mapper(&self) -> FakeMapper {
        FakeMapper::new(self.disks.clone())
    }

    /// SHA-256 over all disks.
    fn state(&self) -> Vec<Vec<u8>> {
        let bytes = |disk| std::fs::read(disk).unwrap_or_default();
        let hash = |disk| Sha256::digest(bytes(disk)).to_vec();
        self.disks.iter().map(hash).collect()
    }

    /// Searches, expects a refusal, and checks that nothing was written.
    fn refusal(&self, wanted: &Wanted) -> MapError {
        let before = self.state();
        let refused = self.mapper().find(wanted).unwrap_err();
        assert_eq!(before, self.state(), "a refused search wrote: {refused}");
        refused
    }

    fn edit(&self, disk: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(&self.disks[disk]).unwrap();
        change(&mut bytes);
        std::fs::write(&self.disks[disk], bytes).unwrap();
    }
}

fn dek(byte: u8) -> Dek {
    Dek::take(&mut [byte; 32]).unwrap()
}

fn wanted(device: Option<&Path>) -> Wanted {
    Wanted {
        volume: VOLUME,
        name: MappedName::new("state").unwrap(),
        device: device.map(Path::to_owned),
        integrity: Integrity::HmacSha256,
        journal_mac: false,
        filesystem: Some(Filesystem::Ext4),
        wipe: Wipe::UpFront,
        grow: false,
        opener: dawnkey_dm::Opener::Ours,
    }
}

fn blank(found: Found) -> BlankDisk {
    match found {
        Found::Blank(blank) => blank,
        Found::Volume(volume) => panic!("not blank: {volume:?}"),
    }
}

fn volume(found: Found) -> SealedVolume {
    match found {
        Found::Volume(volume) => volume,
        Found::Blank(blank) => panic!("blank: {blank:?}"),
    }
}

#[test]
fn formats_then_opens_and_counts_generations() {
    let machine = Machine::with_disks(&["a", "b", "c"]);
    let disk = &machine.disks[1];
    let mut mapper = machine.mapper();
    let empty = blank(mapper.find(&wanted(Some(disk))).unwrap());
    assert_eq!(empty.device(), disk);
    let mut steps = Vec::new();
    let formatted = mapper
        .format(empty, &dek(7), FIRST, &mut |step| steps.push(step))
        .unwrap();
    assert_eq!((formatted.seen.generation, formatted.seen.epoch), (1, 1));
    assert!(matches!(
        steps[..],
        [
            Progress::Wipe { .. },
            Progress::Filesystem,
            Progress::Map,
            Progress::Commit
        ]
    ));
    mapper.close(&formatted).unwrap();
    for generation in 2..5 {
        let sealed = volume(mapper.find(&wanted(None)).unwrap());
        assert_eq!(sealed.seen().generation, generation - 1);
        assert_eq!(sealed.condition(), Condition::Clean);
        let grant = Grant {
            epoch: 1,
            generation,
        };
        let opened = mapper.open(sealed, &dek(7), grant, None).unwrap();
        assert_eq!(opened.seen.generation, generation);
        let found = volume(machine.mapper().find(&wanted(None)).unwrap());
        assert_eq!(found.seen(), opened.seen);
        mapper.close(&opened).unwrap();
    }
}

#[test]
fn refuses_wrong_dek_wrong_epoch_and_older_generation_and_writes_nothing() {
    let machine = Machine::formatted();
    let before = machine.state();
    let mut mapper = machine.mapper();
    let attempts = [
        (8, 1, 2, "dek"),
        (7, 2, 2, "epoch"),
        (7, 1, 1, "generation"),
    ];
    for (key, epoch, generation, what) in attempts {
        let sealed = volume(mapper.find(&wanted(None)).unwrap());
        let grant = Grant { epoch, generation };
        let refused = mapper.open(sealed, &dek(key), grant, None).unwrap_err();
        let named = match refused {
            MapError::Seal(SealError::Open) => "dek",
            MapError::EpochDiffers {
                header: 1,
                grant: 2,
            } => "epoch",
            MapError::GenerationNotHigher {
                header: 1,
                grant: 1,
            } => "generation",
            other => panic!("{other}"),
        };
        assert_eq!(named, what);
        assert_eq!(mapper.mapped().count(), 0);
        assert_eq!(before, machine.state());
    }
}

#[test]
fn failed_mapping_leaves_header_and_blank_disk_as_they_were() {
    let machine = Machine::formatted();
    let before = machine.state();
    let mut mapper = machine.mapper();
    mapper.refuse_to_map();
    let sealed = volume(mapper.find(&wanted(None)).unwrap());
    let grant = Grant {
        epoch: 1,
        generation: 2,
    };
    let refused = mapper.open(sealed, &dek(7), grant, None).unwrap_err();
    assert!(matches!(refused, MapError::DeviceMapper { .. }));
    assert_eq!(before, machine.state());

    let empty = Machine::with_disks(&["a"]);
    let before = empty.state();
    let mut mapper = empty.mapper();
    mapper.refuse_to_map();
    let disk = blank(mapper.find(&wanted(Some(&empty.disks[0]))).unwrap());
    let refused = mapper
        .format(disk, &dek(7), FIRST, &mut |_| {})
        .unwrap_err();
    assert!(matches!(refused, MapError::DeviceMapper { .. }));
    assert_eq!(before, empty.state());
}

#[test]
fn refuses_second_mapping_of_the_same_name() {
    let machine = Machine::formatted();
    let mut mapper = machine.mapper();
    let sealed = volume(mapper.find(&wanted(None)).unwrap());
    let grant = Grant {
        epoch: 1,
        generation: 2,
    };
    mapper.open(sealed, &dek(7), grant, None).unwrap();
    let refused = mapper.find(&wanted(None)).unwrap_err();
    assert!(matches!(refused, MapError::NameTaken { .. }));
}

#[test]
fn refuses_two_disks_with_the_same_id_even_if_one_is_damaged() {
    let machine = Machine::with_disks(&["a", "b"]);
    machine.format(&machine.disks[0]);
    std::fs::copy(&machine.disks[0], &machine.disks[1]).unwrap();
    let expect = |refused: MapError| match refused {
        MapError::TwoDisks { first, second, .. } => {
            assert_eq!([first, second], machine.disks[..]);
        }
        other => panic!("{other}"),
    };
    expect(machine.refusal(&wanted(None)));
    machine.edit(1, |bytes| {
        bytes[5000] ^= 1;
        bytes[20_000] ^= 1;
    });
    expect(machine.refusal(&wanted(None)));
}

#[test]
fn refuses_absent_disk() {
    let machine = Machine::with_disks(&["a"]);
    let gone = machine.dir.path().join("gone");
    let refused = machine.refusal(&wanted(Some(&gone)));
    assert!(matches!(refused, MapError::Open(OpenError::Absent { device }) if device == gone));
    let refused = machine.refusal(&wanted(None));
    assert!(matches!(refused, MapError::NotFound { searched: 1, .. }));
}

#[test]
fn refuses_directory_in_place_of_a_disk() {
    let machine = Machine::with_disks(&["a"]);
    let refused = machine.refusal(&wanted(Some(machine.dir.path())));
    assert!(matches!(
        refused,
        MapError::Open(OpenError::NotABlockDevice { .. })
    ));
}

#[test]
fn refuses_disk_that_is_too_small() {
    let machine = Machine::with_disks(&["a"]);
    for bytes in [0, 32_767, 32_768, (32 << 20) - 1] {
        let file = std::fs::File::create(&machine.disks[0]).unwrap();
        file.set_len(bytes).unwrap();
        let refused = machine.refusal(&wanted(Some(&machine.disks[0])));
        assert!(
            matches!(refused, MapError::TooSmall { source, .. } if source.found == bytes),
            "{bytes}"
        );
    }
}

#[test]
fn refuses_disk_that_is_smaller_than_its_volume() {
    let machine = Machine::formatted();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&machine.disks[0])
        .unwrap();
    file.set_len(DISK_BYTES - (1 << 20)).unwrap();
    let refused = machine.refusal(&wanted(None));
    assert!(matches!(refused, MapError::Shrunk { .. }));
}

#[test]
fn refuses_disk_that_already_holds_a_filesystem() {
    let machine = Machine::with_disks(&["a"]);
    let made = std::process::Command::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4"])
        .arg(&machine.disks[0])
        .status()
        .expect("this test needs mke2fs (package e2fsprogs)");
    assert!(made.success());
    let refused = machine.refusal(&wanted(Some(&machine.disks[0])));
    let content = Content::Ext;
    assert!(matches!(refused, MapError::NotBlank { content: c, .. } if c == content));
}

#[test]
fn refuses_to_format_the_disk_of_another_volume() {
    let machine = Machine::formatted();
    let other = Wanted {
        volume: Uuid::from_u128(1),
        ..wanted(Some(&machine.disks[0]))
    };
    let refused = machine.refusal(&other);
    let content = Content::Luks;
    assert!(matches!(refused, MapError::NotBlank { content: c, .. } if c == content));
}

#[test]
fn refuses_volume_of_another_integrity_than_configured() {
    let machine = Machine::formatted();
    let weaker = Wanted {
        integrity: Integrity::None,
        ..wanted(Some(&machine.disks[0]))
    };
    let refused = machine.refusal(&weaker);
    assert!(matches!(
        refused,
        MapError::IntegrityDiffers {
            found: Integrity::HmacSha256,
            wanted: Integrity::None,
            ..
        }
    ));
}

#[test]
fn refuses_damaged_header_by_name_and_never_calls_it_blank() {
    let machine = Machine::formatted();
    let good = std::fs::read(&machine.disks[0]).unwrap();
    let configured = wanted(Some(&machine.disks[0]));
    // Torn in both copies, outside and inside the id.
    for at in [5000, 170] {
        std::fs::write(&machine.disks[0], &good).unwrap();
        machine.edit(0, |bytes| {
            bytes[at] = 0xff;
            bytes[16_384 + at] = 0xff;
        });
        let refused = machine.refusal(&configured);
        assert!(
            matches!(
                refused,
                MapError::Header {
                    source: HeaderError::BothTorn { .. },
                    ..
                }
            ),
            "{at}: {refused:?}"
        );
    }
}

#[test]
fn refuses_altered_header_on_the_disk_by_name() {
    let machine = Machine::formatted();
    machine.edit(0, |bytes| {
        for copy in bytes[..32_768].chunks_exact_mut(16_384) {
            let text = String::from_utf8_lossy(&copy[4096..]).into_owned();
            let changed = text.replace("aes-xts-plain64", "cipher_null-ecb");
            copy[4096..].copy_from_slice(changed.as_bytes());
            copy[448..512].fill(0);
            let sum = Sha256::digest(&*copy);
            copy[448..480].copy_from_slice(&sum);
        }
    });
    let refused = machine.refusal(&wanted(Some(&machine.disks[0])));
    assert!(matches!(
        refused,
        MapError::Header {
            source: HeaderError::Altered {
                source: CopyError::NullCipher { .. },
                ..
            },
            ..
        }
    ));
}

#[test]
fn heals_a_torn_copy_when_the_volume_is_opened() {
    let machine = Machine::formatted();
    machine.edit(0, |bytes| bytes[..16_384].fill(0));
    let mut mapper = machine.mapper();
    let sealed = volume(mapper.find(&wanted(None)).unwrap());
    assert!(matches!(sealed.condition(), Condition::Recovered { .. }));
    let grant = Grant {
        epoch: 1,
        generation: 2,
    };
    mapper.open(sealed, &dek(7), grant, None).unwrap();
    let bytes = std::fs::read(&machine.disks[0]).unwrap();
    let parsed = header::parse(&bytes[..header::REGION_BYTES]).unwrap();
    assert_eq!(parsed.condition, Condition::Clean);
}

/// A wiped header looks like a blank disk, and only like that: nothing is formatted without a grant, which the key
/// service does not give for an active volume. Without a configured disk the volume is simply not there.
#[test]
fn wiped_header_is_blank_or_not_found_and_finding_writes_nothing() {
    let machine = Machine::formatted();
    machine.edit(0, |bytes| bytes[..32_768].fill(0));
    let before = machine.state();
    let found = machine.mapper().find(&wanted(Some(&machine.disks[0])));
    assert!(matches!(found, Ok(Found::Blank(_))));
    assert_eq!(before, machine.state());
    let refused = machine.refusal(&wanted(None));
    assert!(matches!(refused, MapError::NotFound { .. }));
}

#[test]
fn interrupted_format_leaves_a_disk_that_is_still_blank() {
    let machine = Machine::with_disks(&["a"]);
    // What a format writes before its header lies behind 16 MiB.
    machine.edit(0, |bytes| bytes[16 << 20..][..4096].fill(0x5a));
    let found = machine.mapper().find(&wanted(Some(&machine.disks[0])));
    assert!(matches!(found, Ok(Found::Blank(_))));
}
