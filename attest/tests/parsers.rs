//! Parsers of hostile bytes: total on anything, bounded, and exact on what they accept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_attest::{
    cel::{self, Place},
    eventlog::{
        EventLog, Limits, LogError, Padding, ReplayError, describe::describe, kind, replay::replay,
    },
    fake::{LogBuilder, SoftTpm},
    measure,
    reader::ReadError,
    tpm::{attest::Quote, hash::Hash, public::Public, signature::Signature},
};
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Result<EventLog<'_>, LogError> {
    EventLog::parse(bytes, Limits::default())
}

fn base() -> LogBuilder {
    LogBuilder::new(&[Hash::Sha1, Hash::Sha256])
}

fn locality(bytes: &[u8]) -> Vec<u8> {
    [b"StartupLocality\0".as_slice(), bytes].concat()
}

#[test]
fn stops_at_padding_of_either_kind() {
    for byte in [0x00, 0xff] {
        let end = base().event(4, kind::IPL, b"x").build().len();
        let bytes = base().event(4, kind::IPL, b"x").raw(&[byte; 100]).build();
        let log = parse(&bytes).unwrap();
        assert_eq!(log.events.len(), 2);
        assert_eq!(log.padding, Some(Padding { at: end, byte }));
    }
    let mixed = base().raw(&[0xff, 0xff, 0x00]).build();
    assert!(matches!(
        parse(&mixed),
        Err(LogError::Malformed { event: 1, .. })
    ));
}

#[test]
fn starts_pcr_0_at_the_startup_locality() {
    let log = base()
        .event(0, kind::NO_ACTION, &locality(&[3]))
        .event(0, kind::IPL, b"x")
        .build();
    let mut start = vec![0; 32];
    start[31] = 3;
    let wanted = Hash::Sha256.digest(&[&start, &Hash::Sha256.digest(&[b"x"])]);
    assert_eq!(
        replay(&parse(&log).unwrap(), Hash::Sha256).unwrap()[&0],
        wanted
    );
}

#[test]
fn starts_pcr_0_at_locality_4_for_an_hcrtm_event() {
    let log = base().event(0, kind::EFI_HCRTM_EVENT, b"HCRTM").build();
    let mut start = vec![0; 32];
    start[31] = 4;
    let wanted = Hash::Sha256.digest(&[&start, &Hash::Sha256.digest(&[b"HCRTM"])]);
    assert_eq!(
        replay(&parse(&log).unwrap(), Hash::Sha256).unwrap()[&0],
        wanted
    );
}

#[test]
fn refuses_a_wrong_late_or_double_startup_locality() {
    let wrong = base().event(0, kind::NO_ACTION, &locality(&[7])).build();
    let found = replay(&parse(&wrong).unwrap(), Hash::Sha256);
    assert_eq!(
        found,
        Err(ReplayError::Locality {
            event: 1,
            found: vec![7]
        })
    );
    let late = base()
        .event(0, kind::IPL, b"x")
        .event(0, kind::NO_ACTION, &locality(&[3]))
        .build();
    let found = replay(&parse(&late).unwrap(), Hash::Sha256);
    assert_eq!(found, Err(ReplayError::LateLocality { event: 2 }));
    let twice = base()
        .event(0, kind::NO_ACTION, &locality(&[3]))
        .event(0, kind::NO_ACTION, &locality(&[0]))
        .build();
    let found = replay(&parse(&twice).unwrap(), Hash::Sha256);
    assert_eq!(found, Err(ReplayError::LateLocality { event: 2 }));
}

#[test]
fn refuses_a_log_above_its_limits() {
    let bytes = base()
        .event(1, kind::IPL, b"x")
        .event(1, kind::IPL, b"y")
        .build();
    let few = Limits {
        events: 2,
        ..Limits::default()
    };
    assert_eq!(
        EventLog::parse(&bytes, few),
        Err(LogError::TooManyEvents { most: 2 })
    );
    let small = Limits {
        bytes: 10,
        ..Limits::default()
    };
    assert!(matches!(
        EventLog::parse(&bytes, small),
        Err(LogError::TooLarge { most: 10, .. })
    ));
}

#[test]
fn refuses_an_extended_event_of_a_pcr_that_does_not_exist() {
    let bytes = base().event(24, kind::IPL, b"x").build();
    let error = parse(&bytes).unwrap_err();
    let LogError::Malformed { event: 1, source } = error else {
        panic!("{error}")
    };
    assert!(matches!(
        source,
        ReadError::Value {
            what: "pcrIndex",
            found: 24,
            ..
        }
    ));
}

#[test]
fn refuses_a_digest_of_an_unannounced_or_repeated_bank() {
    let mut bytes = base().event(4, kind::IPL, b"x").build();
    let at = bytes.len() - 5 - 32 - 2;
    bytes[at] = 0x0c;
    assert!(matches!(
        parse(&bytes),
        Err(LogError::Malformed { event: 1, .. })
    ));
    bytes[at] = 0x04;
    assert!(matches!(
        parse(&bytes),
        Err(LogError::Malformed { event: 1, .. })
    ));
}

#[test]
fn describes_hostile_text_without_control_characters() {
    let bytes = base().event(4, kind::IPL, b"\x1b[2Jowned\nline").build();
    let log = parse(&bytes).unwrap();
    assert_eq!(describe(&log.events[1]), ".[2Jowned.line");
}

proptest! {
    #[test]
    fn structures_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Quote::parse(&bytes);
        let _ = Signature::parse(&bytes);
        let _ = Public::parse(&bytes);
        let _ = measure::uki(&bytes, None);
    }

    #[test]
    fn changed_logs_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = base().event(0, kind::NO_ACTION, &locality(&[3])).event(4, kind::EVENT_TAG, &[0; 20])
            .event(7, kind::EFI_VARIABLE_BOOT, &[1; 64]).build();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(log) = parse(&bytes) {
            prop_assert!(log.parsed_bytes <= bytes.len());
            log.events.iter().for_each(|event| { describe(event); });
            let _ = replay(&log, Hash::Sha256);
        }
    }

    #[test]
    fn changed_public_areas_keep_their_bytes(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = SoftTpm::new().ek_public;
        let index = at.index(bytes.len());
        bytes[index] = value;
        if let Ok(public) = Public::parse(&bytes) {
            prop_assert_eq!(public.bytes(), bytes.as_slice());
        }
    }
}

proptest! {
    /// What the log of a running system says is kept, whoever wrote it.
    #[test]
    fn a_record_of_any_content_is_read_as_it_is_written(
        pcr in any::<u64>(),
        digest in proptest::collection::vec(any::<u8>(), 32),
        writer in ".*",
        text in ".*",
        cut in 0usize..400,
    ) {
        let digests = [(Hash::Sha256, digest)];
        let mut record = cel::Record::own(
            Place::Pcr(pcr), &digests, text.as_bytes(), (&text, "unlocked"), ("b0", pcr),
        );
        record.content_type = writer;
        let line = record.line();
        prop_assert_eq!(cel::parse(&line), Ok(vec![record]));
        // Any part of it is refused or read, and never more.
        let part = cel::parse(line.get(..cut).unwrap_or(&line));
        prop_assert!(part.is_err() || part.unwrap().len() <= 1);
    }
}
