//! A device of the tests that plays a list of answers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use std::collections::VecDeque;

const DATA: [u8; 64] = [0x5a; 64];
const INVALID_LEN: u64 = 1 << 32;
const BUSY: u64 = 2 << 32;

/// What the device does next.
#[derive(Clone, Copy)]
enum Act {
    /// A report, and the table if the buffer takes it.
    Give,
    /// A table of this length is there.
    Needs(u32),
    Fail(Errno, u64),
    /// A message with this status and length.
    Message(u32, u32),
}

struct Fake {
    acts: VecDeque<Act>,
    last: Act,
    table: Vec<u8>,
    /// Requests seen: the length of the buffer, or none for a plain one.
    seen: Vec<Option<usize>>,
    paused: Duration,
}

fn playing(acts: &[Act], last: Act) -> Fake {
    Fake {
        acts: acts.iter().copied().collect(),
        last,
        table: b"table".to_vec(),
        seen: Vec::new(),
        paused: Duration::ZERO,
    }
}

impl Fake {
    fn answer(&mut self, user_data: &[u8; 64], table: &mut [u8]) -> Reply {
        let mut reply = Reply {
            result: Ok(()),
            exit_info: ExitInfo(0),
            response: Box::new([0; RESPONSE_LEN]),
            certificates_len: 0,
        };
        match self.acts.pop_front().unwrap_or(self.last) {
            Act::Give => {
                reply.response[4..8].copy_from_slice(&1184u32.to_le_bytes());
                reply.response[32 + 0x50..32 + 0x90].copy_from_slice(user_data);
                if let Some(room) = table.get_mut(..self.table.len()) {
                    room.copy_from_slice(&self.table);
                }
            }
            Act::Needs(length) => {
                reply.result = Err(Errno::EIO.into());
                reply.exit_info = ExitInfo(INVALID_LEN);
                reply.certificates_len = length;
            }
            Act::Fail(errno, exit_info) => {
                reply.result = Err(errno.into());
                reply.exit_info = ExitInfo(exit_info);
            }
            Act::Message(status, length) => {
                reply.response[..4].copy_from_slice(&status.to_le_bytes());
                reply.response[4..8].copy_from_slice(&length.to_le_bytes());
            }
        }
        reply
    }

    fn fails(&mut self) -> SevGuestError {
        report(self, &DATA, 0).unwrap_err()
    }
}

impl SevGuest for Fake {
    fn report(&mut self, user_data: &[u8; 64], _: u32) -> Reply {
        self.seen.push(None);
        self.answer(user_data, &mut [])
    }

    fn extended(&mut self, user_data: &[u8; 64], _: u32, table: &mut [u8]) -> Reply {
        self.seen.push(Some(table.len()));
        self.answer(user_data, table)
    }

    fn pause(&mut self, time: Duration) {
        self.paused += time;
    }
}

#[test]
fn takes_a_report_from_a_host_without_certificates() {
    let mut fake = playing(&[], Act::Give);
    let got = report(&mut fake, &DATA, 0).unwrap();
    assert_eq!(got.report.len(), 1184);
    assert_eq!(got.report[0x50..0x90], DATA);
    assert!(got.certificates.is_empty());
    assert_eq!(fake.seen, [Some(0)]);
}

#[test]
fn asks_again_with_the_length_the_host_wants() {
    let mut fake = playing(&[Act::Needs(5000)], Act::Give);
    let got = report(&mut fake, &DATA, 0).unwrap();
    assert_eq!(fake.seen, [Some(0), Some(8192)]);
    assert!(got.certificates.starts_with(b"table"));
}

#[test]
fn a_table_that_grew_in_between_is_asked_for_again() {
    let mut fake = playing(&[Act::Needs(4096), Act::Needs(4097)], Act::Give);
    report(&mut fake, &DATA, 0).unwrap();
    assert_eq!(fake.seen, [Some(0), Some(4096), Some(8192)]);
}

#[test]
fn a_table_of_zeros_is_none() {
    let mut fake = playing(&[Act::Needs(4096)], Act::Give);
    fake.table = vec![0; 24];
    let got = report(&mut fake, &DATA, 0).unwrap();
    assert!(got.certificates.is_empty());
}

#[test]
fn a_table_that_grows_each_time_is_given_up() {
    let needs: Vec<Act> = (1..).map(|n| Act::Needs(n * 4096)).take(GROWTHS).collect();
    let mut fake = playing(&needs, Act::Give);
    assert!(matches!(
        fake.fails(),
        SevGuestError::TableGrows {
            attempts: GROWTHS,
            ..
        }
    ));
}

#[test]
fn refuses_a_table_that_is_too_large_or_does_not_grow() {
    let mut fake = playing(&[], Act::Needs(u32::MAX));
    assert!(matches!(fake.fails(), SevGuestError::TableTooLarge { .. }));
    let mut fake = playing(&[], Act::Needs(4096));
    assert!(matches!(
        fake.fails(),
        SevGuestError::TableLength {
            last: 4096,
            needed: 4096
        }
    ));
    let mut fake = playing(&[], Act::Needs(0));
    assert!(matches!(
        fake.fails(),
        SevGuestError::TableLength { last: 0, needed: 0 }
    ));
}

#[test]
fn waits_for_a_busy_hypervisor_for_a_bounded_time() {
    let busy = Act::Fail(Errno::EAGAIN, BUSY);
    let mut fake = playing(&[busy, busy], Act::Give);
    report(&mut fake, &DATA, 0).unwrap();
    assert_eq!(fake.paused, 2 * PAUSE);
    let mut fake = playing(&[], busy);
    assert!(matches!(
        fake.fails(),
        SevGuestError::Busy {
            asked: "SNP_GET_EXT_REPORT",
            tries: BUSY_TRIES
        }
    ));
    assert_eq!(fake.seen.len(), BUSY_TRIES);
}

#[test]
fn asks_for_a_plain_report_only_where_the_extended_request_is_not_known() {
    let mut fake = playing(&[Act::Fail(Errno::ENOTTY, 0)], Act::Give);
    let got = report(&mut fake, &DATA, 0).unwrap();
    assert!(got.certificates.is_empty());
    assert_eq!(fake.seen, [Some(0), None]);
    for errno in [Errno::EIO, Errno::EINVAL, Errno::ETIMEDOUT] {
        let mut fake = playing(&[Act::Fail(errno, 0x16)], Act::Give);
        assert!(matches!(
            fake.fails(),
            SevGuestError::Refused {
                asked: "SNP_GET_EXT_REPORT",
                exit_info: ExitInfo(0x16),
                ..
            }
        ));
        assert_eq!(fake.seen.len(), 1);
    }
}

#[test]
fn names_the_codes_of_firmware_and_hypervisor() {
    let mut fake = playing(&[], Act::Fail(Errno::EIO, 0x16));
    let text = fake.fails().to_string();
    assert!(text.contains("invalid parameter"), "{text}");
    let mut fake = playing(&[], Act::Fail(Errno::EIO, (7 << 32) | 0xffff_ffff));
    let text = fake.fails().to_string();
    assert!(text.contains("hypervisor: error 0x7"), "{text}");
    assert!(text.contains("it was not called"), "{text}");
}

#[test]
fn refuses_a_message_without_a_report() {
    let mut fake = playing(&[], Act::Message(0x27, 1184));
    assert!(matches!(
        fake.fails(),
        SevGuestError::Status { status: 0x27 }
    ));
    for length in [0, 1183, 1185, u32::MAX] {
        let mut fake = playing(&[], Act::Message(0, length));
        assert!(matches!(fake.fails(), SevGuestError::Length { .. }));
    }
}
