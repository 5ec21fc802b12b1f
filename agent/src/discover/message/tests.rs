#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const ID: u16 = 0x1234;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// An answer to `query`, with these records as they are to stand in it.
fn answer(query: &[u8], records: &[&[u8]]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[7] = u8::try_from(records.len()).unwrap();
    message.extend(records.concat());
    message
}

/// A record whose owner is a pointer, class IN.
fn record(owner: u8, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, owner];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 60]);
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

fn good() -> (Name, Vec<u8>) {
    let asked = name("keys.example");
    let query = query(ID, &asked, Kind::A);
    // keys.example is an alias for k2.example, whose first label begins at 30 + 12 and whose rest is at 17.
    let alias = record(12, CNAME, &[2, b'k', b'2', 0xc0, 17]);
    let at = u8::try_from(query.len() + 12).unwrap();
    let address = record(at, 1, &[10, 0, 0, 1]);
    let foreign = record(17, 1, &[6, 6, 6, 6]);
    (asked, answer(&query, &[&alias, &foreign, &address]))
}

#[test]
fn follows_an_alias_and_takes_no_record_of_another_name() {
    let (asked, message) = good();
    let found = parse(&message, ID, &asked, Kind::A).unwrap();
    let wanted = vec![Record::A(Ipv4Addr::new(10, 0, 0, 1))];
    assert_eq!(found, Reply::Records(wanted));
}

#[test]
fn takes_services_with_a_port_and_a_host_name() {
    let asked = name("_dawnkey._tcp.example");
    let query = query(ID, &asked, Kind::Srv);
    let target = [0, 1, 0, 2, 0x20, 0xfb, 1, b'k', 0xc0, 26];
    let no_port = [0, 1, 0, 2, 0, 0, 1, b'k', 0xc0, 26];
    let no_host = [0, 1, 0, 2, 0x20, 0xfb, 1, b' ', 0xc0, 26];
    let records = [target, no_port, no_host].map(|data| record(12, 33, &data));
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let found = parse(&answer(&query, &records), ID, &asked, Kind::Srv).unwrap();
    let srv = Srv {
        priority: 1,
        weight: 2,
        port: 8443,
        target: name("k.example"),
    };
    assert_eq!(found, Reply::Records(vec![Record::Srv(srv)]));
}

#[test]
fn refuses_answers_to_other_questions() {
    let (asked, message) = good();
    assert_eq!(parse(&message, ID + 1, &asked, Kind::A), None);
    assert_eq!(parse(&message, ID, &asked, Kind::Aaaa), None);
    assert_eq!(parse(&message, ID, &name("keys.exampl"), Kind::A), None);
    let query = query(ID, &asked, Kind::A);
    assert_eq!(parse(&query, ID, &asked, Kind::A), None, "a question");
}

#[test]
fn tells_no_such_name_from_a_failure_and_a_short_answer() {
    let asked = name("keys.example");
    let query = query(ID, &asked, Kind::A);
    for (flags, reply) in [
        ([0x81, 0x83], Reply::NoSuchName),
        ([0x81, 0x82], Reply::Failed(2)),
        ([0x83, 0x80], Reply::Truncated),
        ([0x81, 0x80], Reply::Records(Vec::new())),
    ] {
        let mut message = answer(&query, &[]);
        message[2..4].copy_from_slice(&flags);
        assert_eq!(parse(&message, ID, &asked, Kind::A), Some(reply));
    }
}

#[test]
fn pointers_that_lead_in_circles_end() {
    let asked = name("keys.example");
    let query = query(ID, &asked, Kind::A);
    let here = u8::try_from(query.len()).unwrap();
    for owner in [here, here + 1, 0xff] {
        let message = answer(&query, &[&record(owner, 1, &[10, 0, 0, 1])]);
        assert_eq!(parse(&message, ID, &asked, Kind::A), None);
    }
    // Aliases that name each other: nothing is found, and it ends.
    let circle = answer(&query, &[&record(12, CNAME, &[0xc0, 12])]);
    let none = Some(Reply::Records(Vec::new()));
    assert_eq!(parse(&circle, ID, &asked, Kind::A), none);
}

#[test]
fn reads_a_message_that_is_cut_or_changed_anywhere() {
    let (asked, message) = good();
    for length in 0..message.len() {
        assert_eq!(parse(&message[..length], ID, &asked, Kind::A), None);
    }
    for at in 0..message.len() {
        for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
            let mut changed = message.clone();
            changed[at] = byte;
            if let Some(Reply::Records(records)) = parse(&changed, ID, &asked, Kind::A) {
                assert!(records.len() <= 3);
            }
        }
    }
}

#[test]
fn names_are_labels_of_a_length_that_a_message_can_hold() {
    let long = [
        "a".repeat(63),
        "b".repeat(63),
        "c".repeat(63),
        "d".repeat(61),
    ]
    .join(".");
    assert_eq!(name(&long).wire().len(), MAX_NAME);
    assert_eq!(name("Keys.Example."), name("keys.example"));
    for bad in ["", ".", "a..b", "a b", "ä.example", &format!("{long}e")] {
        assert_eq!(Name::new(bad), None, "{bad}");
    }
    assert_eq!(Name::new(&"a".repeat(64)), None);
}
