//! Whole exchanges of TEE guests, with evidence that mocks of AMD's and Intel's PKIs signed and the real verifier judges.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Attester, Node, World};
use crate::policy::testing::mock::{snp_evidence, tdx_evidence};
use crate::policy::testing::tee_file;
use dawnkey_attest::snp::fake::ReportSpec;
use dawnkey_attest::tdx::fake::Spec;
use dawnkey_proto::message::{Answer, Ask, Reason, Refusal, Release, SeenHeader};

/// A node whose guest runs on a chip and was launched for the n-th time.
fn snp(chip: u8, launch: u8, bend: fn(&mut ReportSpec)) -> Node {
    attesting(Box::new(move |exchange| {
        snp_evidence(chip, exchange, |report| {
            report.bent.push((0x140, launch));
            bend(report);
        })
    }))
}

fn tdx(bend: fn(&mut Spec)) -> Node {
    attesting(Box::new(move |exchange| tdx_evidence(exchange, bend)))
}

fn attesting(attester: Attester) -> Node {
    let mut node = Node::new(1);
    node.attester = Some(attester);
    node
}

async fn provisioned(world: &World, node: &mut Node) -> SeenHeader {
    match node.ask(world, Ask::Provision).await {
        Answer::Provision(granted) => node.confirm(world, &granted.release).await,
        other => panic!("not provisioned: {other:?}"),
    }
}

async fn released(world: &World, node: &mut Node, header: SeenHeader) -> Release {
    match node.ask(world, Ask::Unlock(header)).await {
        Answer::Release(release) => release,
        other => panic!("not released: {other:?}"),
    }
}

async fn refused(world: &World, node: &mut Node, header: SeenHeader) -> Refusal {
    let (store, _) = world.before();
    match node.ask(world, Ask::Unlock(header)).await {
        Answer::Refuse(refusal) => {
            assert_eq!(world.store.snapshot(), store, "the store has changed");
            refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn snp_guest_provisions_and_unlocks_without_enrolment_or_challenge() {
    let world = World::new(&tee_file()).await;
    let header = provisioned(&world, &mut snp(1, 1, |_| ())).await;
    let mut next = snp(1, 2, |_| ());
    let release = released(&world, &mut next, header).await;
    assert_eq!(release.generation, 2);
    next.confirm(&world, &release).await;
    assert!(world.desk.records.instances().await.unwrap().is_empty());
    let record = world
        .records()
        .into_iter()
        .find(|r| r.event == "release")
        .unwrap();
    assert_eq!(record.fields["trust_class"], "tee");
    assert_eq!(record.fields["platform"], "milan");
    assert_eq!(record.fields["image"], "node");
    assert!(record.fields.get("key").is_none());
}

#[tokio::test]
async fn td_provisions_and_unlocks_until_its_register_is_capped() {
    let world = World::new(&tee_file()).await;
    let header = provisioned(&world, &mut tdx(|_| ())).await;
    let mut next = tdx(|_| ());
    let release = released(&world, &mut next, header).await;
    let header = next.confirm(&world, &release).await;
    let refusal = refused(&world, &mut tdx(|td| td.rtmr[3] = [7; 48]), header).await;
    assert_eq!(refusal.reason, Reason::MeasurementMismatch);
    assert!(refusal.detail.contains("RTMR 3"), "{}", refusal.detail);
}

#[tokio::test]
async fn an_snp_launch_gets_its_key_as_often_as_it_needs_until_confirm_and_never_after() {
    let world = World::new(&tee_file()).await;
    let header = provisioned(&world, &mut snp(1, 1, |_| ())).await;
    let refusal = refused(&world, &mut snp(1, 1, |_| ()), header).await;
    assert_eq!(refusal.reason, Reason::BootClosed);
    released(&world, &mut snp(1, 2, |_| ()), header).await;
    let mut again = snp(1, 2, |_| ());
    let release = released(&world, &mut again, header).await;
    let header = again.confirm(&world, &release).await;
    let refusal = refused(&world, &mut snp(1, 2, |_| ()), header).await;
    assert_eq!(refusal.reason, Reason::BootClosed);
    assert!(refusal.detail.contains("021d1d"), "{}", refusal.detail);
    released(&world, &mut snp(1, 3, |_| ()), header).await;
}

#[tokio::test]
async fn refuses_a_report_of_another_exchange() {
    let world = World::new(&tee_file()).await;
    for mut node in [snp(1, 1, |_| ()), tdx(|_| ())] {
        node.replayed = true;
        let Answer::Refuse(refusal) = node.ask(&world, Ask::Provision).await else {
            panic!("not refused");
        };
        assert_eq!(refusal.reason, Reason::BinderMismatch);
    }
}

#[tokio::test]
async fn refuses_debug_guests_and_names_the_rule_in_the_audit_record() {
    let world = World::new(&tee_file()).await;
    let header = provisioned(&world, &mut snp(1, 1, |_| ())).await;
    let refusal = refused(&world, &mut snp(1, 2, |r| r.policy |= 1 << 19), header).await;
    assert_eq!(refusal.reason, Reason::GuestNotAllowed);
    let record = world.records().pop().unwrap();
    assert_eq!(record.fields["rule"], "platform.milan.snp.allow_debug");
    let refusal = refused(&world, &mut tdx(|td| td.td_attributes |= 1), header).await;
    assert_eq!(refusal.reason, Reason::GuestNotAllowed);
}

#[tokio::test]
async fn a_volume_stays_on_its_chip_unless_policy_lets_anyone_have_it() {
    let world = World::new(&tee_file()).await;
    let header = provisioned(&world, &mut snp(1, 1, |_| ())).await;
    let refusal = refused(&world, &mut snp(2, 2, |_| ()), header).await;
    assert_eq!(refusal.reason, Reason::InstanceNotAllowed);

    let any = tee_file().replacen("rollback", "owner = \"any\"\nrollback", 1);
    let world = World::new(&any).await;
    let header = provisioned(&world, &mut snp(1, 1, |_| ())).await;
    let mut moved = snp(2, 2, |_| ());
    let release = released(&world, &mut moved, header).await;
    // While the one holds the lease, the other waits.
    let refusal = refused(&world, &mut snp(3, 3, |_| ()), header).await;
    assert_eq!(refusal.reason, Reason::LeaseHeld);
    let header = moved.confirm(&world, &release).await;
    released(&world, &mut snp(3, 3, |_| ()), header).await;
}

#[tokio::test]
async fn refuses_tees_whose_vendor_the_policy_does_not_trust() {
    let nobody = tee_file().replacen("amd = [\"amd.pem\"]\nintel = [\"intel.pem\"]", "", 1);
    let world = World::new(&nobody).await;
    for mut node in [snp(1, 1, |_| ()), tdx(|_| ())] {
        let Answer::Refuse(refusal) = node.ask(&world, Ask::Provision).await else {
            panic!("not refused");
        };
        assert_eq!(
            refusal.reason,
            Reason::EndorsementUntrusted,
            "{}",
            refusal.detail
        );
    }
}
