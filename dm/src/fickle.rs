//! Disks that answer a second read otherwise than the first: nothing changes, since nothing is read twice.
//!
//! The superblock's second reader is the kernel; what it took is compared by the module `taken`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use dawnkey_secret::Dek;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::faults::{VOLUME, blank, dek, formatted, wanted};
use crate::geometry::{DATA_OFFSET_BYTES, Integrity, Layout};
use crate::header::{REGION_BYTES, SealedHeader, parse};
use crate::mapper::{Found, Grant, Mapper};
use crate::testing::OneDisk;

/// What a hostile disk may show instead of the header that it showed first.
fn second_answers(disk: &OneDisk) -> Vec<(&'static str, Vec<u8>)> {
    let good = disk.lock().bytes()[..REGION_BYTES].to_vec();
    let layout = Layout::for_disk(Integrity::HmacSha256, 40 << 20).unwrap();
    let foreign = |volume, byte| {
        let dek = Dek::take(&mut [byte; 32]).unwrap();
        let (header, _) = SealedHeader::create(volume, 1, 1, layout, &dek).unwrap();
        header.encode().to_vec()
    };
    let mut null = good.clone();
    for copy in null.chunks_exact_mut(REGION_BYTES / 2) {
        let text = String::from_utf8_lossy(&copy[4096..]).into_owned();
        let text = text.replace("aes-xts-plain64", "cipher_null-ecb");
        copy[4096..].copy_from_slice(text.as_bytes());
        copy[448..512].fill(0);
        let sum = Sha256::digest(&*copy);
        copy[448..480].copy_from_slice(&sum);
    }
    vec![
        ("zeros", vec![0; REGION_BYTES]),
        ("ones", vec![0xff; REGION_BYTES]),
        ("null cipher", null),
        ("twin", foreign(VOLUME, 8)),
        ("same DEK", foreign(VOLUME, 7)),
        ("stranger", foreign(Uuid::from_u128(6), 7)),
        ("damaged", good.iter().map(|byte| byte ^ 1).collect()),
    ]
}

#[test]
fn another_answer_to_the_second_read_changes_nothing() {
    let answers = second_answers(&formatted().0);
    for (label, answer) in answers {
        let (disk, mut volumes) = formatted();
        let good = parse(&disk.lock().bytes()[..REGION_BYTES]).unwrap().header;
        disk.lock().second_answer = Some(answer);
        let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
            panic!("{label}: not found");
        };
        let grant = Grant {
            epoch: 1,
            generation: 2,
        };
        volumes.open(volume, &dek(), grant, None).unwrap();
        let key = good.open(&dek()).unwrap();
        assert_eq!(volumes.activation.mapped[0].1, key.expose(), "{label}");
        let now = parse(&disk.lock().bytes()[..REGION_BYTES]).unwrap().header;
        assert_eq!((now.sequence(), now.seen().generation), (2, 2), "{label}");
        assert_eq!(now.open(&dek()).unwrap().expose(), key.expose(), "{label}");
    }
}

/// Header and superblock, each block once, and nothing else.
#[test]
fn header_and_superblock_are_read_once() {
    let (disk, mut volumes) = formatted();
    let Found::Volume(volume) = volumes.find(&wanted()).unwrap() else {
        panic!("not found");
    };
    let grant = Grant {
        epoch: 1,
        generation: 2,
    };
    volumes.open(volume, &dek(), grant, None).unwrap();
    let superblock = DATA_OFFSET_BYTES / 4096;
    let wanted: Vec<_> = (0..8).chain([superblock]).map(|block| (block, 1)).collect();
    let reads: Vec<_> = disk.lock().reads.clone().into_iter().collect();
    assert_eq!(reads, wanted);
}

/// A disk that was blank at the first look and is not at the second is no blank disk; and looking writes nothing.
#[test]
fn disk_that_is_blank_only_at_the_first_read_is_refused() {
    let answers = second_answers(&formatted().0);
    for (label, answer) in answers {
        let (disk, mut volumes) = blank();
        let zeros = answer.iter().all(|byte| *byte == 0);
        disk.lock().second_answer = Some(answer);
        let found = volumes.find(&wanted());
        assert_eq!(found.is_ok(), zeros, "{label}: {found:?}");
        assert_eq!(disk.lock().log, [], "{label}");
    }
}
