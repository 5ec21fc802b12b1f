//! The life of a volume, case by case.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::testing::{Header, LEASE, Service, at};
use super::{Fresh, Rollback, decide};
use crate::approval::Approval;
use crate::release::Decision;
use crate::volume::{Digest32, State};
use dawnkey_proto::message::{Ask, Reason, Retry, SeenHeader};
use dawnkey_secret::ConfirmToken;
use uuid::Uuid;

#[test]
fn first_boot_provisions_and_confirm_activates() {
    let mut service = Service::new();
    let granted = service.ask(1, &Ask::Provision).unwrap();
    assert_eq!(granted.generation, 1);
    assert!(granted.grant.is_some());
    assert_eq!(service.record.state, State::Provisioning);
    service.confirm(Header::new(1, 1), &granted).unwrap();
    let record = &service.record;
    assert_eq!((record.state, record.confirmed), (State::Active, 1));
    assert_eq!(record.instance, Some(Digest32([1; 32])));
    assert!(record.pending.is_none() && record.grant.is_none() && record.lease.is_none());
}

#[test]
fn every_boot_moves_the_generation_by_one() {
    let mut service = Service::active();
    let mut header = Header::new(1, 1);
    for generation in 2..6 {
        header = service.boot(1, header, 1).unwrap();
        assert_eq!(header.generation, generation);
        assert_eq!(service.record.confirmed, generation);
    }
    assert_eq!(service.record.fencing, 5);
}

#[test]
fn provisioning_can_be_repeated_until_it_is_confirmed() {
    let mut service = Service::new();
    let first = service.ask(1, &Ask::Provision).unwrap();
    let second = service.ask(1, &Ask::Provision).unwrap();
    let late = service.confirm(Header::new(1, 1), &first);
    assert_eq!(late, Err(Reason::GrantInvalid));
    service.confirm(Header::new(1, 2), &second).unwrap();
}

#[test]
fn crash_between_first_header_and_confirm_is_survived() {
    let mut service = Service::new();
    service.ask(1, &Ask::Provision).unwrap();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    assert_eq!(granted.generation, 2);
    assert!(granted.grant.is_none());
    assert_eq!(service.record.state, State::Provisioning);
    service.confirm(Header::new(2, 1), &granted).unwrap();
    assert_eq!(service.record.state, State::Active);
    assert_eq!(service.record.grant, None);
}

#[test]
fn crash_before_the_header_is_written_is_survived_any_number_of_times() {
    let mut service = Service::active();
    for _ in 0..5 {
        let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
        assert_eq!(granted.generation, 2);
    }
    service.boot(1, Header::new(1, 1), 1).unwrap();
}

#[test]
fn crash_after_the_header_is_written_is_survived_any_number_of_times() {
    let mut service = Service::active();
    let mut header = Header::new(1, 1);
    for expected in 2..7 {
        let granted = service.ask(1, &header.unlock()).unwrap();
        assert_eq!(granted.generation, expected);
        header = Header::new(granted.generation, 1);
    }
    service.boot(1, header, 1).unwrap();
}

#[test]
fn refuses_header_that_a_given_up_provisioning_left_behind() {
    let mut service = Service::new();
    service.ask(1, &Ask::Provision).unwrap();
    service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    // Header (2, 1) is written; then the host shows a blank disk, which becomes the volume.
    let granted = service.ask(1, &Ask::Provision).unwrap();
    service.confirm(Header::new(1, 2), &granted).unwrap();
    let current = Header::new(1, 2);
    assert_eq!(service.ask(1, &current.unlock()).unwrap().generation, 3);
    for left_behind in [Header::new(1, 1), Header::new(2, 1)] {
        let refused = service.refused(1, &left_behind.unlock());
        assert_eq!(refused, Reason::StaleGeneration);
    }
    service.boot(1, current, 1).unwrap();
}

#[test]
fn refuses_header_on_a_volume_that_was_never_provisioned() {
    let ask = Header::new(1, 1).unlock();
    assert_eq!(Service::new().refused(1, &ask), Reason::NotProvisioned);
}

#[test]
fn refuses_blank_disk_on_an_active_volume() {
    let refused = Service::active().refused(1, &Ask::Provision);
    assert_eq!(refused, Reason::AlreadyProvisioned);
}

