//! Every refusal leaves the store as it was and exactly one audit record behind.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Node, World};
use crate::policy::testing::FILE;
use dawnkey_proto::message::{Answer, Ask, Reason, Refusal, Retry, SeenHeader};
use uuid::Uuid;

/// Asks, and demands a refusal that changed nothing and was written down once.
async fn refused(world: &World, node: &mut Node, ask: Ask) -> Refusal {
    let (store, records) = world.before();
    let Answer::Refuse(refusal) = node.ask(world, ask).await else {
        panic!("not refused");
    };
    assert_eq!(world.store.snapshot(), store, "the store has changed");
    let all = world.records();
    assert_eq!(all.len(), records + 1, "not exactly one audit record");
    let last = all.last().unwrap();
    assert_eq!(last.event, "refuse");
    assert_eq!(last.fields["reason"], refusal.code());
    assert_eq!(last.fields["detail"], refusal.detail);
    refusal
}

#[tokio::test]
async fn refuses_unknown_volume() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    node.volume = Uuid::from_u128(8);
    let refusal = refused(&world, &mut node, Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::UnknownVolume);
    assert_eq!(refusal.retry, Retry::Never);
}

#[tokio::test]
async fn refuses_unknown_measurement() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let mut node = Node::new(1);
    node.claims.pcrs.insert(4, vec![5; 32]);
    node.claims.pcrs.insert(11, vec![6; 32]);
    let refusal = refused(&world, &mut node, Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::ImageUnknown);
    let record = world.records().pop().unwrap();
    assert_eq!(record.fields["trust_class"], "hypervisor");
    assert_eq!(record.fields["node_name"], "node-1");
    assert_eq!(record.fields["seen_generation"], 1);
    assert_eq!(record.fields["rule"], "volume-policy.state.images");
}

#[tokio::test]
async fn refuses_changed_kernel_argument_and_names_pcr_and_both_values() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let mut node = Node::new(1);
    node.claims.pcrs.insert(12, vec![0xcd; 32]);
    let refusal = refused(&world, &mut node, Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    let both = format!(
        "PCR 12 is {}, expected {}",
        "cd".repeat(32),
        "00".repeat(32)
    );
    assert!(refusal.detail.contains(&both), "{}", refusal.detail);
}

#[tokio::test]
async fn refuses_attestation_key_that_is_not_enrolled() {
    let policy = FILE.replacen("\"endorsed\"", "\"never\"", 1);
    let world = World::new(&policy).await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::KeyNotEnrolled);
    assert!(refusal.detail.contains("is not enrolled"));
}

#[tokio::test]
async fn refuses_endorsement_certificate_of_another_root() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    node.claims.tpm.as_mut().unwrap().endorsement = None;
    node.claims.tpm.as_mut().unwrap().endorsement_problem =
        Some("certificate of an unknown issuer".into());
    let refusal = refused(&world, &mut node, Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::EndorsementUntrusted);
    assert!(refusal.detail.contains("certificate of an unknown issuer"));
}

#[tokio::test]
async fn refuses_enrolled_key_with_the_certificate_of_another_tpm() {
    let world = World::new(FILE).await;
    world.active().await;
    let mut node = Node::new(1);
    node.claims.tpm.as_mut().unwrap().endorsement = Node::new(2).claims.tpm.unwrap().endorsement;
    let refusal = refused(&world, &mut node, Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::EndorsementUntrusted);
}

#[tokio::test]
async fn refuses_active_volume_whose_header_was_wiped() {
    let world = World::new(FILE).await;
    world.active().await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::AlreadyProvisioned);
}

#[tokio::test]
async fn refuses_second_request_after_boot() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    let mut node = Node::new(1);
    node.claims.pcrs.insert(15, vec![1; 32]);
    let refusal = refused(&world, &mut node, Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    assert!(refusal.detail.starts_with("PCR 15 is 0101"));
}

#[tokio::test]
async fn refuses_older_generation() {
    let world = World::new(FILE).await;
    let old = world.active().await;
    world.boot(old).await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Unlock(old)).await;
    assert_eq!(refusal.reason, Reason::StaleGeneration);
}

#[tokio::test]
async fn refuses_cloned_disk_in_another_machine() {
    let world = World::new(FILE).await;
    let header = world.active().await;
    for enrolled in [false, true] {
        if enrolled {
            world.enrol(2).await;
        }
        let refusal = refused(&world, &mut Node::new(2), Ask::Unlock(header)).await;
        assert_eq!(refusal.reason, Reason::InstanceNotAllowed);
    }
}

#[tokio::test]
async fn refuses_clone_of_two_listed_machines_while_one_holds_the_lease() {
    let both = format!("[\"{}\", \"{}\"]", "01".repeat(32), "02".repeat(32));
    let policy = FILE.replacen("instances = []", &format!("instances = {both}"), 1);
    let world = World::new(&policy).await;
    let header = world.active().await;
    world.enrol(2).await;
    world.enrol(3).await;
    let Answer::Release(_) = Node::new(1).ask(&world, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    let refusal = refused(&world, &mut Node::new(2), Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::LeaseHeld);
    assert_eq!(refusal.retry, Retry::After(301));
    let refusal = refused(&world, &mut Node::new(3), Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::InstanceNotAllowed);
}

#[tokio::test]
async fn refuses_evidence_of_another_connection() {
    let world = World::new(FILE).await;
    let mut node = Node::new(1);
    node.replayed = true;
    let refusal = refused(&world, &mut node, Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::BinderMismatch);
}

#[tokio::test]
async fn refuses_header_on_a_volume_that_was_never_provisioned() {
    let world = World::new(FILE).await;
    let header = SeenHeader {
        generation: 1,
        epoch: 1,
        digest: [1; 32],
    };
    let refusal = refused(&world, &mut Node::new(1), Ask::Unlock(header)).await;
    assert_eq!(refusal.reason, Reason::NotProvisioned);
}

#[tokio::test]
async fn refuses_malformed_request_and_unknown_version() {
    let world = World::new(FILE).await;
    for (version, expected) in [
        (1, Reason::MalformedRequest),
        (2, Reason::UnsupportedVersion),
    ] {
        let (store, records) = world.before();
        let mut node = Node::new(1);
        let mut message = node.request(Ask::Provision);
        // Field 1 of the body is its version; without an operation it is malformed.
        message.body = vec![0x08, version];
        let session = std::sync::Arc::clone(&node.session);
        let answer = std::sync::Arc::clone(&world.desk).unlock(session, message);
        assert!(matches!(answer.await, Answer::Refuse(r) if r.reason == expected));
        assert_eq!(world.store.snapshot(), store);
        assert_eq!(world.records().len(), records + 1);
    }
}

#[tokio::test]
async fn refuses_confirm_of_a_stranger() {
    use dawnkey_proto::message::Confirm;
    let world = World::new(FILE).await;
    let header = world.active().await;
    for volume in [world.volume, Uuid::from_u128(8)] {
        let (store, records) = world.before();
        let confirm = Confirm {
            volume,
            header,
            token: dawnkey_secret::ConfirmToken::take(&mut [1; 32]).unwrap(),
            progress: None,
            hold: false,
        };
        let session = std::sync::Arc::clone(&Node::new(2).session);
        let answer = std::sync::Arc::clone(&world.desk).confirm(session, confirm.into());
        assert_eq!(answer.await.unwrap_err().reason, Reason::GrantInvalid);
        assert_eq!(world.store.snapshot(), store);
        assert_eq!(world.records().len(), records + 1);
    }
}
