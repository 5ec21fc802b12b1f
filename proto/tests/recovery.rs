//! Recovery messages and connections: what is said reads back, the binder is that of one connection and role, and bytes
//! that are none of the protocol are refused by name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod handshake;

use dawnkey_proto::binding::{Exporter, Role, SpkiDigest};
use dawnkey_proto::message::{EvidenceItem, MessageError, SeenHeader};
use dawnkey_proto::recovery::{
    Answer, Grant, ReceivedRecovery, RecoveryRequest, WaitingVolume, frame, text, tls,
};
use dawnkey_proto::seal::{Purpose, Recipient, SealError, seal_recovery};
use dawnkey_proto::tls::exporter;
use dawnkey_secret::Dek;
use proptest::prelude::*;
use rustls::{ClientConnection, ServerConnection};
use std::sync::Arc;
use uuid::Uuid;

fn request() -> RecoveryRequest {
    RecoveryRequest {
        boot_nonce: [1; 32],
        hpke_public_key: [2; 32],
        clock_seconds: 0,
        node_name: "node-1".into(),
        agent_version: "1".into(),
        volumes: vec![WaitingVolume {
            volume: Uuid::from_u128(3),
            seen: SeenHeader {
                generation: 4,
                epoch: 5,
                digest: [6; 32],
            },
        }],
    }
}

fn received() -> ReceivedRecovery {
    let item = EvidenceItem {
        kind: "snp".into(),
        payload: vec![7; 9],
    };
    let bytes = ReceivedRecovery::encode(request().encode(), vec![item]);
    ReceivedRecovery::decode(&bytes).unwrap()
}

#[test]
fn request_and_answers_read_back() {
    assert_eq!(received().request, request());
    for answer in [
        Answer::Opened(Uuid::from_u128(3)),
        Answer::Refused {
            code: "replayed".into(),
            detail: "it was used".into(),
        },
    ] {
        assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
    }
}

#[test]
fn refuses_a_request_without_volumes_or_evidence_or_of_another_version() {
    let none = RecoveryRequest {
        volumes: Vec::new(),
        ..request()
    };
    let refused = RecoveryRequest::decode(&none.encode()).unwrap_err();
    assert!(matches!(
        refused,
        MessageError::Field {
            field: "volumes",
            ..
        }
    ));
    let bare = ReceivedRecovery::encode(request().encode(), Vec::new());
    let refused = ReceivedRecovery::decode(&bare).unwrap_err();
    assert!(matches!(
        refused,
        MessageError::Field {
            field: "evidence",
            ..
        }
    ));
    let mut newer = request().encode();
    newer[1] = 2;
    assert_eq!(
        RecoveryRequest::decode(&newer),
        Err(MessageError::Version(2))
    );
    assert!(Answer::decode(&[]).is_err());
}

#[test]
fn the_binder_is_of_one_connection_and_is_not_that_of_a_text() {
    let received = received();
    let bound = |exporter, spki| received.binder(&Exporter(exporter), &SpkiDigest(spki));
    let base = bound([1; 32], [2; 32]);
    assert_ne!(base, bound([3; 32], [2; 32]));
    assert_ne!(base, bound([1; 32], [3; 32]));
    // The very values that a text is bound to, over a connection.
    assert_ne!(received.text_binder(), bound([1; 32], [0; 32]));
}

#[test]
fn another_boots_id_differs_in_nonce_or_key() {
    let mut other = request();
    other.boot_nonce[31] ^= 1;
    assert_ne!(other.boot(), request().boot());
    let mut other = request();
    other.hpke_public_key[0] ^= 1;
    assert_ne!(other.boot(), request().boot());
}

#[test]
fn a_dek_opens_for_its_volume_epoch_generation_and_boot_only() {
    let recipient = Recipient::generate().unwrap();
    let purpose = Purpose {
        volume: Uuid::from_u128(1),
        epoch: 1,
        generation: 7,
    };
    let dek = || Dek::take(&mut [5; 32]).unwrap();
    let sealed = seal_recovery(recipient.public_key(), &purpose, &[1; 32], &dek()).unwrap();
    let open = |purpose, nonce| recipient.open_recovery(&sealed, purpose, nonce);
    assert_eq!(open(&purpose, &[1; 32]).unwrap(), dek());
    let older = Purpose {
        generation: 6,
        ..purpose
    };
    assert_eq!(open(&older, &[1; 32]).unwrap_err(), SealError::Open);
    assert_eq!(open(&purpose, &[2; 32]).unwrap_err(), SealError::Open);
    // It is no export, although it is as long as one.
    let refused = recipient.open_export(&sealed, &purpose).unwrap_err();
    assert_eq!(refused, SealError::Open);
}

/// A handshake in memory between a node and a tool that knows this key already.
fn shaken(
    known: Option<SpkiDigest>,
) -> Result<(ClientConnection, ServerConnection, SpkiDigest), rustls::Error> {
    let (server, own) = tls::server().unwrap();
    let client = tls::client(known).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), "node".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    handshake::finish(&mut client, &mut server)?;
    Ok((client, server, own))
}

#[test]
fn both_ends_of_a_connection_draw_the_same_exporter_and_know_the_nodes_key() {
    let (client, server, own) = shaken(None).unwrap();
    let [at_client, at_server] = [
        exporter(&client, Role::Recovery).unwrap(),
        exporter(&server, Role::Recovery).unwrap(),
    ];
    assert!(at_client == at_server);
    assert!(at_client != exporter(&client, Role::Node).unwrap());
    assert_eq!(tls::peer_key(&client).unwrap(), own);
}

#[test]
fn a_tool_that_knows_the_nodes_key_refuses_any_other() {
    assert!(shaken(Some(SpkiDigest([0; 32]))).is_err());
}

proptest! {
    #[test]
    fn whatever_bytes_come_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ReceivedRecovery::decode(&bytes);
        let _ = Answer::decode(&bytes);
        let _ = Grant::verify(&bytes, &[]);
        if let Some(head) = bytes.first_chunk() {
            let _ = frame::Kind::head(*head);
        }
        let _ = text::decode(text::Kind::Grant, &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn whatever_text_comes_is_read_without_harm(text in "g 01 [0-9a-z -]{0,40}\ng (02|end) [0-9a-z ]{0,20}") {
        let _ = text::decode(text::Kind::Grant, &text);
    }
}
