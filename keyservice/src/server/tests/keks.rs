//! What operators can do with the ring of KEK providers, over the admin interface of a whole service.

use super::{Running, Service, Site, channel, connect, new_volume};
use crate::config::{KekConfig, Start};
use crate::master::Masters;
use dawnkey_kek::Aad;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_proto::seal::{Purpose, Recipient, Sealed, seal_export};
use dawnkey_proto::wire;
use dawnkey_proto::wire::kek_admin_client::KekAdminClient;
use dawnkey_secret::{Dek, MasterSecret};
use rcgen::ExtendedKeyUsagePurpose;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;

fn section(names: &[&str], more: &str) -> KekConfig {
    let salt = "00".repeat(32);
    let mut text = format!("active = \"{}\"\n{more}\n", names[0]);
    for name in names {
        text += &format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"credential:{name}\"\n"
        );
    }
    KekConfig::for_test(&text)
}

/// A service with one `cluster` provider for each name, the first active at first; their secrets differ.
async fn start(site: &Site, names: &[&str], more: &str) -> Running {
    let mut config = site.config();
    config.kek = section(names, more);
    let secret = |name: &&str| {
        let mut bytes = [name.as_bytes()[0]; 32];
        let secret = MasterSecret::take(&mut bytes).unwrap();
        ((*name).to_owned(), secret)
    };
    let masters: Masters = names.iter().map(secret).collect();
    Service::start(Start { config, masters }).await.unwrap()
}

async fn keks(site: &Site, running: &Running) -> KekAdminClient<Channel> {
    let identity = site.admin_ca.identity(ExtendedKeyUsagePurpose::ClientAuth);
    let config = site.client(Some(identity));
    let tls = connect(running.addresses.admin, config).await.unwrap();
    KekAdminClient::new(channel(tls).await)
}

fn named(name: &str) -> wire::KekRef {
    wire::KekRef { name: name.into() }
}

async fn status(keks: &mut KekAdminClient<Channel>) -> wire::KekStatusAnswer {
    let answer = keks.status(wire::KekStatusRequest {}).await;
    answer.unwrap().into_inner()
}

