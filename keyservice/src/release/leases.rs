//! Leases that are held: renewed, ended, lost, taken back.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::Granted;
use super::testing::{Header, LEASE, Service, at};
use crate::volume::Digest32;
use dawnkey_proto::message::{Ask, Reason, Retry};

/// A volume that instance 101 runs with a held lease, and the release that it confirmed.
fn held() -> (Service, Header, Granted) {
    let mut service = Service::new();
    service.hold = true;
    let granted = service.ask(101, &Ask::Provision).unwrap();
    let header = Header::new(1, 1);
    service.confirm(header, &granted).unwrap();
    (service, header, granted)
}

fn lost(outcome: Result<(), dawnkey_proto::message::Refusal>) -> String {
    let refusal = outcome.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.retry),
        (Reason::LeaseLost, Retry::Never)
    );
    refusal.detail
}

#[test]
fn held_lease_survives_confirm_and_begins_anew_with_it() {
    let mut service = Service::new();
    service.hold = true;
    let granted = service.ask(101, &Ask::Provision).unwrap();
    service.now = at(200);
    service.confirm(Header::new(1, 1), &granted).unwrap();
    let lease = service.record.lease.clone().unwrap();
    assert_eq!(lease.holder, Digest32([101; 32]));
    assert_eq!(lease.expires, at(200 + i64::from(LEASE)));
}

#[test]
fn others_wait_for_the_end_of_a_held_lease_and_every_renewal_moves_it() {
    let (mut service, header, granted) = held();
    for seconds in [100, 350, 640] {
        service.now = at(seconds);
        service.renew(&granted, false).unwrap();
        assert_eq!(service.refused(102, &header.unlock()), Reason::LeaseHeld);
    }
    service.now = at(640 + i64::from(LEASE));
    service.ask(102, &header.unlock()).unwrap();
}

#[test]
fn lease_that_ran_out_is_renewed_as_long_as_nobody_took_the_volume() {
    let (mut service, header, granted) = held();
    service.now = at(10 * i64::from(LEASE));
    service.renew(&granted, false).unwrap();
    assert_eq!(service.refused(102, &header.unlock()), Reason::LeaseHeld);
}

#[test]
fn holder_that_came_too_late_learns_who_has_the_volume() {
    let (mut service, header, granted) = held();
    service.now = at(i64::from(LEASE));
    service.ask(102, &header.unlock()).unwrap();
    let before = service.record.clone();
    let detail = lost(service.renew(&granted, false));
    assert!(detail.contains(&"66".repeat(32)), "{detail}");
    assert!(detail.contains("fencing token is 2, not 1"), "{detail}");
    lost(service.renew(&granted, true));
    assert_eq!(service.record, before);
}

#[test]
fn same_instance_takes_its_held_lease_back_at_once_and_fences_what_it_was_before() {
    let (mut service, header, granted) = held();
    service.now = at(1);
    let again = service.ask(101, &header.unlock()).unwrap();
    lost(service.renew(&granted, false));
    service.confirm(Header::new(2, 1), &again).unwrap();
    lost(service.renew(&granted, false));
    service.renew(&again, false).unwrap();
}

#[test]
fn ended_lease_frees_the_volume_at_once_and_is_over() {
    let (mut service, header, granted) = held();
    service.renew(&granted, true).unwrap();
    assert!(service.record.lease.is_none());
    lost(service.renew(&granted, false));
    service.ask(102, &header.unlock()).unwrap();
}

#[test]
fn broken_lease_makes_the_next_renewal_fail() {
    let (mut service, header, granted) = held();
    service.record = service.record.clone().lease_broken();
    lost(service.renew(&granted, false));
    service.ask(102, &header.unlock()).unwrap();
}

#[test]
fn broken_lease_makes_the_confirm_fail_and_the_header_is_good_for_the_next_ask() {
    let (mut service, header, _) = held();
    let granted = service.ask(101, &header.unlock()).unwrap();
    service.record = service.record.clone().lease_broken();
    let written = Header::new(2, 1);
    assert_eq!(
        service.confirm(written, &granted),
        Err(Reason::GrantInvalid)
    );
    let next = service.ask(101, &written.unlock()).unwrap();
    service.confirm(Header::new(3, 1), &next).unwrap();
}

#[test]
fn retired_volume_tells_its_holder_and_nobody_else() {
    let (mut service, _, granted) = held();
    service.record = service.record.clone().retired();
    let refusal = service.renew(&granted, false).unwrap_err();
    assert_eq!(refusal.reason, Reason::VolumeRetired);
    lost(service.renew_with([99; 32], granted.record.fencing, false));
}

#[test]
fn refuses_renewal_with_another_token_or_fencing_token() {
    let (mut service, _, granted) = held();
    let right = *granted.token.expose();
    lost(service.renew_with([99; 32], 1, false));
    lost(service.renew_with(right, 2, false));
    lost(service.renew_with(right, 2, true));
    service.renew_with(right, 1, false).unwrap();
}

#[test]
fn refuses_renewal_of_a_lease_that_ended_with_confirm() {
    let mut service = Service::active();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    lost(service.renew(&granted, false));
    service.confirm(Header::new(2, 1), &granted).unwrap();
    lost(service.renew(&granted, false));
}

#[test]
fn refuses_confirm_of_a_node_without_a_holder_where_policy_wants_one_and_takes_it_with_one() {
    let (mut service, header, _) = held();
    let granted = service.ask(101, &header.unlock()).unwrap();
    service.hold = false;
    let before = service.record.clone();
    let written = Header::new(2, 1);
    assert_eq!(
        service.confirm(written, &granted),
        Err(Reason::HolderRequired)
    );
    assert_eq!(service.record, before);
    // The same release may still be confirmed properly; what policy says by now does not matter.
    service.hold = true;
    service.confirm(written, &granted).unwrap();
    service.renew(&granted, false).unwrap();
}

#[test]
fn node_with_a_holder_where_policy_wants_none_holds_nothing() {
    let mut service = Service::active();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    service.hold = true;
    service.confirm(Header::new(2, 1), &granted).unwrap();
    assert!(service.record.lease.is_none() && service.record.holding.is_none());
}
