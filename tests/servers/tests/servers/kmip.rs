//! KMIP against PyKMIP, and against a contract server for what PyKMIP cannot do.

use dawnkey_kek::kmip::{Config, Kmip};
use dawnkey_kek::{Aad, Cause, CredentialSource, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{Front, Mode, gone};
use dawnkey_server_tests::servers::kmip_contract::{Contract, KEY, Manner, PASSWORD, USER};
use dawnkey_server_tests::servers::pki::Pki;
use dawnkey_server_tests::servers::pykmip::{PyKmip, VERSION};
use dawnkey_server_tests::toolchain::{Tool, have};
use std::sync::Arc;
use uuid::Uuid;

fn config(pki: &Pki, address: String, user: &str, key_id: &str) -> Config {
    Config {
        address,
        server_name: None,
        ca: pki.file("ca.pem"),
        certificate: pki.file(&format!("{user}.pem")),
        key: CredentialSource::File(pki.file(&format!("{user}.key"))),
        username: None,
        password: None,
        key_id: Some(key_id.into()),
        key_name: None,
        older_key_ids: Vec::new(),
        connections: 8,
    }
}

async fn open(config: &Config) -> Arc<dyn Provider> {
    Arc::new(Kmip::open("kmip", config).await.unwrap())
}

struct Server {
    pykmip: PyKmip,
    plain: String,
    front: Option<Front>,
}

impl Server {
    fn start() -> Self {
        Self {
            pykmip: PyKmip::start(),
            plain: String::new(),
            front: None,
        }
    }

    fn config(&self, key_id: &str) -> Config {
        let address = format!("127.0.0.1:{}", self.pykmip.port);
        config(&self.pykmip.pki, address, "alice", key_id)
    }

    async fn behind(&mut self, mode: Mode) -> Config {
        let front = Front::start(mode).await;
        let address = front.address.to_string();
        self.front = Some(front);
        Config {
            address,
            ..self.config(&self.plain)
        }
    }
}

impl Fixture for Server {
    fn name(&self) -> String {
        format!("kmip, PyKMIP {VERSION}, TLS 1.2")
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let config = match situation {
                Situation::Plain => {
                    self.plain = self.pykmip.create("kek");
                    self.config(&self.plain)
                }
                Situation::OtherKey => self.config(&self.pykmip.create("other")),
                Situation::NoSuchKey => self.config("4711"),
                Situation::Rotated => {
                    let _ = self.pykmip.create("kek-2");
                    Config {
                        key_id: None,
                        key_name: Some("kek-2".into()),
                        older_key_ids: vec![self.plain.clone()],
                        ..self.config(&self.plain)
                    }
                }
                Situation::Denied => {
                    let address = format!("127.0.0.1:{}", self.pykmip.port);
                    config(&self.pykmip.pki, address, "bob", &self.plain)
                }
                Situation::Slow => self.behind(Mode::Slow).await,
                Situation::Garbage => {
                    let answer = Mode::http(200, &[], "{}");
                    self.behind(answer).await
                }
                Situation::Gone => Config {
                    address: gone().to_string(),
                    ..self.config(&self.plain)
                },
                Situation::Deleted => {
                    self.pykmip.deactivate(&self.plain);
                    self.pykmip.destroy(&self.plain);
                    self.config(&self.plain)
                }
                Situation::Disabled => {
                    return Case::NotApplicable(
                        "deactivation cannot be undone: refuses_a_key_that_is_deactivated",
                    );
                }
                Situation::Throttled => {
                    return Case::NotApplicable("KMIP 1.4 has no such answer");
                }
            };
            Case::Provider(open(&config).await)
        })
    }
}

fn ready() -> bool {
    have("kmip", &[Tool::Python])
}

#[tokio::test]
async fn keeps_the_contract_of_providers() {
    if ready() {
        conformance::run(&mut Server::start()).await;
    }
}

#[tokio::test]
async fn refuses_a_key_that_is_deactivated() {
    if !ready() {
        return;
    }
    let server = Server::start();
    let id = server.pykmip.create("kek");
    let provider = open(&server.config(&id)).await;
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    let blob = provider.wrap(&dek, &aad).await.unwrap().blob;
    assert_eq!(provider.unwrap(&blob, &aad).await.unwrap(), dek);
    server.pykmip.deactivate(&id);
    let refused = provider.unwrap(&blob, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Disabled, "{refused}");
    let refused = provider.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Disabled, "{refused}");
    let findings = provider.probe().await.unwrap().findings;
    let active = findings
        .iter()
        .find(|f| f.subject == "key is active")
        .unwrap();
    assert!(!active.good && active.detail.contains("Deactivated"));
}