#[test]
fn refuses_blank_disk_while_an_unlock_waits_for_its_confirm() {
    let mut service = Service::active();
    service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    assert_eq!(
        service.refused(1, &Ask::Provision),
        Reason::AlreadyProvisioned
    );
}

#[test]
fn refuses_older_generation_and_says_so() {
    let mut service = Service::active();
    service.boot(1, Header::new(1, 1), 1).unwrap();
    let refusal = service.ask(1, &Header::new(1, 1).unlock()).unwrap_err();
    assert_eq!(refusal.reason, Reason::StaleGeneration);
    assert!(refusal.detail.contains("generation 1, 2 is confirmed"));
    assert_eq!(refusal.retry, Retry::Never);
}

#[test]
fn refuses_newer_generation_and_blames_the_store() {
    let mut service = Service::active();
    service.rollback = Rollback::Warn;
    let refusal = service.ask(1, &Header::new(9, 1).unlock()).unwrap_err();
    assert_eq!(refusal.reason, Reason::StaleGeneration);
    assert!(refusal.detail.contains("store is older than the disk"));
}

#[test]
fn refuses_another_header_of_the_confirmed_generation() {
    let mut service = Service::active();
    // Header (2, 1) is written, then the host puts the old disk back before Confirm; (2, 2) is confirmed.
    service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    let current = service.boot(1, Header::new(1, 1), 2).unwrap();
    let fork = Header::new(2, 1).unlock();
    assert_eq!(service.refused(1, &fork), Reason::StaleGeneration);
    // Nor while the window is open again.
    service.ask(1, &current.unlock()).unwrap();
    assert_eq!(service.refused(1, &fork), Reason::StaleGeneration);
    service.boot(1, current, 1).unwrap();
}

#[test]
fn warning_policy_releases_to_an_older_disk_and_makes_it_current() {
    let mut service = Service::active();
    service.boot(1, Header::new(1, 1), 1).unwrap();
    service.rollback = Rollback::Warn;
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    assert!(granted.warning.unwrap().contains("older copy"));
    assert_eq!(granted.generation, 3);
    service
        .confirm_with(Header::new(3, 1), *granted.token.expose())
        .unwrap();
    service.rollback = Rollback::Refuse;
    let lost = Header::new(2, 1).unlock();
    assert_eq!(service.refused(1, &lost), Reason::StaleGeneration);
    service.boot(1, Header::new(3, 1), 1).unwrap();
}

#[test]
fn refuses_header_of_another_epoch() {
    let ask = Ask::Unlock(SeenHeader {
        epoch: 2,
        ..Header::new(1, 1).seen()
    });
    assert_eq!(Service::active().refused(1, &ask), Reason::StaleEpoch);
}

#[test]
fn refuses_everything_on_a_retired_volume() {
    let mut service = Service::active();
    service.record = service.record.clone().retired();
    assert!(service.record.deks.is_empty());
    assert_eq!(service.refused(1, &Ask::Provision), Reason::VolumeRetired);
    let ask = Header::new(1, 1).unlock();
    assert_eq!(service.refused(1, &ask), Reason::VolumeRetired);
    let confirm = service.confirm_with(Header::new(1, 1), [1; 32]);
    assert_eq!(confirm, Err(Reason::VolumeRetired));
}

#[test]
fn refuses_a_cloned_disk_in_another_machine() {
    let mut service = Service::active();
    let ask = Header::new(1, 1).unlock();
    assert_eq!(service.refused(2, &ask), Reason::InstanceNotAllowed);
    assert_eq!(
        service.refused(2, &Ask::Provision),
        Reason::InstanceNotAllowed
    );
}

#[test]
fn refuses_a_second_machine_while_the_first_provisions() {
    let mut service = Service::new();
    service.ask(1, &Ask::Provision).unwrap();
    assert_eq!(
        service.refused(2, &Ask::Provision),
        Reason::InstanceNotAllowed
    );
}

