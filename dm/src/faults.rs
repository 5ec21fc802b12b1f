//! Disks that fail while a volume is found, opened or formatted, each at every place where it can.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use dawnkey_secret::Dek;
use uuid::Uuid;

use crate::disk::OpenError;
use crate::error::MapError;
use crate::geometry::Integrity;
use crate::header::{self, REGION_BYTES, parse};
use crate::mapper::{Found, Grant, Mapper, Opener, Rotation, Wanted, Wipe};
use crate::tables::MappedName;
use crate::testing::{OneDisk, Remembered};
use crate::volumes::Volumes;

pub(crate) const VOLUME: Uuid = Uuid::from_u128(5);
const DISK_BYTES: usize = 40 << 20;
const GRANT: Grant = Grant {
    epoch: 1,
    generation: 2,
};

pub(crate) fn dek() -> Dek {
    Dek::take(&mut [7; 32]).unwrap()
}

pub(crate) fn wanted() -> Wanted {
    Wanted {
        volume: VOLUME,
        name: MappedName::new("state").unwrap(),
        device: Some("/dev/memory".into()),
        integrity: Integrity::HmacSha256,
        journal_mac: false,
        filesystem: None,
        wipe: Wipe::UpFront,
        grow: false,
        opener: Opener::Ours,
    }
}

pub(crate) fn blank() -> (OneDisk, Volumes<OneDisk, Remembered>) {
    let disk = OneDisk::zeros(DISK_BYTES);
    let disks = disk.clone();
    let activation = Remembered::default();
    (disk, Volumes { disks, activation })
}

pub(crate) fn formatted() -> (OneDisk, Volumes<OneDisk, Remembered>) {
    let (disk, mut volumes) = blank();
    let Found::Blank(empty) = volumes.find(&wanted()).unwrap() else {
        panic!("not blank");
    };
    let first = Grant {
        epoch: 1,
        generation: 1,
    };
    volumes.format(empty, &dek(), first, &mut |_| {}).unwrap();
    volumes.activation = Remembered::default();
    disk.lock().log.clear();
    disk.lock().reads.clear();
    (disk, volumes)
}

fn generation(disk: &OneDisk) -> u64 {
    let region = disk.lock().bytes()[..REGION_BYTES].to_vec();
    parse(&region).unwrap().header.seen().generation
}

#[test]
fn failed_header_write_or_flush_unmaps_and_leaves_old_or_new_header() {
    for failing in 0..4 {
        let (disk, mut volumes) = formatted();
        let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
            panic!("not found");
        };
        disk.lock().fail_after = Some(failing);
        let refused = volumes.open(volume, &dek(), GRANT, None).unwrap_err();
        assert!(
            matches!(&refused, MapError::Disk { doing: "write the header", source, .. }
                if source.raw_os_error() == Some(libc::EIO)),
            "{refused}"
        );
        assert_eq!(volumes.activation.mapped, []);
        assert!((1..=2).contains(&generation(&disk)));
    }
}

#[test]
fn failed_header_write_while_formatting_unmaps_and_never_leaves_half_a_volume() {
    // Six operations prepare the data, four write the header.
    for failing in 0..10 {
        let (disk, mut volumes) = blank();
        let Found::Blank(empty) = volumes.find(&wanted()).unwrap() else {
            panic!("not blank");
        };
        disk.lock().fail_after = Some(failing);
        let refused = volumes.format(empty, &dek(), GRANT, &mut |_| {});
        assert!(matches!(refused, Err(MapError::Disk { .. })));
        assert_eq!(volumes.activation.mapped, []);
        // Still blank, or the volume with the granted generation: both go on at the next boot.
        match volumes.find(&wanted()).unwrap() {
            Found::Blank(_) => assert!(failing <= 6),
            Found::Volume(volume) => assert_eq!(volume.seen().generation, 2),
        }
    }
}

#[test]
fn mapped_key_is_the_one_of_the_seal_and_the_header_is_read_once() {
    let (disk, mut volumes) = formatted();
    let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
        panic!("not found");
    };
    let key = volume.header.open(&dek()).unwrap();
    // Whatever the first 16 MiB say from now on does not matter: nothing reads them again.
    disk.lock().load(0, &[0xff; REGION_BYTES]);
    let mapped = volumes.open(volume, &dek(), GRANT, None).unwrap();
    assert_eq!(
        volumes.activation.mapped,
        [("state".to_owned(), key.expose().to_vec())]
    );
    assert_eq!(mapped.seen.generation, 2);
    assert_eq!(generation(&disk), 2);
}

#[test]
fn unreadable_disk_is_named_and_never_blank() {
    let (disk, mut volumes) = blank();
    for broken in [0, 32_768, (16 << 20) - 1] {
        disk.lock().broken_at = Some(broken);
        let refused = volumes.find(&wanted()).unwrap_err();
        assert!(matches!(refused, MapError::Disk { source, .. }
            if source.raw_os_error() == Some(libc::EIO)));
    }
    disk.lock().broken_at = Some(0);
    let nowhere = Wanted {
        device: None,
        ..wanted()
    };
    match volumes.find(&nowhere).unwrap_err() {
        MapError::NotFound {
            searched: 0,
            unreadable,
            ..
        } => assert!(
            unreadable
                .to_string()
                .contains("/dev/memory could not be read")
        ),
        other => panic!("{other}"),
    }
}

