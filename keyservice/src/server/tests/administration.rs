//! What operators can do.

use super::{Site, http_get, new_volume};
use dawnkey_proto::seal::{Purpose, Recipient, Sealed};
use dawnkey_proto::wire::{
    CreateVolumeRequest, ExportDekRequest, InstanceRef, ListInstancesRequest, ListVolumesRequest,
    StatusRequest, VolumeRef,
};
use tonic::Code;
use uuid::Uuid;

fn reference(volume: Uuid) -> VolumeRef {
    VolumeRef {
        volume_id: volume.as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn volume_is_created_shown_listed_and_retired() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let shown = admin
        .show_volume(reference(volume))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (shown.state.as_str(), shown.generation),
        ("provisioning", 0)
    );
    let listed = admin
        .list_volumes(ListVolumesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.volumes, [shown]);
    let retired = admin
        .retire_volume(reference(volume))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(retired.state, "retired");
    let again = admin.retire_volume(reference(volume)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let export = ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch: 0,
        hpke_public_key: vec![1; 32],
    };
    let gone = admin.export_dek(export).await.unwrap_err();
    assert_eq!(gone.code(), Code::FailedPrecondition);
    let events = site.audit_events();
    assert_eq!(events, ["start", "create-volume", "retire-volume"]);
}

#[tokio::test]
async fn refuses_volume_of_an_unknown_policy_a_used_id_and_a_bad_id() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let mut request = CreateVolumeRequest {
        volume_id: Uuid::from_u128(5).as_bytes().to_vec(),
        policy: "other".into(),
        label: String::new(),
    };
    let refused = admin.create_volume(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("it has: state"));
    request.policy = "state".into();
    admin.create_volume(request.clone()).await.unwrap();
    let refused = admin.create_volume(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    request.volume_id = vec![1; 15];
    let refused = admin.create_volume(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let unknown = admin
        .show_volume(reference(Uuid::from_u128(6)))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn exported_dek_opens_for_the_operator_and_is_written_down() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let recipient = Recipient::generate().unwrap();
    let request = ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch: 0,
        hpke_public_key: recipient.public_key().to_vec(),
    };
    let answer = admin
        .export_dek(request.clone())
        .await
        .unwrap()
        .into_inner();
    let sealed = Sealed {
        encapsulated_key: answer.encapsulated_key,
        ciphertext: answer.ciphertext,
    };
    let purpose = Purpose {
        volume,
        epoch: answer.epoch,
        generation: 0,
    };
    recipient.open_export(&sealed, &purpose).unwrap();
    assert_eq!(site.audit_events().last().unwrap(), "export-dek");
    let records = site.audit_events().len();
    let no_epoch = ExportDekRequest {
        epoch: 2,
        ..request
    };
    assert!(admin.export_dek(no_epoch).await.is_err());
    assert_eq!(site.audit_events().len(), records);
}

#[tokio::test]
async fn status_names_policy_and_audit_head() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.kek.as_str(), status.store.as_str()),
        ("cluster", "redb")
    );
    assert_eq!(status.audit_records, 1);
    let log = std::fs::read(site.path("audit.log")).unwrap();
    let head = crate::audit::verify(log.as_slice()).unwrap().head;
    assert_eq!(status.audit_head, head);
}

#[tokio::test]
async fn refuses_to_forget_an_unknown_instance_and_to_break_no_lease() {
    let site = Site::new();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let volume = new_volume(&site, &running).await;
    let refused = admin.break_lease(reference(volume)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for (instance, code) in [
        ("07".repeat(32), Code::NotFound),
        ("07".to_owned(), Code::InvalidArgument),
    ] {
        let refused = admin.forget_instance(InstanceRef { instance }).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let all = admin.list_instances(ListInstancesRequest {}).await.unwrap();
    assert!(all.into_inner().instances.is_empty());
}

#[tokio::test]
async fn status_and_metrics_tell_of_endorsements() {
    let mut site = Site::new();
    site.limits = "[endorsements]\npath = \"endorsements\"\nonline = false";
    std::fs::create_dir(site.path("endorsements")).unwrap();
    std::fs::write(site.path("endorsements").join("notes.txt"), "none").unwrap();
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.warnings.len(), 1, "{:?}", status.warnings);
    assert!(
        status.warnings[0].contains("notes.txt"),
        "{:?}",
        status.warnings
    );
    let text = http_get(running.addresses.metrics, "/metrics").await;
    let refused = "dawnkey_endorsements{class=\"unknown\",state=\"refused\"} 1";
    assert!(text.contains(refused), "{text}");
    assert!(running.shutdown().await);
}