#[tokio::test]
async fn probe_says_that_this_server_gives_keys_away() {
    if !ready() {
        return;
    }
    let server = Server::start();
    let id = server.pykmip.create("kek");
    let probe = open(&server.config(&id)).await.probe().await.unwrap();
    let reading = probe
        .findings
        .iter()
        .find(|finding| finding.subject == "key cannot be read")
        .unwrap();
    assert!(
        !reading.good && reading.detail.contains("Get"),
        "{reading:?}"
    );
}

/// The contract server over TLS 1.3.
struct Tls13 {
    pki: Pki,
    servers: Vec<Contract>,
}

impl Tls13 {
    async fn with(&mut self, manner: Manner, key_id: &str) -> Config {
        let server = Contract::start(&self.pki, manner).await;
        let config = config(&self.pki, server.address.to_string(), "alice", key_id);
        self.servers.push(server);
        config
    }
}

impl Fixture for Tls13 {
    fn name(&self) -> String {
        "kmip, contract server, TLS 1.3".into()
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let config = match situation {
                Situation::Plain => self.with(Manner::Honest, KEY).await,
                Situation::NoSuchKey => self.with(Manner::Honest, "none").await,
                Situation::Garbage => self.with(Manner::Malformed, KEY).await,
                Situation::Gone => {
                    let config = self.with(Manner::Honest, KEY).await;
                    let address = gone().to_string();
                    Config { address, ..config }
                }
                _ => return Case::NotApplicable("shown with PyKMIP"),
            };
            Case::Provider(open(&config).await)
        })
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers_over_tls_1_3() {
    let (pki, servers) = (Pki::new(), Vec::new());
    conformance::run(&mut Tls13 { pki, servers }).await;
}

#[tokio::test]
async fn refuses_older_versions_other_keys_and_answers_without_end() {
    let (pki, servers) = (Pki::new(), Vec::new());
    let mut server = Tls13 { pki, servers };
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    for (manner, cause, said) in [
        (Manner::Old, Cause::Unsupported, "it offers 1.0, 1.1, 1.2"),
        (Manner::OtherKey, Cause::Garbage, "another key"),
        (Manner::Huge, Cause::Garbage, "no KMIP response"),
    ] {
        let config = server.with(manner, KEY).await;
        let refused = open(&config).await.wrap(&dek, &aad).await.unwrap_err();
        assert_eq!(refused.cause, cause, "{refused}");
        assert!(refused.detail.contains(said), "{refused}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_on_both_sides() {
    let (pki, servers) = (Pki::new(), Vec::new());
    let mut server = Tls13 { pki, servers };
    let stranger = Pki::new();
    let honest = server.with(Manner::Honest, KEY).await;
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    let other_ca = Config {
        ca: stranger.file("ca.pem"),
        ..honest.clone()
    };
    let refused = open(&other_ca).await.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Misconfigured, "{refused}");
    let other_user = Config {
        certificate: stranger.file("alice.pem"),
        key: CredentialSource::File(stranger.file("alice.key")),
        ..honest
    };
    let refused = open(&other_user).await.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}

#[tokio::test]
async fn a_user_name_and_password_go_with_each_request_and_are_read_anew() {
    use std::os::unix::fs::PermissionsExt;
    let (pki, servers) = (Pki::new(), Vec::new());
    let mut server = Tls13 { pki, servers };
    let plain = server.with(Manner::Password, KEY).await;
    let file = server.pki.file("password");
    let write = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let config = Config {
        username: Some(USER.into()),
        password: Some(CredentialSource::File(file.clone())),
        ..plain.clone()
    };
    let (dek, aad) = (
        Dek::take(&mut [7; 32]).unwrap(),
        Aad::new(Uuid::from_u128(1), 1),
    );
    write("wrong\n", 0o600);
    let provider = open(&config).await;
    let refused = provider.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
    // Replaced while the service runs.
    write(&format!("{PASSWORD}\n"), 0o600);
    let blob = provider.wrap(&dek, &aad).await.unwrap().blob;
    assert_eq!(provider.unwrap(&blob, &aad).await.unwrap(), dek);
    write(PASSWORD, 0o644);
    let refused = provider.unwrap(&blob, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Misconfigured, "{refused}");
    std::fs::remove_file(&file).unwrap();
    let refused = provider.unwrap(&blob, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
    for refused in [
        open(&plain).await.unwrap(&blob, &aad).await.unwrap_err(),
        refused,
    ] {
        assert_eq!(refused.cause, Cause::Credentials, "{refused}");
        assert!(!refused.to_string().contains(PASSWORD));
    }
}
