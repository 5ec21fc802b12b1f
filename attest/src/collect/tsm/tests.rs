#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::fake::FakeFs as Fake;
use super::*;

const DATA: [u8; 64] = [0x5a; 64];

impl Fake {
    fn twisted(step: &str, errnos: &[i32]) -> Self {
        let mut fake = Self::default();
        fake.twist.errors.insert(step.into(), errnos.to_vec());
        fake
    }

    fn get(&mut self) -> Result<TsmReport, TsmError> {
        let got = report(self, Provider::SevGuest, &DATA, None);
        assert!(self.entries.is_empty(), "an entry was left");
        got
    }

    fn fails(&mut self) -> TsmError {
        self.get().unwrap_err()
    }
}

fn expected() -> TsmReport {
    TsmReport {
        outblob: [b"report over ".as_slice(), &DATA].concat(),
        auxblob: b"certificates".to_vec(),
    }
}

#[test]
fn gives_the_report_over_our_data_and_removes_its_entry() {
    let mut fake = Fake::default();
    assert_eq!(fake.get().unwrap(), expected());
    assert_eq!(fake.made.len(), 1);
    assert_eq!(fake.paused, Duration::ZERO);
}

#[test]
fn takes_the_floor_where_no_level_is_wanted_and_refuses_one_below_it() {
    let mut fake = Fake {
        floor: Some("2\n"),
        ..Fake::default()
    };
    fake.get().unwrap();
    assert_eq!(fake.levels, ["2"]);
    let low = report(&mut fake, Provider::SevGuest, &DATA, Some(1));
    assert!(matches!(
        low,
        Err(TsmError::Privlevel {
            wanted: 1,
            floor: 2
        })
    ));
    report(&mut fake, Provider::SevGuest, &DATA, Some(3)).unwrap();
    assert_eq!(fake.levels, ["2", "3"]);
    assert!(fake.entries.is_empty());
}

#[test]
fn writes_no_level_where_the_platform_has_none() {
    let mut fake = Fake {
        floor: None,
        aux: None,
        provider: "tdx_guest\n",
        ..Fake::default()
    };
    let got = report(&mut fake, Provider::TdxGuest, &DATA, None).unwrap();
    assert!(got.auxblob.is_empty());
    assert!(fake.levels.is_empty());
    let error = report(&mut fake, Provider::TdxGuest, &DATA, Some(0));
    assert!(matches!(error, Err(TsmError::NoPrivlevel { wanted: 0 })));
    assert!(fake.entries.is_empty());
}

#[test]
fn a_kernel_without_it_is_absent_and_nothing_else_is() {
    let mut fake = Fake::default();
    fake.twist.absent = true;
    assert!(matches!(fake.fails(), TsmError::Absent));
    let mut fake = Fake::twisted("root", &[Errno::EACCES as i32]);
    assert!(matches!(fake.fails(), TsmError::Io { .. }));
}

#[test]
fn refuses_a_kernel_without_a_provider() {
    let mut fake = Fake::twisted("make", &[Errno::ENXIO as i32]);
    assert!(matches!(fake.fails(), TsmError::NoProvider));
}

