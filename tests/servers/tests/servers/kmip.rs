//! KMIP against PyKMIP.

use dawnkey_kek::kmip::{Config, Kmip};
use dawnkey_kek::{Aad, Cause, CredentialSource, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{Front, Mode, gone};
use dawnkey_server_tests::servers::pykmip::{Pki, PyKmip, VERSION};
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
