//! Starting, stopping, starting again.

use super::{Node, Site, connect, new_volume, set_mode};
use crate::audit::LogError;
use crate::policy::PolicyError;
use crate::server::{IdentityError, StartError};
use dawnkey_proto::message::{Answer, Ask};
use dawnkey_proto::wire::VolumeRef;
use dawnkey_store::OpenError;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::net::TcpStream;

#[tokio::test]
async fn shutdown_finishes_a_request_in_flight_and_accepts_no_other() {
    let mut site = Site::new();
    site.limits = "concurrent_unlocks = 1\nqueue = 1\nqueue_seconds = 60";
    let running = site.start().await;
    let (desk, addresses) = (running.desk.clone(), running.addresses);
    let volume = new_volume(&site, &running).await;
    let mut node = Node::connect(&site, &running).await;
    let busy = desk.gate.enter().await.unwrap();
    let asked = tokio::spawn(async move { node.ask(volume, Ask::Provision).await });
    while !desk
        .metrics
        .render(None)
        .contains("dawnkey_queue_waiting 1\n")
    {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::spawn(running.shutdown());
    while TcpStream::connect(addresses.unlock).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(busy);
    assert!(matches!(asked.await.unwrap(), Answer::Challenge(_)));
    assert!(stopped.await.unwrap());
    let events = site.audit_events();
    assert_eq!(events, ["start", "create-volume", "challenge", "stop"]);
}

#[tokio::test]
async fn shutdown_gives_up_after_its_deadline() {
    let mut site = Site::new();
    site.limits = "concurrent_unlocks = 1\nqueue = 1\nqueue_seconds = 60\nshutdown_seconds = 0";
    let running = site.start().await;
    let desk = running.desk.clone();
    let volume = new_volume(&site, &running).await;
    let mut node = Node::connect(&site, &running).await;
    let _busy = desk.gate.enter().await.unwrap();
    let request = node.request(volume, Ask::Provision);
    let _asked = tokio::spawn(async move { node.client.unlock(request).await });
    while !desk
        .metrics
        .render(None)
        .contains("dawnkey_queue_waiting 1\n")
    {
        tokio::task::yield_now().await;
    }
    assert!(!running.shutdown().await);
}

#[tokio::test]
async fn restart_finds_its_volumes_and_continues_the_audit_chain() {
    let site = Site::new();
    let running = site.start().await;
    let volume = new_volume(&site, &running).await;
    assert!(running.shutdown().await);
    let running = site.start().await;
    let mut admin = site.admin(&running).await;
    let shown = admin.show_volume(VolumeRef {
        volume_id: volume.as_bytes().to_vec(),
    });
    assert_eq!(shown.await.unwrap().into_inner().state, "provisioning");
    let events = site.audit_events();
    assert_eq!(events, ["start", "create-volume", "stop", "start"]);
}

#[tokio::test]
async fn refuses_to_start_on_a_broken_audit_chain() {
    let site = Site::new();
    assert!(site.start().await.shutdown().await);
    let text = std::fs::read_to_string(site.path("audit.log")).unwrap();
    std::fs::write(
        site.path("audit.log"),
        text.replace("\"start\"", "\"stort\""),
    )
    .unwrap();
    let refused = site.try_start().await;
    assert!(matches!(
        refused,
        Err(StartError::Audit(LogError::Broken { .. }))
    ));
}

#[tokio::test]
async fn refuses_a_second_service_over_the_same_store() {
    let site = Site::new();
    let _first = site.start().await;
    let second = site.try_start().await;
    assert!(matches!(
        second,
        Err(StartError::Store(OpenError::InUse(_)))
    ));
}

#[tokio::test]
async fn refuses_private_key_that_others_can_read() {
    let site = Site::new();
    for mode in [0o644, 0o604, 0o660] {
        set_mode(&site.path("server.key"), mode);
        let refused = site.try_start().await;
        assert!(matches!(
            refused,
            Err(StartError::Identity(IdentityError::KeyMode { mode: m, .. })) if m == mode
        ));
    }
    set_mode(&site.path("server.key"), 0o400);
    site.start().await;
}

#[tokio::test]
async fn refuses_certificate_files_without_a_certificate() {
    for name in ["server.pem", "admin-ca.pem", "server.key"] {
        let site = Site::new();
        std::fs::write(site.path(name), "nothing").unwrap();
        let refused = site.try_start().await;
        assert!(matches!(
            refused,
            Err(StartError::Identity(IdentityError::Pem { path, .. })) if path.ends_with(name)
        ));
    }
}

#[tokio::test]
async fn reload_takes_a_good_policy_and_keeps_the_old_one_otherwise() {
    let site = Site::new();
    let running = site.start().await;
    let first = running.desk.policy().digest.clone();
    std::fs::write(site.path("policy.toml"), "version = 9").unwrap();
    let refused = running.reload_policy().await;
    assert!(matches!(
        refused,
        Err(StartError::Policy(PolicyError::Syntax { .. }))
    ));
    assert_eq!(running.desk.policy().digest, first);
    let changed = crate::policy::testing::FILE.replacen("2027-11-01", "2028-11-01", 1);
    std::fs::write(site.path("policy.toml"), changed).unwrap();
    running.reload_policy().await.unwrap();
    assert_ne!(running.desk.policy().digest, first);
    assert_eq!(site.audit_events(), ["start", "policy"]);
}

#[tokio::test]
async fn reload_takes_a_new_key_for_new_connections_and_keeps_the_old_one_otherwise() {
    let site = Site::new();
    let running = site.start().await;
    let shown = async || {
        let config = site.client(None);
        let tls = connect(running.addresses.unlock, config).await.unwrap();
        dawnkey_proto::tls::peer_spki(tls.get_ref().1).unwrap()
    };
    let first = shown().await;
    std::fs::write(site.path("server.pem"), "nothing").unwrap();
    let refused = running.reload_tls().await;
    assert!(matches!(refused, Err(StartError::Identity(_))));
    assert_eq!(shown().await, first);
    let (certificate, key) = site.ca.issue(ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::write(site.path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(site.path("server.key"), key.serialize_pem()).unwrap();
    running.reload_tls().await.unwrap();
    assert_ne!(shown().await, first);
    assert_eq!(site.audit_events(), ["start", "tls"]);
}

#[tokio::test]
async fn actual_addresses_are_written_to_their_file() {
    let site = Site::new();
    let running = site.start().await;
    let text = std::fs::read_to_string(site.path("addresses.toml")).unwrap();
    assert_eq!(text, running.addresses.to_string());
    assert_ne!(running.addresses.unlock.port(), 0);
}