#[test]
fn short_read_is_an_error_and_never_blank() {
    let (disk, mut volumes) = blank();
    for short in [0, 40_000, (16 << 20) - 1] {
        disk.lock().short_reads_at = Some(short);
        let refused = volumes.find(&wanted()).unwrap_err();
        assert!(matches!(refused, MapError::Disk { source, .. }
            if source.kind() == std::io::ErrorKind::UnexpectedEof));
    }
}

#[test]
fn refuses_read_only_disk_for_opening_and_for_formatting() {
    for (disk, mut volumes) in [formatted(), blank()] {
        disk.lock().read_only = true;
        let refused = volumes.find(&wanted()).unwrap_err();
        assert!(matches!(
            refused,
            MapError::Open(OpenError::ReadOnly { .. })
        ));
        assert_eq!(disk.lock().log, []);
    }
}

#[test]
fn refuses_disk_in_use_for_opening_and_for_formatting() {
    for (disk, mut volumes) in [formatted(), blank()] {
        disk.lock().holder = Some("dm-3");
        let refused = volumes.find(&wanted()).unwrap_err();
        assert!(matches!(refused, MapError::InUse { holder, .. } if holder == "dm-3"));
        assert_eq!(disk.lock().log, []);
    }
}

#[test]
fn shrunk_disk_is_refused_by_name_whether_it_may_grow_or_not() {
    for grow in [false, true] {
        let (disk, mut volumes) = formatted();
        disk.lock().resize(DISK_BYTES - (1 << 20));
        let wanted = Wanted { grow, ..wanted() };
        let refused = volumes.find(&wanted).unwrap_err();
        let (bytes, needed) = (DISK_BYTES as u64 - (1 << 20), DISK_BYTES as u64);
        assert!(
            matches!(refused, MapError::Shrunk { bytes: b, needed: n, .. } if b == bytes && n <= needed),
            "{refused}"
        );
        assert_eq!(disk.lock().log, []);
    }
}

#[test]
fn grown_disk_gives_more_only_where_the_configuration_says_so() {
    for grow in [false, true] {
        let (disk, mut volumes) = formatted();
        disk.lock().resize(2 * DISK_BYTES);
        let wanted = Wanted { grow, ..wanted() };
        let Found::Volume(volume) = volumes.find(&wanted).unwrap() else {
            panic!("not found");
        };
        let before = volume.header.layout();
        let mapped = volumes.open(volume, &dek(), GRANT, None).unwrap();
        assert_eq!(mapped.ready.ready_bytes, before.data_sectors() * 512);
        assert_eq!(mapped.ready.is_complete(), !grow);
        // And the next boot finds the layout that this one left.
        volumes.activation = Remembered::default();
        let Found::Volume(volume) = volumes.find(&wanted).unwrap() else {
            panic!("not found");
        };
        assert_eq!(
            volume.header.layout().data_sectors() > before.data_sectors(),
            grow
        );
    }
}

#[test]
fn rotation_that_is_not_to_the_next_epoch_is_refused_and_writes_nothing() {
    for epoch in [0, 1, 3, u32::MAX] {
        let (disk, mut volumes) = formatted();
        let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
            panic!("not found");
        };
        let rotation = Rotation { epoch, dek: dek() };
        let refused = volumes.open(volume, &dek(), GRANT, Some(&rotation));
        assert!(matches!(
            refused.unwrap_err(),
            MapError::RotationEpoch { grant: 1, rotation } if rotation == epoch
        ));
        assert_eq!(volumes.activation.mapped, []);
        assert_eq!(disk.lock().log, []);
    }
}

#[test]
fn failed_write_of_a_rotated_header_unmaps_and_leaves_a_header_of_one_epoch_or_the_next() {
    for failing in 0..4 {
        let (disk, mut volumes) = formatted();
        let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
            panic!("not found");
        };
        let next = Dek::take(&mut [8; 32]).unwrap();
        let rotation = Rotation {
            epoch: 2,
            dek: next,
        };
        disk.lock().fail_after = Some(failing);
        let refused = volumes.open(volume, &dek(), GRANT, Some(&rotation));
        assert!(matches!(
            refused,
            Err(MapError::Disk {
                doing: "write the header",
                ..
            })
        ));
        assert_eq!(volumes.activation.mapped, []);
        let region = disk.lock().bytes()[..REGION_BYTES].to_vec();
        let header = parse(&region).unwrap().header;
        let opens = match header.seen().epoch {
            1 => header.open(&dek()),
            _ => header.open(&rotation.dek),
        };
        assert!(opens.is_ok());
    }
}

#[test]
fn finding_writes_nothing() {
    for (disk, mut volumes) in [formatted(), blank()] {
        volumes.find(&wanted()).unwrap();
        assert_eq!(disk.lock().log, []);
    }
    assert!(header::parse(&[]).is_err());
}

#[test]
fn a_volume_that_is_not_wholly_wiped_is_not_handed_to_the_system() {
    let (_, mut volumes) = blank();
    let wanted = Wanted {
        wipe: Wipe::Behind {
            prefix_bytes: Wipe::LEAST_PREFIX_BYTES,
        },
        ..wanted()
    };
    let Found::Blank(empty) = volumes.find(&wanted).unwrap() else {
        panic!("not blank");
    };
    let first = Grant {
        epoch: 1,
        generation: 1,
    };
    volumes.format(empty, &dek(), first, &mut |_| {}).unwrap();
    assert!(matches!(volumes.find(&wanted), Ok(Found::Volume(_))));
    let handed = Wanted {
        opener: Opener::System,
        ..wanted
    };
    assert!(matches!(
        volumes.find(&handed),
        Err(MapError::NotWhole { .. })
    ));
}
