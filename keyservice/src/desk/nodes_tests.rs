//! Approval and revocation of nodes, and which node may have which volume.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Node, World};
use crate::nodes::Standing;
use crate::policy::testing::FILE;
use crate::server::Operator;
use crate::volume::{Digest32, InstanceId};
use dawnkey_proto::lease;
use dawnkey_proto::message::{
    Answer, Ask, Reason, Refusal, Release, Renew, RenewAnswer, Retry, SeenHeader,
};
use dawnkey_secret::ConfirmToken;
use std::sync::Arc;

const ONE: InstanceId = Digest32([1; 32]);

fn with(rules: &str) -> String {
    FILE.replacen("instances = []", rules, 1)
}

async fn refused(world: &World, node: &mut Node, ask: Ask) -> Refusal {
    match node.ask(world, ask).await {
        Answer::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

async fn decide(world: &World, standing: Standing) {
    let operator = Operator::for_test();
    let decided = world.desk.decide_node(&operator, ONE, standing).await;
    assert_eq!(decided.unwrap().standing, standing);
}

async fn released(world: &World, header: SeenHeader) -> (Node, Release) {
    let mut node = Node::new(1);
    node.hold = true;
    match node.ask(world, Ask::Unlock(header)).await {
        Answer::Release(release) => (node, release),
        other => panic!("not released: {other:?}"),
    }
}

#[tokio::test]
async fn a_new_node_waits_until_an_operator_approves_it() {
    let world = World::new(&with("approval = \"required\"")).await;
    world.enrol(1).await;
    for _ in 0..2 {
        let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
        assert_eq!(refusal.reason, Reason::NodeNotApproved);
        assert_eq!(refusal.retry, Retry::After(30));
    }
    let nodes = world.desk.list_nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].standing, Standing::Pending);
    let shown = nodes[0].introduction.as_ref().unwrap();
    assert_eq!(shown.endorsement, "CN=tpm");
    assert_eq!(shown.image, "node-2026-11");
    assert_eq!(shown.volume, Some(world.volume));
    let pending = world.records().into_iter();
    assert_eq!(pending.filter(|r| r.event == "node-pending").count(), 1);
    decide(&world, Standing::Approved).await;
    let answer = Node::new(1).ask(&world, Ask::Provision).await;
    assert!(matches!(answer, Answer::Provision(_)));
}

