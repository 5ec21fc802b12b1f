//! The whole exchange with a real key service and real software TPMs. Every refusal leaves disk and store as they were.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "end_to_end/endpoints.rs"]
mod endpoints;
use dawnkey_agent::client::Client;
use dawnkey_agent::config::Pace;
use dawnkey_agent::connect::ConnectError;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::retry::Budget;
use dawnkey_agent::unlock::{Boot, Outcome, Unlock};
use dawnkey_attest::fake::SwtpmCa;
use dawnkey_dm::{Found, Grant, Mapper};
use dawnkey_host_tests::world::node::{Node, image};
use dawnkey_host_tests::world::{VOLUME, World, relay};
use dawnkey_keyservice::audit;
use dawnkey_proto::message::{Reason, Retry};
use dawnkey_secret::Dek;
use std::io::BufReader;
use std::time::Duration;
use uuid::Uuid;

async fn world() -> World {
    World::new(&image("quiet")).await
}

/// A node whose volume is made and confirmed, booted anew.
async fn provisioned(world: &World) -> Node {
    let mut node = Node::new(&world.tpm_ca);
    let done = node.unlock(world).await.unwrap();
    assert_eq!(done.outcome, Outcome::Provisioned);
    node.boot("quiet");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_provisions_and_unlocks_again_without_a_challenge() {
    let mut world = world().await;
    let mut node = Node::new(&world.tpm_ca);
    let (disk, store) = (node.disk_bytes(), world.store());
    let done = node.unlock(&world).await.unwrap();
    // What the tests of refusals compare does change when something happens.
    assert!(node.disk_bytes() != disk && world.store() != store);
    assert_eq!(done.outcome, Outcome::Provisioned);
    assert_eq!(
        (done.mapping.seen.generation, done.trace.round_trips),
        (1, 5)
    );
    assert!(node.was_challenged());
    let record = world.volume().await;
    assert_eq!((record.state.as_str(), record.generation), ("active", 1));
    for generation in 2..4 {
        node.boot("quiet");
        let done = node.unlock(&world).await.unwrap();
        assert_eq!(done.outcome, Outcome::Unlocked);
        assert_eq!(
            (done.mapping.seen.generation, done.trace.round_trips),
            (generation, 4)
        );
        assert!(!node.was_challenged());
        let record = world.volume().await;
        assert_eq!(
            (record.generation, record.pending_generation),
            (generation, 0)
        );
    }
    world.stop().await;
    let log = std::fs::File::open(world.audit_log()).unwrap();
    audit::verify(BufReader::new(log)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_another_image_and_names_the_pcr_with_both_values() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    node.boot("quiet init=/bin/sh");
    let refusal = node.refused(&world).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    assert_eq!(refusal.retry, Retry::Never);
    let [found, expected] = ["quiet init=/bin/sh", "quiet"].map(|c| hex::encode(&image(c)[&11]));
    for part in ["PCR 11", &found, &expected] {
        assert!(refusal.detail.contains(part), "{part} is not in: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_another_image_before_anything_is_enrolled_or_formatted() {
    let world = world().await;
    let mut node = Node::new(&world.tpm_ca);
    node.boot("quiet init=/bin/sh");
    assert_eq!(node.refused(&world).await.reason, Reason::PcrMismatch);
    assert_eq!(world.volume().await.state, "provisioning");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_second_request_from_the_running_system() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    node.unlock(&world).await.unwrap();
    let refusal = node.refused(&world).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    assert!(refusal.detail.contains("PCR 15"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_an_older_copy_of_the_disk() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    let old = node.disk_bytes();
    node.unlock(&world).await.unwrap();
    node.boot("quiet");
    node.write_disk(&old);
    assert_eq!(node.refused(&world).await.reason, Reason::StaleGeneration);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_cloned_disk_on_another_tpm() {
    let world = world().await;
    let node = provisioned(&world).await;
    let mut clone = Node::new(&world.tpm_ca);
    clone.write_disk(&node.disk_bytes());
    assert_eq!(
        clone.refused(&world).await.reason,
        Reason::InstanceNotAllowed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn never_formats_an_active_volume_whose_header_was_wiped() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    node.write_disk(&vec![0; 17 << 20]);
    assert_eq!(
        node.refused(&world).await.reason,
        Reason::AlreadyProvisioned
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_header_of_a_volume_that_was_never_provisioned() {
    let world = world().await;
    let mut node = Node::new(&world.tpm_ca);
    let mut mapper = node.mapper();
    let Ok(Found::Blank(blank)) = mapper.find(&node.volume(VOLUME).wanted) else {
        panic!("a new disk is blank")
    };
    let dek = Dek::take(&mut [1; 32]).unwrap();
    let grant = Grant {
        epoch: 1,
        generation: 1,
    };
    mapper.format(blank, &dek, grant, &mut |_| {}).unwrap();
    assert_eq!(node.refused(&world).await.reason, Reason::NotProvisioned);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_an_endorsement_certificate_of_another_root() {
    let world = world().await;
    let stranger = SwtpmCa::new();
    let mut node = Node::new(&stranger);
    assert_eq!(
        node.refused(&world).await.reason,
        Reason::EndorsementUntrusted
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_volume_that_was_never_made() {
    let world = world().await;
    let mut node = Node::new(&world.tpm_ca);
    let service = world.service_at(world.address());
    let refusal = node.refused_at(&world, &service, Uuid::from_u128(9)).await;
    assert_eq!(refusal.reason, Reason::UnknownVolume);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_evidence_that_was_relayed_with_the_services_own_key() {
    let world = world().await;
    let mut node = provisioned(&world).await;
    let service = world.service_at(relay::start(&world).await);
    let refusal = node.refused_at(&world, &service, VOLUME).await;
    assert_eq!(refusal.reason, Reason::BinderMismatch);
    node.unlock(&world).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_a_stopped_service_within_the_budget_and_changes_nothing() {
    let mut world = world().await;
    let mut node = provisioned(&world).await;
    world.stop().await;
    let disk = node.disk_bytes();
    let mut service = world.service_at(world.address());
    service.pace = Pace {
        budget: Duration::from_secs(1),
        attempt: Duration::from_secs(1),
    };
    let error = node.unlock_at(&service, VOLUME).await.unwrap_err();
    assert_eq!(error.exit_code(), 20);
    let UnlockError::Ask { error, .. } = error else {
        panic!("expected the asking to fail")
    };
    assert!(matches!(
        *error,
        AskError::Connect(ConnectError::Unreachable { .. })
    ));
    assert!(node.disk_bytes() == disk, "the disk has changed");
}

/// Where a node loses power: after the key came, or after the header was written.
async fn dies(world: &World, node: &Node, after_writing: bool) {
    let service = world.service_at(world.address());
    let mut client = Client::new(&service).unwrap();
    let (mut tpm, mut mapper) = (node.attester(), node.mapper());
    let report = &mut |_: &_| {};
    let volume = node.volume(VOLUME);
    let measured = Unlock::measure(&volume, Boot::Open, "node-1", &mut mapper, report).unwrap();
    let budget = Budget::start(service.pace);
    let attested = measured
        .attest(&mut client, &mut tpm, &budget, report)
        .await;
    let Ok(attested) = attested else {
        panic!("no evidence")
    };
    let Ok(released) = attested.ask(&mut tpm, &budget, report).await else {
        panic!("no key")
    };
    if after_writing {
        released.map(&mut mapper, report).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_loss_before_confirmation_never_locks_the_volume_out() {
    let world = world().await;
    let mut node = Node::new(&world.tpm_ca);
    for after_writing in [false, true, true, false, true] {
        dies(&world, &node, after_writing).await;
        node.boot("quiet");
    }
    let done = node.unlock(&world).await.unwrap();
    let record = world.volume().await;
    assert_eq!(record.state, "active");
    assert_eq!(record.generation, done.mapping.seen.generation);
}
