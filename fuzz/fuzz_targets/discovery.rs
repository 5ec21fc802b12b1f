//! What DNS servers answer and what tags of a machine say: reading it is total and bounded.
#![no_main]

use dawnkey_agent::discover::Endpoint;
use dawnkey_agent::discover::message::{Kind, Name, Reply, parse, query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(name) = Name::new("_dawnkey._tcp.example") else {
        return;
    };
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let kind = match first % 3 {
        0 => Kind::A,
        1 => Kind::Aaaa,
        _ => Kind::Srv,
    };
    // The bytes as they are, and behind a question that is the one that was asked.
    let mut answer = query(0, &name, kind);
    if let Some((flags, records)) = rest.split_at_checked(4) {
        answer[2..4].copy_from_slice(&[0x80 | flags[0], flags[1]]);
        answer[6..8].copy_from_slice(&flags[2..4]);
        answer.extend_from_slice(records);
    }
    for message in [rest, &answer] {
        if let Some(Reply::Records(records)) = parse(message, 0, &name, kind) {
            assert!(records.len() <= 256);
        }
    }
    assert!(Endpoint::list(&String::from_utf8_lossy(rest)).len() <= 16);
});
