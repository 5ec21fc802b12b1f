//! Rotation, reopening, adopted volumes, and headers that a host forged.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::testing::{Header, Service};
use super::{ClosedBoot, closed_boot};
use crate::kek::WrappedDek;
use crate::volume::{ConfirmedHeader, Digest32, Kind, VolumeRecord};
use dawnkey_proto::closing::{Opened, closed_pcr};
use dawnkey_proto::message::{Ask, Reason, Refusal, Reopen};
use uuid::Uuid;

fn dek(epoch: u32) -> WrappedDek {
    WrappedDek::derived("cluster", epoch)
}

fn rotating() -> Service {
    let mut service = Service::active();
    service.record = service.record.clone().rotating(dek(2));
    service
}

fn epochs(service: &Service) -> Vec<u32> {
    service.record.deks.iter().map(|dek| dek.epoch).collect()
}

#[test]
fn rotation_brings_both_deks_and_confirm_forgets_the_old_one() {
    let mut service = rotating();
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    assert_eq!(granted.approval.epoch(), 1);
    assert_eq!(granted.rotation.as_ref().unwrap().epoch(), 2);
    assert_eq!(epochs(&service), [1, 2]);
    let header = Header::new(2, 1).at_epoch(2);
    service.confirm(header, &granted).unwrap();
    assert_eq!((service.record.epoch, service.record.next_epoch), (2, None));
    assert_eq!(epochs(&service), [2]);
    let granted = service.ask(1, &header.unlock()).unwrap();
    assert_eq!(granted.approval.epoch(), 2);
    assert!(granted.rotation.is_none());
}

#[test]
fn both_epochs_open_until_the_rotation_is_confirmed_and_the_old_one_never_after() {
    let mut service = rotating();
    let old = Header::new(1, 1);
    service.ask(1, &old.unlock()).unwrap();
    let new = Header::new(2, 1).at_epoch(2);
    for _ in 0..3 {
        // Stopped after one of the headers or both were written; the disk shows the one or the other.
        let granted = service.ask(1, &new.unlock()).unwrap();
        assert_eq!((granted.approval.epoch(), granted.generation), (2, 3));
        assert!(granted.rotation.is_none());
        let granted = service.ask(1, &old.unlock()).unwrap();
        assert_eq!((granted.approval.epoch(), granted.generation), (1, 3));
        assert_eq!(granted.rotation.unwrap().epoch(), 2);
    }
    let granted = service.ask(1, &new.unlock()).unwrap();
    service
        .confirm(Header::new(3, 1).at_epoch(2), &granted)
        .unwrap();
    for dead in [old, Header::new(2, 1), Header::new(3, 1)] {
        assert_eq!(service.refused(1, &dead.unlock()), Reason::StaleEpoch);
    }
    service.rollback = super::Rollback::Warn;
    assert_eq!(service.refused(1, &old.unlock()), Reason::StaleEpoch);
}

#[test]
fn node_that_does_not_rotate_is_confirmed_and_asked_again_next_time() {
    let mut service = rotating();
    let header = service.boot(1, Header::new(1, 1), 1).unwrap();
    assert_eq!(
        (service.record.epoch, service.record.next_epoch),
        (1, Some(2))
    );
    assert_eq!(epochs(&service), [1, 2]);
    assert!(service.ask(1, &header.unlock()).unwrap().rotation.is_some());
}

#[test]
fn refuses_header_and_confirm_of_an_epoch_that_is_not_next() {
    let mut service = rotating();
    let header = Header::new(1, 1).at_epoch(3);
    assert_eq!(service.refused(1, &header.unlock()), Reason::StaleEpoch);
    let granted = service.ask(1, &Header::new(1, 1).unlock()).unwrap();
    let confirm = service.confirm(Header::new(2, 1).at_epoch(3), &granted);
    assert_eq!(confirm, Err(Reason::GrantInvalid));
}

#[test]
fn refuses_header_of_the_next_epoch_outside_the_window() {
    let mut service = rotating();
    let header = Header::new(1, 1).at_epoch(2);
    assert_eq!(
        service.refused(1, &header.unlock()),
        Reason::StaleGeneration
    );
}

#[test]
fn retirement_forgets_both_epochs() {
    let service = rotating();
    assert!(service.record.retired().deks.is_empty());
}

#[test]
fn forged_headers_of_the_window_lock_nobody_out() {
    let mut service = Service::active();
    let honest = Header::new(1, 1);
    service.ask(1, &honest.unlock()).unwrap();
    // The host shows headers of its own with the pending generation; they open with no key.
    for generation in 2..40 {
        let forged = Header::new(generation, 99);
        assert_eq!(
            service.ask(1, &forged.unlock()).unwrap().generation,
            generation + 1
        );
    }
    service.boot(1, honest, 1).unwrap();
}

fn reopen(header: Header, closed_with: &[(u128, u64)]) -> Reopen {
    Reopen {
        seen: header.seen(),
        adopted: false,
        closed_with: closed_with
            .iter()
            .map(|(volume, generation)| Opened {
                volume: Uuid::from_u128(*volume),
                generation: *generation,
            })
            .collect(),
    }
}

fn named(
    service: &Service,
    others: &[VolumeRecord],
    closed_with: &[(u128, u64)],
) -> Result<ClosedBoot, Refusal> {
    let mut records = others.to_vec();
    records.push(service.record.clone());
    let asked = reopen(Header::new(1, 1), closed_with);
    let (volume, instance) = (service.record.id, Digest32([1; 32]));
    closed_boot(&asked, volume, &records, instance, Uuid::from_u128(0xa))
}