/// Waits until the log has an event that is written behind an answer.
async fn audited(site: &Site, event: &str) {
    let written = async {
        while !site.audit_events().iter().any(|found| found == event) {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, written).await.expect(event);
}

async fn rewrapped(keks: &mut KekAdminClient<Channel>) -> wire::KekStatusAnswer {
    let begun = keks.rewrap(wire::KekRewrapRequest {}).await;
    begun.unwrap();
    loop {
        let answer = status(keks).await;
        let rewrap = answer.rewrap.clone().unwrap();
        if !rewrap.running && !rewrap.ended.is_empty() {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

fn states(answer: &wire::KekStatusAnswer) -> Vec<(&str, &str, u64)> {
    let all = answer.providers.iter();
    all.map(|p| {
        let deks = p.usage.iter().map(|usage| usage.deks).sum();
        (p.name.as_str(), p.state.as_str(), deks)
    })
    .collect()
}

async fn exported(site: &Site, running: &Running, volume: Uuid) -> Result<Dek, Code> {
    let recipient = Recipient::generate().unwrap();
    let request = wire::ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch: 1,
        hpke_public_key: recipient.public_key().to_vec(),
    };
    let answer = site.admin(running).await.export_dek(request).await;
    let answer = answer.map_err(|status| status.code())?.into_inner();
    let sealed = Sealed {
        encapsulated_key: answer.encapsulated_key,
        ciphertext: answer.ciphertext,
    };
    Ok(recipient.open_export(&sealed, &purpose(volume)).unwrap())
}

fn purpose(volume: Uuid) -> Purpose {
    Purpose {
        volume,
        epoch: 1,
        generation: 0,
    }
}

#[tokio::test]
async fn keys_move_from_one_provider_to_another_and_stay_what_they_were() {
    let site = Site::new();
    let running = start(&site, &["one", "two"], "").await;
    let volume = new_volume(&site, &running).await;
    let before = exported(&site, &running, volume).await.unwrap();
    let mut keks = keks(&site, &running).await;
    let at_first = status(&mut keks).await;
    assert_eq!(
        states(&at_first),
        [("one", "active", 1), ("two", "prepublished", 0)]
    );
    keks.rotate(named("two")).await.unwrap();
    let refused = keks.remove(named("one")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let after = rewrapped(&mut keks).await;
    assert_eq!(
        states(&after),
        [("one", "inactive", 0), ("two", "active", 1)]
    );
    assert_eq!(after.rewrap.unwrap().changed, 1);
    assert_eq!(exported(&site, &running, volume).await.unwrap(), before);
    audited(&site, "kek-rewrapped").await;
    let events = site.audit_events();
    for event in ["kek-rotate", "kek-remove", "kek-rewrap"] {
        assert!(events.iter().any(|found| found == event), "{event}");
    }
}

#[tokio::test]
async fn a_rewrap_that_was_broken_off_goes_on_at_the_next_start() {
    let site = Site::new();
    let running = start(&site, &["one", "two"], "").await;
    new_volume(&site, &running).await;
    keks(&site, &running)
        .await
        .rotate(named("two"))
        .await
        .unwrap();
    // Begun, and the service ended before the first record.
    let ring = &running.desk.ring;
    ring.mark_rewrap().await.unwrap();
    running.shutdown().await;
    let running = start(&site, &["one", "two"], "").await;
    let mut keks = keks(&site, &running).await;
    loop {
        let answer = status(&mut keks).await;
        if answer.rewrap.as_ref().is_some_and(|r| !r.ended.is_empty()) {
            assert_eq!(
                states(&answer),
                [("one", "inactive", 0), ("two", "active", 1)]
            );
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn volumes_of_a_lost_kms_open_again_under_a_new_provider() {
    let site = Site::new();
    let key = RecoveryKey::generate().unwrap();
    let file = site.path("recovery.pub");
    std::fs::write(&file, key.recipient().unwrap().text()).unwrap();
    let more = format!("recovery_recipient = {:?}", file.display().to_string());
    let running = start(&site, &["lost"], &more).await;
    let volume = new_volume(&site, &running).await;
    let before = exported(&site, &running, volume).await.unwrap();
    running.shutdown().await;

    let running = start(&site, &["new"], &more).await;
    assert!(exported(&site, &running, volume).await.is_err());
    let mut keks = keks(&site, &running).await;
    keks.rotate(named("new")).await.unwrap();
    let request = wire::KekSealedRequest { owner_id: vec![] };
    let answer = keks.sealed(request).await.unwrap().into_inner();
    let [sealed] = answer.deks.as_slice() else {
        panic!("{} DEKs", answer.deks.len());
    };
    assert!(!sealed.current);
    let opened = key.open(&sealed.sealed, &Aad::new(volume, 1)).unwrap();
    let to_service = seal_export(&answer.hpke_public_key, &purpose(volume), &opened).unwrap();
    let restore = |owner: Uuid| wire::KekRestoreRequest {
        owner_id: owner.as_bytes().to_vec(),
        epoch: 1,
        encapsulated_key: to_service.encapsulated_key.clone(),
        ciphertext: to_service.ciphertext.clone(),
    };
    // For another record it does not open.
    let refused = keks.restore(restore(Uuid::from_u128(9))).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let restored = keks.restore(restore(volume)).await.unwrap().into_inner();
    assert_eq!(restored.providers, ["new"]);
    assert_eq!(exported(&site, &running, volume).await.unwrap(), before);
    assert!(site.audit_events().contains(&"kek-restore".to_owned()));
}

#[tokio::test]
async fn doctor_proves_every_provider_or_the_named_one() {
    let site = Site::new();
    let running = start(&site, &["one", "two"], "").await;
    let mut keks = keks(&site, &running).await;
    for (name, expected) in [("", 2), ("two", 1)] {
        let request = wire::KekDoctorRequest { name: name.into() };
        let answer = keks.doctor(request).await.unwrap().into_inner();
        assert_eq!(answer.providers.len(), expected);
        let mut findings = answer.providers.iter().flat_map(|p| &p.findings);
        assert!(findings.all(|finding| finding.good));
    }
    let request = wire::KekDoctorRequest { name: "no".into() };
    let refused = keks.doctor(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}
