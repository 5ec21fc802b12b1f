//! A service whose master secret comes from an operator, over its own interfaces.

use super::{Node, Running, Service, Site, channel, connect, http_get, new_volume};
use crate::config::{Config, Start};
use crate::master::Masters;
use dawnkey_proto::message::{Answer, Ask, Reason, Retry};
use dawnkey_proto::seal::{Recipient, seal_master};
use dawnkey_proto::wire;
use dawnkey_proto::wire::kek_admin_client::KekAdminClient;
use dawnkey_secret::MasterSecret;
use rcgen::ExtendedKeyUsagePurpose;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;

fn secret(byte: u8) -> MasterSecret {
    MasterSecret::take(&mut [byte; 32]).unwrap()
}

fn config(site: &Site) -> Config {
    let mut config = site.config();
    let salt = "00".repeat(32);
    config.kek = crate::config::KekConfig::for_test(&format!(
        "[[provider]]\nname = \"cluster\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"operator\"\n"
    ));
    config
}

/// A service that waits for its operator.
async fn start(site: &Site) -> Running {
    let start = Start {
        config: config(site),
        masters: Masters::default(),
    };
    Service::start(start).await.unwrap()
}

async fn keks(site: &Site, running: &Running) -> KekAdminClient<Channel> {
    let identity = site.admin_ca.identity(ExtendedKeyUsagePurpose::ClientAuth);
    let config = site.client(Some(identity));
    let tls = connect(running.addresses.admin, config).await.unwrap();
    KekAdminClient::new(channel(tls).await)
}

/// A node proves its key and asks for the volume.
async fn provision(site: &Site, running: &Running, volume: Uuid) -> Answer {
    let mut node = Node::connect(site, running).await;
    let Answer::Challenge(challenge) = node.ask(volume, Ask::Provision).await else {
        panic!("no challenge");
    };
    let binder = dawnkey_attest::evidence::Exchange(node.binder);
    let proof = dawnkey_attest::enrolment::proof(&challenge.encrypted_secret, &binder);
    let activate = wire::ActivateRequest {
        challenge_id: challenge.id.as_bytes().to_vec(),
        proof: proof.to_vec(),
    };
    let answer = node.client.activate(activate).await.unwrap();
    answer.into_inner().try_into().unwrap()
}

async fn inbox(keks: &mut KekAdminClient<Channel>) -> wire::KekMastersAnswer {
    let answer = keks.masters(wire::KekMastersRequest {}).await;
    answer.unwrap().into_inner()
}

async fn give(
    keks: &mut KekAdminClient<Channel>,
    recipient: &[u8],
    secret: &MasterSecret,
) -> Result<wire::KekGiveMasterAnswer, Code> {
    let sealed = seal_master(recipient, "cluster", secret).unwrap();
    let request = wire::KekGiveMasterRequest {
        provider: "cluster".into(),
        encapsulated_key: sealed.encapsulated_key,
        ciphertext: sealed.ciphertext,
    };
    let answer = keks.give_master(request).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn nodes_are_sent_away_for_a_while_until_the_right_secret_is_given() {
    let site = Site::new();
    // The store has a volume of a service with this secret.
    let before = site.start().await;
    let volume = new_volume(&site, &before).await;
    before.shutdown().await;

    let running = start(&site).await;
    let ready = http_get(running.addresses.metrics, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.contains("kek-waiting") && ready.contains("cluster"),
        "{ready}"
    );
    let alive = http_get(running.addresses.metrics, "/healthz").await;
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let metrics = http_get(running.addresses.metrics, "/metrics").await;
    let waits = "dawnkey_kek_circuit{provider=\"cluster\"} 3";
    assert!(metrics.contains(waits), "{metrics}");
    let Answer::Refuse(refusal) = provision(&site, &running, volume).await else {
        panic!("no refusal");
    };
    assert_eq!(refusal.reason, Reason::KekUnavailable);
    assert_eq!(refusal.retry, Retry::After(5));
    assert!(
        refusal.detail.contains("master secret"),
        "{}",
        refusal.detail
    );

    let mut keks = keks(&site, &running).await;
    let asked = inbox(&mut keks).await;
    let [only] = asked.masters.as_slice() else {
        panic!("{:?}", asked.masters);
    };
    assert!(!only.given && only.known);
    let key = asked.hpke_public_key.clone();
    let stranger = Recipient::generate().unwrap();
    let refused = give(&mut keks, stranger.public_key(), &secret(1)).await;
    assert_eq!(refused.unwrap_err(), Code::InvalidArgument);
    let refused = give(&mut keks, &key, &secret(2)).await;
    assert_eq!(refused.unwrap_err(), Code::FailedPrecondition);
    assert!(!inbox(&mut keks).await.masters[0].given);

    let given = give(&mut keks, &key, &secret(1)).await.unwrap();
    assert!(!given.already && !given.first);
    assert!(give(&mut keks, &key, &secret(1)).await.unwrap().already);
    let ready = http_get(running.addresses.metrics, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let answer = provision(&site, &running, volume).await;
    assert!(matches!(answer, Answer::Provision(_)));
    let events = site.audit_events();
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!(count("give-master-secret"), 4);
    assert_eq!(count("master-secret-refused"), 2);
}

#[tokio::test]
async fn a_service_with_another_secret_than_the_store_s_does_not_start() {
    let site = Site::new();
    site.start().await.shutdown().await;
    let start = Start {
        config: site.config(),
        masters: Masters::one("cluster", secret(2)),
    };
    let refused = Service::start(start).await.err().unwrap();
    assert!(refused.to_string().contains("is not the one"), "{refused}");
}
