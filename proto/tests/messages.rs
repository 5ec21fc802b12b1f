//! What a message may not be, and that every message survives the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_proto::closing::Opened;
use dawnkey_proto::message::{
    Answer, Ask, Challenge, Confirm, Lease, MessageError, OnLoss, Progress, Provision, Reason,
    ReceivedRequest, Refusal, Release, Renew, RenewAnswer, Reopen, Request, Retry, Rotation,
    SeenHeader, printable, reason_code,
};
use dawnkey_proto::{seal, wire};
use dawnkey_secret::{ConfirmToken, LeaseToken};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

fn request(ask: Ask) -> Request {
    Request {
        ask,
        volume: Uuid::from_u128(9),
        node_name: "node-1".into(),
        agent_version: "0.1.0".into(),
        hpke_public_key: [4; 32],
    }
}

fn seen() -> SeenHeader {
    SeenHeader {
        generation: 3,
        epoch: 1,
        digest: [8; 32],
    }
}

fn body(change: impl FnOnce(&mut wire::RequestBody)) -> Result<Request, MessageError> {
    let encoded = request(Ask::Unlock(seen())).encode();
    let mut body = wire::RequestBody::decode(encoded.as_slice()).unwrap();
    change(&mut body);
    Request::decode(&body.encode_to_vec())
}

fn bad_field(result: Result<Request, MessageError>) -> &'static str {
    match result {
        Err(MessageError::Field { field, .. }) => field,
        other => panic!("expected a field error, got {other:?}"),
    }
}

#[test]
fn request_survives_the_wire() {
    let adopted = SeenHeader {
        generation: 1,
        ..seen()
    };
    for ask in [
        Ask::Provision,
        Ask::Unlock(seen()),
        Ask::Adopted(adopted),
        Ask::Reopen(reopen()),
    ] {
        let request = request(ask);
        assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }
}

fn reopen() -> Reopen {
    let opened = Opened {
        volume: Uuid::from_u128(9),
        generation: 3,
    };
    Reopen {
        seen: seen(),
        adopted: false,
        closed_with: vec![opened; 64],
    }
}

#[test]
fn refuses_reopen_request_that_names_no_volume_too_many_or_none_of_a_generation() {
    let refused = |change: fn(&mut wire::RequestBody)| {
        let encoded = request(Ask::Reopen(reopen())).encode();
        let mut body = wire::RequestBody::decode(encoded.as_slice()).unwrap();
        change(&mut body);
        bad_field(Request::decode(&body.encode_to_vec()))
    };
    assert_eq!(refused(|b| b.closed_with.clear()), "closed_with");
    assert_eq!(
        refused(|b| b.closed_with.push(b.closed_with[0].clone())),
        "closed_with"
    );
    assert_eq!(
        refused(|b| b.closed_with[1].generation = 0),
        "closed_with.generation"
    );
    assert_eq!(
        refused(|b| b.closed_with[1].volume_id.clear()),
        "closed_with.volume_id"
    );
    let unlock = |b: &mut wire::RequestBody| b.set_operation(wire::Operation::Unlock);
    assert_eq!(refused(unlock), "closed_with");
}

#[test]
fn refuses_adopted_header_of_a_later_generation_and_adopted_blank_disk() {
    assert_eq!(bad_field(body(|b| b.adopted = true)), "generation");
    let blank = body(|b| {
        *b = wire::RequestBody {
            adopted: true,
            generation: 0,
            epoch: 0,
            header_digest: vec![],
            ..b.clone()
        };
        b.set_operation(wire::Operation::Provision);
    });
    assert_eq!(bad_field(blank), "operation");
}

#[test]
fn request_bytes_match_the_recorded_vector() {
    let recorded = include_str!("vectors/request-body.hex").trim();
    assert_eq!(hex::encode(request(Ask::Unlock(seen())).encode()), recorded);
}

#[test]
fn refuses_request_of_another_version() {
    assert_eq!(body(|b| b.version = 2), Err(MessageError::Version(2)));
}