#[test]
fn refuses_the_wrong_provider_by_name() {
    let mut fake = Fake {
        provider: "tdx_guest\n",
        ..Fake::default()
    };
    match fake.fails() {
        TsmError::Provider { wanted, found } => {
            assert_eq!((wanted, found.as_str()), ("sev_guest", "tdx_guest"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_writer_costs_an_entry_and_not_the_report() {
    for late in [false, true] {
        let mut fake = Fake::default();
        if late {
            fake.twist.late_races = RACES - 1;
        } else {
            fake.twist.races = RACES - 1;
        }
        assert_eq!(fake.get().unwrap(), expected());
        assert_eq!(fake.made.len(), RACES);
    }
}

#[test]
fn another_writer_each_time_is_a_race() {
    let mut fake = Fake::default();
    fake.twist.races = usize::MAX;
    assert!(matches!(
        fake.fails(),
        TsmError::Race {
            attempts: RACES,
            expected: 2,
            found: 3
        }
    ));
    assert_eq!(fake.made.len(), RACES);
}

#[test]
fn an_inblob_that_the_kernel_dropped_is_seen() {
    let mut fake = Fake::default();
    fake.twist.dropped = 1;
    assert_eq!(fake.get().unwrap(), expected());
    fake.twist.dropped = usize::MAX;
    assert!(matches!(
        fake.fails(),
        TsmError::Race {
            expected: 2,
            found: 1,
            ..
        }
    ));
}

#[test]
fn a_busy_kernel_is_asked_again() {
    for step in ["make", "remove", "read outblob", "write inblob"] {
        let mut fake = Fake::twisted(step, &[Errno::EINTR as i32, Errno::EBUSY as i32]);
        assert_eq!(fake.get().unwrap(), expected(), "{step}");
        assert_eq!(fake.paused, PAUSE);
    }
}

#[test]
fn a_kernel_busy_forever_is_given_up() {
    for step in ["make", "read outblob", "write inblob", "write privlevel"] {
        for errno in [Errno::EBUSY, Errno::EINTR, Errno::EAGAIN] {
            let mut fake = Fake::default();
            fake.twist.always = Some((step, errno as i32));
            assert!(
                matches!(fake.fails(), TsmError::Busy { tries: TRIES, .. }),
                "{step}"
            );
        }
    }
}

#[test]
fn an_entry_that_cannot_be_removed_is_an_error() {
    let mut fake = Fake::default();
    fake.twist.always = Some(("remove", Errno::EBUSY as i32));
    let got = report(&mut fake, Provider::SevGuest, &DATA, None);
    assert!(matches!(
        got,
        Err(TsmError::Busy {
            doing: "remove its entry",
            ..
        })
    ));
}

#[test]
fn an_entry_of_somebody_else_is_left_alone() {
    let mut fake = Fake::twisted("make", &[Errno::EEXIST as i32; 2]);
    fake.get().unwrap();
    assert_eq!(fake.made.len(), 3);
    let names: std::collections::BTreeSet<_> = fake.made.iter().collect();
    assert_eq!(names.len(), 3);
    let mut fake = Fake::default();
    fake.twist.always = Some(("make", Errno::EEXIST as i32));
    assert!(matches!(fake.fails(), TsmError::Busy { .. }));
}

#[test]
fn refuses_blobs_that_are_too_large_or_empty() {
    let mut fake = Fake {
        out: Some(vec![1; MAX_BLOB + 1]),
        ..Fake::default()
    };
    assert!(matches!(
        fake.fails(),
        TsmError::TooLarge {
            attribute: "outblob",
            ..
        }
    ));
    let mut fake = Fake {
        aux: Some(vec![1; MAX_BLOB + 1]),
        ..Fake::default()
    };
    assert!(matches!(
        fake.fails(),
        TsmError::TooLarge {
            attribute: "auxblob",
            ..
        }
    ));
    let mut fake = Fake {
        out: Some(Vec::new()),
        ..Fake::default()
    };
    assert!(matches!(fake.fails(), TsmError::Empty));
}

#[test]
fn a_failed_report_is_an_error_of_its_step_and_leaves_no_entry() {
    for step in [
        "read provider",
        "read generation",
        "read outblob",
        "read auxblob",
    ] {
        let mut fake = Fake::twisted(step, &[Errno::EIO as i32]);
        assert!(matches!(fake.fails(), TsmError::Io { .. }), "{step}");
    }
}

#[test]
fn a_number_that_is_none_is_refused() {
    let mut fake = Fake {
        floor: Some("low\n"),
        ..Fake::default()
    };
    assert!(matches!(
        fake.fails(),
        TsmError::Number {
            attribute: "privlevel_floor",
            ..
        }
    ));
}
