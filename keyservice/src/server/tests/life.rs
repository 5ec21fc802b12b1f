//! What operators do to a volume that is in use.

use super::{Node, Running, Site, new_volume};
use crate::policy::testing::{FILE, claims};
use crate::volume::{Digest32, InstanceRecord};
use dawnkey_proto::lease;
use dawnkey_proto::message::{
    Answer, Ask, Confirm, Reason, Release, Renew, RenewAnswer, SeenHeader,
};
use dawnkey_proto::wire::{
    AdoptVolumeRequest, ConfirmRequest, ExportDekRequest, RenewRequest, VolumeRef,
};
use dawnkey_secret::{ConfirmToken, LeaseToken};
use tonic::Code;
use uuid::Uuid;

fn reference(volume: Uuid) -> VolumeRef {
    VolumeRef {
        volume_id: volume.as_bytes().to_vec(),
    }
}

fn existing(volume: Uuid, kind: &str, generation: u64) -> AdoptVolumeRequest {
    AdoptVolumeRequest {
        volume_id: volume.as_bytes().to_vec(),
        kind: kind.into(),
        epoch: 1,
        generation,
        header_digest: vec![3; 32],
        ..AdoptVolumeRequest::default()
    }
}

async fn enrol(running: &Running) {
    let enrolled = InstanceRecord {
        instance: Digest32([1; 32]),
        key_name: claims(1).tpm.unwrap().attestation_key_name,
        kind: "vtpm".into(),
        endorsement: "CN=tpm".into(),
        enrolled: jiff::Timestamp::UNIX_EPOCH,
    };
    running.desk.records.enrol(&enrolled).await.unwrap();
}

async fn released(node: &mut Node, volume: Uuid, header: SeenHeader) -> (Release, ConfirmToken) {
    let Answer::Release(release) = node.ask(volume, Ask::Unlock(header)).await else {
        panic!("not released");
    };
    let purpose = release.purpose(volume);
    let (_, token) = node.recipient.open_release(&release.dek, &purpose).unwrap();
    (release, token)
}

/// Confirms a header of this epoch; returns it with the lease token.
async fn confirmed(
    node: &mut Node,
    volume: Uuid,
    (release, token): (Release, ConfirmToken),
    epoch: u32,
) -> (SeenHeader, LeaseToken) {
    let header = SeenHeader {
        generation: release.generation,
        epoch,
        digest: [7; 32],
    };
    let lease = lease::token(&token);
    let confirm = Confirm {
        volume,
        header,
        token,
        progress: None,
        hold: true,
    };
    let answer = node.client.confirm(ConfirmRequest::from(confirm)).await;
    let answer = answer.unwrap().into_inner().answer;
    let done = dawnkey_proto::wire::confirm_answer::Answer::Confirmed(Default::default());
    assert_eq!(answer, Some(done));
    (header, lease)
}

fn migrated() -> SeenHeader {
    SeenHeader {
        generation: 5,
        epoch: 1,
        digest: [3; 32],
    }
}