#[tokio::test]
async fn a_newcomer_proves_itself_before_it_is_recorded() {
    let world = World::new(&with("approval = \"required\"")).await;
    let mut node = Node::new(1);
    let Answer::Challenge(challenge) = node.ask(&world, Ask::Provision).await else {
        panic!("not challenged");
    };
    assert!(world.desk.list_nodes().await.unwrap().is_empty());
    let Answer::Refuse(refusal) = node.activate(&world, &challenge).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.reason, Reason::NodeNotApproved);
    assert_eq!(world.desk.list_nodes().await.unwrap().len(), 1);
    // Nothing is enrolled for a node that is not let in.
    assert!(world.desk.records.instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn evidence_that_fails_leaves_no_node_to_decide_about() {
    let world = World::new(&with("approval = \"required\"")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    node.claims.pcrs.insert(12, vec![9; 32]);
    let refusal = refused(&world, &mut node, Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::PcrMismatch);
    assert!(world.desk.list_nodes().await.unwrap().is_empty());
}

#[tokio::test]
async fn revocation_takes_effect_at_the_next_request_of_any_kind() {
    let world = World::new(&with("hold = true")).await;
    world.enrol(1).await;
    let mut node = Node::new(1);
    node.hold = true;
    let Answer::Provision(granted) = node.ask(&world, Ask::Provision).await else {
        panic!("not provisioned");
    };
    let header = node.confirm(&world, &granted.release).await;
    let (node, release) = released(&world, header).await;
    let (_, token) = node.open(&release);
    let mut kept = *token.expose();
    let header = node.confirm(&world, &release).await;
    let (late, unconfirmed) = released(&world, header).await;
    let renew = async |bytes: &mut [u8; 32], fencing_token| {
        let token = ConfirmToken::take(&mut bytes.clone()).unwrap();
        let renew = Renew {
            volume: world.volume,
            fencing_token,
            token: lease::token(&token),
            progress: None,
            end: false,
        };
        let session = Node::new(9).session;
        Arc::clone(&world.desk).renew(session, renew.into()).await
    };
    decide(&world, Standing::Revoked).await;
    let refusal = late.try_confirm(&world, &unconfirmed).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NodeRevoked);
    let asked = refused(&world, &mut Node::new(1), Ask::Unlock(header)).await;
    assert_eq!(
        (asked.reason, asked.retry),
        (Reason::NodeRevoked, Retry::Never)
    );
    decide(&world, Standing::Approved).await;
    let confirmed = late.try_confirm(&world, &unconfirmed).await.unwrap();
    let (_, token) = late.open(&unconfirmed);
    kept.copy_from_slice(token.expose());
    let fencing = unconfirmed.lease.fencing_token;
    let goes_on = renew(&mut kept, fencing).await;
    assert!(matches!(goes_on, RenewAnswer::Renewed { seconds: 300 }));
    decide(&world, Standing::Revoked).await;
    let RenewAnswer::Refuse(lost) = renew(&mut kept, fencing).await else {
        panic!("not refused");
    };
    assert_eq!(
        (lost.reason, lost.retry),
        (Reason::NodeRevoked, Retry::Never)
    );
    assert_eq!(confirmed.generation, unconfirmed.generation);
}

#[tokio::test]
async fn a_denied_node_gets_nothing_where_policy_asks_for_no_approval() {
    let world = World::new(FILE).await;
    world.enrol(1).await;
    decide(&world, Standing::Denied).await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::NodeRevoked);
    let answer = world.desk.list_nodes().await.unwrap();
    assert!(answer[0].introduction.is_none());
    world.enrol(2).await;
    let other = Node::new(2).ask(&world, Ask::Provision).await;
    assert!(matches!(other, Answer::Provision(_)));
}

#[tokio::test]
async fn a_volume_goes_to_the_nodes_that_policy_names_by_any_of_their_identities() {
    let one = hex::encode([1; 32]);
    for known_by in [
        format!("instance = \"{one}\""),
        format!("ek_sha256 = \"{one}\""),
        "ek_subject = \"CN=tpm\"".to_owned(),
    ] {
        for wanted in ["db", "label:rack-a"] {
            let policy = with(&format!("nodes = [\"{wanted}\"]"));
            let node = format!("[[node]]\nname = \"db\"\nlabels = [\"rack-a\"]\n{known_by}\n");
            let world = World::new(&format!("{policy}\n{node}")).await;
            world.enrol(1).await;
            let answer = Node::new(1).ask(&world, Ask::Provision).await;
            assert!(matches!(answer, Answer::Provision(_)), "{known_by}");
        }
    }
    let other = hex::encode([7; 32]);
    let policy = with("nodes = [\"db\"]");
    let node = format!("[[node]]\nname = \"db\"\nek_sha256 = \"{other}\"\n");
    let world = World::new(&format!("{policy}\n{node}")).await;
    world.enrol(1).await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::InstanceNotAllowed);
    let rule = &world.records().pop().unwrap().fields["rule"];
    assert_eq!(rule, "volume-policy.state.nodes");
}

#[tokio::test]
async fn a_node_with_a_list_of_volumes_gets_no_other() {
    let one = hex::encode([1; 32]);
    let of = |volume: u128| {
        let volume = uuid::Uuid::from_u128(volume);
        format!(
            "{FILE}\n[[node]]\nname = \"db\"\nek_sha256 = \"{one}\"\nvolumes = [\"{volume}\"]\n"
        )
    };
    let world = World::new(&of(8)).await;
    world.enrol(1).await;
    let refusal = refused(&world, &mut Node::new(1), Ask::Provision).await;
    assert_eq!(refusal.reason, Reason::InstanceNotAllowed);
    let rule = &world.records().pop().unwrap().fields["rule"];
    assert_eq!(rule, "node.db.volumes");
    let world = World::new(&of(7)).await;
    world.enrol(1).await;
    let answer = Node::new(1).ask(&world, Ask::Provision).await;
    assert!(matches!(answer, Answer::Provision(_)));
}
