//! The quote generation service and the collector's client of it understand each other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use common::{dir, signer};
use dawnkey_attest::collect::qgs::{self, QgsError};
use dawnkey_test_devices::pki::{Given, Platform, verify};
use dawnkey_test_devices::quote_service::answer;

const DATA: [u8; 64] = [0x5a; 64];

fn td_report() -> [u8; 1024] {
    let report = signer(Platform::Tdx).td_report(&DATA).unwrap();
    report.try_into().unwrap()
}

/// What a client on the other end of a connection sees.
fn asked<T>(platform: Platform, client: impl FnOnce(&mut UnixStream) -> T) -> T {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let service = std::thread::spawn(move || answer(&mut there, &signer(platform)));
    let seen = client(&mut here);
    service.join().unwrap().unwrap();
    seen
}

#[test]
fn collector_gets_a_quote_that_verifies() {
    let report = td_report();
    let quote = asked(Platform::Tdx, |stream| qgs::quote(stream, &report)).unwrap();
    verify(&dir(), Given::Tdx(quote), &DATA).unwrap();
}

#[test]
fn reports_of_no_or_another_td_are_refused() {
    for at in [0, 128, 224, 600] {
        let mut report = td_report();
        report[at] ^= 1;
        let refused = asked(Platform::Tdx, |stream| qgs::quote(stream, &report));
        assert!(
            matches!(refused, Err(QgsError::Refused { code: 0x0001_2003 })),
            "byte {at}: {refused:?}"
        );
    }
    let report = td_report();
    let refused = asked(Platform::TdxDebug, |stream| qgs::quote(stream, &report));
    assert!(matches!(
        refused,
        Err(QgsError::Refused { code: 0x0001_2003 })
    ));
    let refused = asked(Platform::Snp, |stream| qgs::quote(stream, &report));
    assert!(matches!(
        refused,
        Err(QgsError::Refused { code: 0x0001_2001 })
    ));
}

#[test]
fn malformed_requests_are_refused_with_their_codes() {
    let mut sound = vec![1, 0, 0, 0, 0, 0, 0, 0];
    for word in [1048u32, 0, 1024, 0] {
        sound.extend(word.to_le_bytes());
    }
    sound.extend(td_report());
    for (at, code) in [
        (0, 0x0001_2004),
        (4, 0x0001_2005),
        (8, 0x0001_2006),
        (12, 0x0001_2007),
        (16, 0x0001_2003),
        (20, 0x0001_2003),
    ] {
        let mut request = sound.clone();
        request[at] ^= 2;
        assert_eq!(code_of(&request), code, "byte {at}");
    }
    assert_eq!(code_of(&sound), 0);
    assert_eq!(code_of(&[]), 0x0001_2004);
    assert_eq!(code_of(&[1, 0]), 0x0001_2006);
}

fn code_of(request: &[u8]) -> u32 {
    let answer = asked(Platform::Tdx, |stream| {
        let length = u32::try_from(request.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    });
    u32::from_le_bytes(answer[16..20].try_into().unwrap())
}