#[test]
fn refuses_request_with_a_field_out_of_shape() {
    assert_eq!(bad_field(body(|b| b.volume_id = vec![1; 15])), "volume_id");
    assert_eq!(bad_field(body(|b| b.volume_id = vec![0; 16])), "volume_id");
    assert_eq!(
        bad_field(body(|b| b.hpke_public_key.clear())),
        "hpke_public_key"
    );
    assert_eq!(
        bad_field(body(|b| b.header_digest = vec![1; 33])),
        "header_digest"
    );
    assert_eq!(bad_field(body(|b| b.generation = 0)), "generation");
    assert_eq!(bad_field(body(|b| b.epoch = 0)), "epoch");
    assert_eq!(bad_field(body(|b| b.operation = 0)), "operation");
    assert_eq!(bad_field(body(|b| b.operation = 77)), "operation");
}

#[test]
fn refuses_provision_request_that_describes_a_header() {
    let described = body(|b| b.set_operation(wire::Operation::Provision));
    assert_eq!(bad_field(described), "operation");
}

#[test]
fn refuses_request_without_evidence_or_with_too_much() {
    for count in [0, 5] {
        let message = wire::UnlockRequest {
            body: request(Ask::Provision).encode(),
            evidence: vec![wire::Evidence::default(); count],
        };
        let refused = ReceivedRequest::try_from(message).unwrap_err();
        assert!(matches!(
            refused,
            MessageError::Field {
                field: "evidence",
                ..
            }
        ));
    }
}

fn release() -> Release {
    Release {
        dek: seal::Sealed {
            encapsulated_key: vec![1; 32],
            ciphertext: vec![2; 80],
        },
        epoch: 1,
        generation: 1,
        lease: Lease {
            fencing_token: 5,
            seconds: 60,
            hold: true,
            on_loss: OnLoss::PowerOff,
        },
        service_id: Uuid::from_u128(11),
        rotation: None,
    }
}

fn rotation() -> Rotation {
    Rotation {
        dek: release().dek,
        epoch: 2,
    }
}

fn refusal() -> Refusal {
    Refusal {
        reason: Reason::PcrMismatch,
        detail: "PCR 11".into(),
        remedy: "add the image".into(),
        retry: Retry::After(3),
    }
}

#[test]
fn every_answer_survives_the_wire() {
    let answers = [
        Answer::Release(release()),
        Answer::Release(Release {
            rotation: Some(rotation()),
            ..release()
        }),
        Answer::Provision(Provision {
            release: release(),
            grant_id: Uuid::from_u128(12),
        }),
        Answer::Refuse(refusal()),
        Answer::Challenge(Challenge {
            id: Uuid::from_u128(13),
            id_object: vec![1; 52],
            encrypted_secret: vec![2; 258],
        }),
    ];
    for answer in answers {
        assert_eq!(
            Answer::try_from(wire::UnlockAnswer::from(answer.clone())).unwrap(),
            answer
        );
    }
}

fn answer_field(answer: wire::unlock_answer::Answer) -> &'static str {
    match Answer::try_from(wire::UnlockAnswer {
        answer: Some(answer),
    }) {
        Err(MessageError::Field { field, .. }) => field,
        other => panic!("expected a field error, got {other:?}"),
    }
}

#[test]
fn refuses_answer_with_a_part_missing() {
    use wire::unlock_answer::Answer as A;
    assert!(Answer::try_from(wire::UnlockAnswer { answer: None }).is_err());
    let whole = || wire::Release::from(release());
    assert_eq!(
        answer_field(A::Release(wire::Release {
            dek: None,
            ..whole()
        })),
        "dek"
    );
    assert_eq!(
        answer_field(A::Release(wire::Release {
            lease: None,
            ..whole()
        })),
        "lease"
    );
    assert_eq!(
        answer_field(A::Release(wire::Release {
            service_id: vec![],
            ..whole()
        })),
        "service_id"
    );
    let no_action = wire::Lease {
        on_loss: 0,
        ..release().lease.into()
    };
    assert_eq!(
        answer_field(A::Release(wire::Release {
            lease: Some(no_action),
            ..whole()
        })),
        "lease.on_loss"
    );
    let leap = wire::Rotation {
        epoch: 3,
        ..rotation().into()
    };
    assert_eq!(
        answer_field(A::Release(wire::Release {
            rotation: Some(leap),
            ..whole()
        })),
        "rotation.epoch"
    );
    let short = Some(wire::SealedDek {
        encapsulated_key: vec![0; 32],
        ciphertext: vec![0; 79],
    });
    assert_eq!(
        answer_field(A::Release(wire::Release {
            dek: short,
            ..whole()
        })),
        "dek.ciphertext"
    );
}

