//! The exchange over real TLS.

use super::{Node, Site, new_volume};
use dawnkey_proto::message::{Answer, Ask, Confirm, Reason, SeenHeader};
use dawnkey_proto::wire;

#[tokio::test]
async fn node_is_challenged_provisions_confirms_and_unlocks_at_its_next_boot() {
    let site = Site::new();
    let running = site.start().await;
    let volume = new_volume(&site, &running).await;
    let mut node = Node::connect(&site, &running).await;
    let Answer::Challenge(challenge) = node.ask(volume, Ask::Provision).await else {
        panic!("no challenge");
    };
    let binder = dawnkey_attest::evidence::Exchange(node.binder);
    let proof = dawnkey_attest::enrolment::proof(&challenge.encrypted_secret, &binder);
    let activate = wire::ActivateRequest {
        challenge_id: challenge.id.as_bytes().to_vec(),
        proof: proof.to_vec(),
    };
    let answer = node.client.activate(activate).await.unwrap().into_inner();
    let Ok(Answer::Provision(granted)) = Answer::try_from(answer) else {
        panic!("not provisioned");
    };
    let release = granted.release;
    assert_eq!(release.service_id, site.config().service_id);
    let (dek, token) = node
        .recipient
        .open_release(&release.dek, &release.purpose(volume))
        .unwrap();
    let header = SeenHeader {
        generation: 1,
        epoch: 1,
        digest: [1; 32],
    };
    let confirm = Confirm {
        volume,
        header,
        token,
        progress: None,
        hold: false,
    };
    // Confirm may come over a new connection.
    let mut again = Node::connect(&site, &running).await;
    let confirmed = again
        .client
        .confirm(wire::ConfirmRequest::from(confirm))
        .await;
    let confirmed = confirmed.unwrap().into_inner().answer;
    assert!(matches!(
        confirmed,
        Some(wire::confirm_answer::Answer::Confirmed(_))
    ));

    let mut node = Node::connect(&site, &running).await;
    let Answer::Release(release) = node.ask(volume, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    assert_eq!(release.generation, 2);
    let purpose = release.purpose(volume);
    let (same, _) = node.recipient.open_release(&release.dek, &purpose).unwrap();
    assert_eq!(same, dek);
    assert!(running.shutdown().await);
    let events = site.audit_events();
    let expected = [
        "start",
        "create-volume",
        "challenge",
        "enrol",
        "provision",
        "confirm",
        "release",
        "stop",
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn refuses_evidence_relayed_from_another_connection() {
    let site = Site::new();
    let running = site.start().await;
    let volume = new_volume(&site, &running).await;
    let mut victim = Node::connect(&site, &running).await;
    let relayed = victim.request(volume, Ask::Provision);
    let mut relay = Node::connect(&site, &running).await;
    let answer = relay.client.unlock(relayed).await.unwrap().into_inner();
    let Ok(Answer::Refuse(refusal)) = Answer::try_from(answer) else {
        panic!("not refused");
    };
    assert_eq!(refusal.reason, Reason::BinderMismatch);
}

#[tokio::test]
async fn refuses_a_message_that_is_too_large() {
    let site = Site::new();
    let running = site.start().await;
    let mut node = Node::connect(&site, &running).await;
    let huge = wire::UnlockRequest {
        body: vec![0; dawnkey_proto::MAX_MESSAGE_BYTES + 1],
        evidence: vec![],
    };
    let status = node.client.unlock(huge).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange);
}