#[tokio::test]
async fn migrated_disk_is_unlocked_rotated_and_its_old_dek_forgotten() {
    let site = Site::new();
    let running = site.start().await;
    enrol(&running).await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let refused = admin.rotate_volume(reference(volume)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let active = admin.adopt_volume(existing(volume, "migrated", 5)).await;
    let active = active.unwrap().into_inner();
    assert_eq!((active.state.as_str(), active.generation), ("active", 5));
    let again = admin.adopt_volume(existing(volume, "migrated", 5)).await;
    assert_eq!(again.unwrap_err().code(), Code::FailedPrecondition);

    let rotating = admin.rotate_volume(reference(volume)).await.unwrap();
    let rotating = rotating.into_inner();
    assert_eq!((rotating.epoch, rotating.next_epoch), (1, 2));
    let twice = admin.rotate_volume(reference(volume)).await.unwrap_err();
    assert!(twice.message().contains("waits for the node's next unlock"));

    let mut node = Node::connect(&site, &running).await;
    let (release, token) = released(&mut node, volume, migrated()).await;
    let purpose = release.rotation_purpose(volume).unwrap();
    let next = release.rotation.as_ref().unwrap();
    let (new, same_token) = node.recipient.open_release(&next.dek, &purpose).unwrap();
    let (old, _) = node
        .recipient
        .open_release(&release.dek, &release.purpose(volume))
        .unwrap();
    assert_ne!(new, old);
    assert_eq!(same_token, token);
    let (header, _) = confirmed(&mut node, volume, (release, token), 2).await;

    let shown = admin.show_volume(reference(volume)).await.unwrap();
    let shown = shown.into_inner();
    assert_eq!((shown.epoch, shown.next_epoch), (2, 0));
    let export = ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch: 1,
        hpke_public_key: node.recipient.public_key().to_vec(),
    };
    assert!(admin.export_dek(export).await.is_err());
    let mut node = Node::connect(&site, &running).await;
    let (release, _) = released(&mut node, volume, header).await;
    assert_eq!((release.epoch, release.rotation), (2, None));
    let events = site.audit_events();
    for event in ["migrate-volume", "rotate-volume"] {
        assert_eq!(
            events.iter().filter(|e| *e == event).count(),
            1,
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn held_lease_is_shown_broken_and_lost() {
    let site = Site::new();
    let held = FILE.replacen("instances = []", "hold = true", 1);
    std::fs::write(site.path("policy.toml"), held).unwrap();
    let running = site.start().await;
    enrol(&running).await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let active = admin.adopt_volume(existing(volume, "migrated", 5)).await;
    active.unwrap();
    let mut node = Node::connect(&site, &running).await;
    let given = released(&mut node, volume, migrated()).await;
    let fencing_token = given.0.lease.fencing_token;
    let (_, lease) = confirmed(&mut node, volume, given, 1).await;
    let shown = admin.show_volume(reference(volume)).await.unwrap();
    assert!(shown.into_inner().held);
    let renewal = RenewRequest::from(Renew {
        volume,
        fencing_token,
        token: lease,
        progress: None,
        end: false,
    });
    let mut holder = Node::connect(&site, &running).await.client;
    let answer = holder.renew(renewal.clone()).await.unwrap().into_inner();
    let answer = RenewAnswer::try_from(answer).unwrap();
    assert_eq!(answer, RenewAnswer::Renewed { seconds: 600 });
    let free = admin.break_lease(reference(volume)).await.unwrap();
    let nobody = admin.break_lease(reference(volume)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::FailedPrecondition);
    assert!(!free.into_inner().held);
    let answer = holder.renew(renewal).await.unwrap().into_inner();
    let RenewAnswer::Refuse(refusal) = RenewAnswer::try_from(answer).unwrap() else {
        panic!("renewed");
    };
    assert_eq!(refusal.reason, Reason::LeaseLost);
    let events = site.audit_events();
    assert_eq!(events[events.len() - 2..], ["break-lease", "refuse"]);
}

#[tokio::test]
async fn adopted_disk_needs_policy_and_its_changed_header_is_recorded_anew() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let refused = admin.adopt_volume(existing(volume, "adopted", 1)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("adopted = true"));
    let allowed = FILE.replacen("instances = []", "adopted = true", 1);
    std::fs::write(site.path("policy.toml"), allowed).unwrap();
    running.reload_policy().await.unwrap();
    for wrong in [
        existing(volume, "adopted", 2),
        existing(volume, "taken", 1),
        AdoptVolumeRequest {
            epoch: 2,
            ..existing(volume, "adopted", 1)
        },
        AdoptVolumeRequest {
            header_digest: vec![3; 31],
            ..existing(volume, "adopted", 1)
        },
        AdoptVolumeRequest {
            policy: "other".into(),
            ..existing(volume, "adopted", 1)
        },
    ] {
        let refused = admin.adopt_volume(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let adopted = admin.adopt_volume(existing(volume, "adopted", 1)).await;
    assert_eq!(adopted.unwrap().into_inner().kind, "adopted");
    let changed = AdoptVolumeRequest {
        header_digest: vec![4; 32],
        label: "old state".into(),
        ..existing(volume, "adopted", 1)
    };
    let adopted = admin.adopt_volume(changed).await.unwrap().into_inner();
    assert_eq!(adopted.label, "old state");
    let rotate = admin.rotate_volume(reference(volume)).await.unwrap_err();
    assert!(rotate.message().contains("migrate it first"));
    let events = site.audit_events();
    assert_eq!(events.iter().filter(|e| *e == "adopt-volume").count(), 2);
}