#[test]
fn refuses_refusal_with_an_unknown_reason() {
    let unknown = wire::Refuse {
        reason: 9999,
        ..wire::Refuse::from(refusal())
    };
    assert_eq!(
        answer_field(wire::unlock_answer::Answer::Refuse(unknown)),
        "reason"
    );
}

#[test]
fn refuses_provision_that_starts_at_a_later_generation() {
    let mut later = release();
    later.generation = 2;
    let provision = Provision {
        release: later,
        grant_id: Uuid::from_u128(1),
    };
    let wire = wire::unlock_answer::Answer::Provision(provision.into());
    assert_eq!(answer_field(wire), "generation");
}

#[test]
fn refuses_confirm_with_a_token_of_wrong_length() {
    let confirm = Confirm {
        volume: Uuid::from_u128(1),
        header: seen(),
        token: ConfirmToken::take(&mut [1; 32]).unwrap(),
        progress: None,
        hold: false,
    };
    let mut wire = wire::ConfirmRequest::from(confirm);
    wire.confirm_token.pop();
    let refused = Confirm::try_from(wire).unwrap_err();
    assert!(matches!(
        refused,
        MessageError::Field {
            field: "confirm_token",
            ..
        }
    ));
}

fn renew() -> Renew {
    Renew {
        volume: Uuid::from_u128(1),
        fencing_token: 5,
        token: LeaseToken::take(&mut [1; 32]).unwrap(),
        progress: Some(Progress {
            ready_bytes: 1,
            total_bytes: 2,
        }),
        end: true,
    }
}

#[test]
fn renewal_and_its_answers_survive_the_wire() {
    assert_eq!(
        Renew::try_from(wire::RenewRequest::from(renew())).unwrap(),
        renew()
    );
    for answer in [
        RenewAnswer::Renewed { seconds: 0 },
        RenewAnswer::Refuse(refusal()),
    ] {
        let wire = wire::RenewAnswer::from(answer.clone());
        assert_eq!(RenewAnswer::try_from(wire).unwrap(), answer);
    }
}

#[test]
fn refuses_renewal_with_a_field_out_of_shape() {
    let refused = |change: fn(&mut wire::RenewRequest)| {
        let mut wire = wire::RenewRequest::from(renew());
        change(&mut wire);
        match Renew::try_from(wire) {
            Err(MessageError::Field { field, .. }) => field,
            other => panic!("expected a field error, got {other:?}"),
        }
    };
    assert_eq!(refused(|r| r.lease_token.push(0)), "lease_token");
    assert_eq!(refused(|r| r.fencing_token = 0), "fencing_token");
    assert_eq!(refused(|r| r.ready_bytes = 3), "ready_bytes");
    assert_eq!(refused(|r| r.volume_id.clear()), "volume_id");
}

#[test]
fn every_action_on_loss_has_a_name_of_its_own() {
    for action in OnLoss::ALL {
        assert_eq!(OnLoss::named(action.name()), Some(action));
    }
    assert_eq!(OnLoss::named("panic"), None);
}

#[test]
fn peer_text_reaches_the_console_without_control_characters_and_cut() {
    assert_eq!(printable("a\u{1b}[31mb\nc"), "a [31mb c");
    assert_eq!(printable(&"ä".repeat(1000)).len(), 512);
}

#[test]
fn reason_codes_are_stable_words() {
    assert_eq!(reason_code(Reason::PcrMismatch), "pcr-mismatch");
    assert_eq!(refusal().to_string(), "pcr-mismatch: PCR 11; add the image");
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::decode(&bytes);
        if let Ok(answer) = wire::UnlockAnswer::decode(bytes.as_slice()) {
            let _ = Answer::try_from(answer);
        }
        if let Ok(renew) = wire::RenewRequest::decode(bytes.as_slice()) {
            let _ = Renew::try_from(renew);
        }
        if let Ok(request) = wire::UnlockRequest::decode(bytes.as_slice()) {
            let _ = ReceivedRequest::try_from(request);
        }
    }

    #[test]
    fn decoded_requests_encode_to_an_equal_request(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        }
    }
}