#[test]
fn closed_boot_is_one_of_this_instances_confirmed_volumes_in_their_order() {
    let service = Service::active();
    let mut other = Service::active().record;
    other.id = Uuid::from_u128(8);
    let others = [other];
    let boot = named(&service, &others, &[(8, 1), (7, 1)]).unwrap();
    let opened = reopen(Header::new(1, 1), &[(8, 1), (7, 1)]).closed_with;
    assert_eq!(boot.pcr, closed_pcr(Uuid::from_u128(0xa), &opened));
    for wrong in [
        &[(8, 1)][..],
        &[(7, 2)],
        &[(7, 1), (8, 2)],
        &[(7, 1), (9, 1)],
        &[(7, 1), (7, 1)],
    ] {
        let refusal = named(&service, &others, wrong).unwrap_err();
        assert_eq!(refusal.reason, Reason::ReopenMismatch, "{wrong:?}");
    }
    let mut stranger = others;
    stranger[0].instance = Some(Digest32([2; 32]));
    let refusal = named(&service, &stranger, &[(7, 1), (8, 1)]).unwrap_err();
    assert_eq!(refusal.reason, Reason::ReopenMismatch);
}

#[test]
fn reopening_moves_the_generation_and_the_boot_keeps_the_one_it_was_closed_with() {
    let mut service = Service::active();
    service.reopens = true;
    let mut header = Header::new(1, 1);
    for _ in 0..3 {
        let ask = Ask::Reopen(reopen(header, &[(7, 1)]));
        let granted = service.ask(1, &ask).unwrap();
        header = Header::new(granted.generation, 1);
        service.confirm(header, &granted).unwrap();
        assert_eq!(service.record.booted, Some(1));
        named(&service, &[], &[(7, 1)]).unwrap();
    }
    service.reopens = false;
    let header = service.boot(1, header, 1).unwrap();
    assert_eq!(service.record.booted, Some(header.generation));
}

#[test]
fn refuses_to_reopen_where_evidence_has_not_shown_a_closed_boot() {
    let mut service = Service::active();
    let ask = Ask::Reopen(reopen(Header::new(1, 1), &[(7, 1)]));
    assert_eq!(service.refused(1, &ask), Reason::ReopenNotAllowed);
}

#[test]
fn launch_that_confirmed_reopens_and_another_does_not() {
    let mut service = Service::active();
    service.boot = Some(Digest32([7; 32]));
    let header = service.boot(1, Header::new(1, 1), 1).unwrap();
    service.reopens = true;
    let ask = Ask::Reopen(reopen(header, &[(7, 2)]));
    service.boot = Some(Digest32([8; 32]));
    assert_eq!(service.refused(1, &ask), Reason::ReopenMismatch);
    service.boot = Some(Digest32([7; 32]));
    service.ask(1, &ask).unwrap();
}

/// An adopted volume whose recorded header is copy 1.
fn adopted() -> Service {
    let mut service = Service::new();
    let header = Header::new(1, 1);
    service.record = VolumeRecord {
        state: crate::volume::State::Active,
        kind: Kind::Adopted,
        confirmed: 1,
        issued: 1,
        header: Some(ConfirmedHeader {
            digest: Digest32(header.seen().digest),
            token: None,
        }),
        ..service.record.clone()
    };
    service.adopted = true;
    service
}

#[test]
fn adopted_volume_keeps_generation_and_header_for_ever() {
    let mut service = adopted();
    let header = Header::new(1, 1);
    for _ in 0..3 {
        let granted = service.ask(1, &Ask::Adopted(header.seen())).unwrap();
        assert_eq!((granted.generation, granted.approval.epoch()), (1, 1));
        // Stopped once, then confirmed, and the confirmation repeated.
        let granted = service.ask(1, &Ask::Adopted(header.seen())).unwrap();
        service.confirm(header, &granted).unwrap();
        service.confirm(header, &granted).unwrap();
        assert_eq!((service.record.confirmed, service.record.issued), (1, 1));
    }
}

#[test]
fn refuses_another_header_of_an_adopted_volume_at_ask_and_at_confirm() {
    let mut service = adopted();
    service.rollback = super::Rollback::Warn;
    let other = Header::new(1, 2);
    let refused = service.refused(1, &Ask::Adopted(other.seen()));
    assert_eq!(refused, Reason::HeaderMismatch);
    let granted = service
        .ask(1, &Ask::Adopted(Header::new(1, 1).seen()))
        .unwrap();
    assert_eq!(
        service.confirm(other, &granted),
        Err(Reason::HeaderMismatch)
    );
}

#[test]
fn refuses_adopted_volume_where_policy_or_record_or_node_says_otherwise() {
    let seen = Header::new(1, 1).seen();
    let mut service = adopted();
    assert_eq!(
        service.refused(1, &Ask::Unlock(seen)),
        Reason::HeaderMismatch
    );
    assert_eq!(
        service.refused(1, &Ask::Provision),
        Reason::AlreadyProvisioned
    );
    service.adopted = false;
    assert_eq!(
        service.refused(1, &Ask::Adopted(seen)),
        Reason::AdoptedNotAllowed
    );
    let mut own = Service::active();
    own.adopted = true;
    assert_eq!(
        own.refused(1, &Ask::Adopted(seen)),
        Reason::AdoptedNotAllowed
    );
}
