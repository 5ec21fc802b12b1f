//! An event log as a host hands it over, and one of a running system: parsed within limits, then replayed.
#![no_main]

use dawnkey_attest::cel::{self, Place};
use dawnkey_attest::eventlog::{
    EventLog, Limits, describe::describe, proof::proof, replay::replay,
};
use dawnkey_attest::tpm::hash::Hash;
use libfuzzer_sys::fuzz_target;

fn running_system(bytes: &[u8]) {
    let Ok(records) = cel::parse(bytes) else {
        return;
    };
    let _ = cel::replay(&records, Place::Pcr(15), Hash::Sha256);
    for record in records {
        let _ = (record.event(), record.text());
        let again = cel::parse(&record.line());
        assert!(
            matches!(again.as_deref(), Ok([one]) if one.place == record.place && one.digests == record.digests)
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    running_system(bytes);
    let Ok(log) = EventLog::parse(bytes, Limits::default()) else {
        return;
    };
    assert!(log.parsed_bytes <= bytes.len());
    for event in &log.events {
        let _ = (describe(event), proof(event, Hash::Sha256));
    }
    for id in [0x0004, 0x000b, 0x000c, 0x000d] {
        if let Some(bank) = Hash::from_id(id) {
            let _ = replay(&log, bank);
        }
    }
});