#[test]
fn refuses_a_listed_machine_while_another_holds_the_lease_and_says_until_when() {
    let mut service = Service::active();
    service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    service.now = at(100);
    let refusal = service.ask(101, &Header::new(1, 1).unlock()).unwrap_err();
    assert_eq!(refusal.reason, Reason::LeaseHeld);
    assert_eq!(refusal.retry, Retry::After(LEASE - 100 + 1));
    service.now = at(i64::from(LEASE));
    service.ask(101, &Header::new(1, 1).unlock()).unwrap();
    assert_eq!(service.record.instance, Some(Digest32([101; 32])));
}

#[test]
fn lease_ends_with_confirm() {
    let mut service = Service::active();
    let header = service.boot(1, Header::new(1, 1), 1).unwrap();
    assert!(service.record.lease.is_none());
    service.ask(101, &header.unlock()).unwrap();
}

#[test]
fn same_machine_takes_its_own_lease_back_at_once_with_a_new_fencing_token() {
    let mut service = Service::active();
    let ask = Header::new(1, 1).unlock();
    let first = service.ask(1, &ask).unwrap().record.fencing;
    let second = service.ask(1, &ask).unwrap().record.fencing;
    assert_eq!(second, first + 1);
}

#[test]
fn breaking_a_lease_frees_the_volume_and_takes_an_unconfirmed_grant_back() {
    let mut service = Service::new();
    let granted = service.ask(1, &Ask::Provision).unwrap();
    service.record = service.record.clone().lease_broken();
    let late = service.confirm(Header::new(1, 1), &granted);
    assert_eq!(late, Err(Reason::GrantInvalid));
    service.ask(2, &Ask::Provision).unwrap();

    let mut service = Service::active();
    service.ask(101, &Header::new(1, 1).unlock()).unwrap();
    service.record = service.record.clone().lease_broken();
    service.ask(102, &Header::new(1, 1).unlock()).unwrap();
}

#[test]
fn refuses_confirm_with_another_token_generation_epoch_or_twice_used() {
    let mut service = Service::active();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    let right = *granted.token.expose();
    for (header, token) in [
        (Header::new(2, 1), [99; 32]),
        (Header::new(1, 1), right),
        (Header::new(3, 1), right),
    ] {
        let refused = service.confirm_with(header, token);
        assert_eq!(refused, Err(Reason::GrantInvalid));
    }
    service.confirm_with(Header::new(2, 1), right).unwrap();
    let other_header = service.confirm_with(Header::new(2, 2), right);
    assert_eq!(other_header, Err(Reason::GrantInvalid));
}

#[test]
fn repeated_confirm_whose_answer_was_lost_is_answered_again() {
    let mut service = Service::active();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    service.confirm(Header::new(2, 1), &granted).unwrap();
    let confirmed = service.record.clone();
    service.confirm(Header::new(2, 1), &granted).unwrap();
    assert_eq!(service.record, confirmed);
}

#[test]
fn refuses_a_second_key_to_a_launch_that_has_confirmed_and_gives_it_to_the_next() {
    let mut service = Service::active();
    service.boot = Some(Digest32([7; 32]));
    // Until Confirm the same launch may ask as often as it needs to.
    service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    let header = service.boot(1, Header::new(1, 1), 1).unwrap();
    assert_eq!(service.record.boot, service.boot);
    let refusal = service.ask(1, &header.unlock()).unwrap_err();
    assert_eq!(refusal.reason, Reason::BootClosed);
    assert!(
        refusal.detail.contains(&"07".repeat(32)),
        "{}",
        refusal.detail
    );
    assert_eq!(refusal.retry, Retry::Never);
    service.boot = Some(Digest32([8; 32]));
    service.boot(1, header, 1).unwrap();
}

#[test]
fn refuses_an_approval_of_another_volume_or_of_an_operator() {
    let service = Service::active();
    for approval in [
        Approval::for_test(Uuid::from_u128(8), 1),
        Approval::for_test(service.record.id, 2),
        Approval::for_test(service.record.id, 1),
    ] {
        let fresh = Fresh {
            token: ConfirmToken::take(&mut [1; 32]).unwrap(),
            grant: Uuid::from_u128(1),
        };
        let rules = service.rules();
        let ask = Header::new(1, 1).unlock();
        let decision = decide(approval, &ask, &service.record, &rules, fresh, at(0));
        assert!(matches!(decision, Decision::Refuse(r) if r.reason == Reason::Internal));
    }
}
