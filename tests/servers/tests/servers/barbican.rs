//! Barbican behind Keystone: the conformance suite, and what its application credentials and secrets may come to.

use dawnkey_kek::barbican::{self, Config};
use dawnkey_kek::{Aad, Cause, KekError, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{Front, Mode, gone};
use dawnkey_server_tests::servers::openstack::OpenStack;
use dawnkey_server_tests::toolchain::{Tool, have};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

struct Suite {
    servers: OpenStack,
    member: Value,
    reader: Value,
    first: String,
    fronts: Vec<Front>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

impl Suite {
    fn new() -> Self {
        let servers = OpenStack::start();
        let users: Value = serde_json::from_str(&servers.admin(&["setup"])).unwrap();
        let mut suite = Self {
            servers,
            member: users["member"].clone(),
            reader: users["reader"].clone(),
            first: String::new(),
            fronts: Vec::new(),
        };
        suite.first = suite.store();
        suite
    }

    /// A new secret of the member.
    fn store(&self) -> String {
        text(&self.admin("store", &[])).to_owned()
    }

    /// What a command about the member gives.
    fn admin(&self, command: &str, more: &[&str]) -> Value {
        let mut arguments = vec![command, text(&self.member["user"])];
        arguments.extend(more);
        serde_json::from_str(&self.servers.admin(&arguments)).unwrap()
    }

    fn config(&self, user: &Value, secret: &str) -> Config {
        let path = self.servers.directory().join(text(&user["user"]));
        fs::write(&path, text(&user["secret"])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Config {
            auth_url: self.servers.auth_url(),
            application_credential_id: text(&user["id"]).to_owned(),
            application_credential_secret: format!("file:{}", path.display()).parse().unwrap(),
            region: Some("RegionOne".to_owned()),
            interface: "public".to_owned(),
            endpoint: None,
            secret: secret.parse().unwrap(),
            previous: Vec::new(),
            tls: barbican::TlsConfig::default(),
        }
    }

    async fn fronted(&mut self, mode: Mode) -> Config {
        let front = Front::start(mode).await;
        let config = Config {
            endpoint: Some(format!("http://{}", front.address)),
            ..self.config(&self.member, &self.first)
        };
        self.fronts.push(front);
        config
    }

    async fn bring(&mut self, situation: Situation) -> Case {
        let first = self.first.clone();
        let status = |value| self.servers.admin(&["status", &first, value]);
        let config = match situation {
            Situation::Plain => self.config(&self.member, &first),
            Situation::OtherKey => self.config(&self.member, &self.store()),
            Situation::NoSuchKey => {
                let opened = open(&self.config(&self.member, &first)).await;
                log_in(&*opened).await;
                return Case::Provider(opened.with_wrong_key().unwrap().into());
            }
            Situation::Disabled => {
                let _ = status("ERROR");
                self.config(&self.member, &first)
            }
            Situation::Rotated => {
                let _ = status("ACTIVE");
                let mut config = self.config(&self.member, &self.store());
                config.previous = vec![first.parse().unwrap()];
                config
            }
            Situation::Denied => self.config(&self.reader, &first),
            Situation::Throttled => {
                let mode = Mode::http(429, &[("retry-after", "7")], "{}");
                self.fronted(mode).await
            }
            Situation::Slow => self.fronted(Mode::Slow).await,
            Situation::Gone => Config {
                endpoint: Some(format!("http://{}", gone())),
                ..self.config(&self.member, &first)
            },
            Situation::Garbage => self.fronted(Mode::http(200, &[], "<html>")).await,
            Situation::Deleted => {
                let _ = self.admin("delete", &[&first]);
                self.config(&self.member, &first)
            }
        };
        let provider = open(&config).await;
        if self.fronts.is_empty() || situation == Situation::Deleted {
            log_in(&*provider).await;
        }
        Case::Provider(provider)
    }
}

/// Has the provider log in, which both servers take seconds for on a busy machine, before a deadline runs.
async fn log_in(provider: &dyn Provider) {
    let _ = provider.probe().await;
}

async fn open(config: &Config) -> Arc<dyn Provider> {
    Arc::new(barbican::open("barbican", config).await.unwrap())
}

impl Fixture for Suite {
    fn name(&self) -> String {
        "barbican, Barbican 23.0.0 and Keystone 30.0.0".into()
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(self.bring(situation))
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let secrets =
            [&self.member, &self.reader].map(|user| text(&user["secret"]).as_bytes().to_vec());
        secrets.to_vec()
    }
}

fn aad() -> Aad {
    Aad::new(Uuid::from_u128(1), 1)
}

fn dek() -> Dek {
    Dek::take(&mut [7; 32]).unwrap()
}

/// Why a provider with this configuration does not wrap.
async fn refusal(config: &Config) -> KekError {
    let provider = open(config).await;
    provider.wrap(&dek(), &aad()).await.unwrap_err()
}

/// One pair of servers for all of it: they take long to start.
#[tokio::test]
async fn keeps_the_contract_of_providers_and_tells_what_has_ended() {
    if have("barbican", &[Tool::Python]) {
        let mut suite = Suite::new();
        conformance::run(&mut suite).await;
        suite.first = suite.store();
        finds_an_end_before_it_comes(&suite).await;
        names_credentials_as_the_cause(&suite).await;
        logs_in_again_when_its_token_is_no_more(&mut suite).await;
        names_a_withdrawn_credential_as_the_cause(&mut suite).await;
    }
}

async fn finds_an_end_before_it_comes(suite: &Suite) {
    let ends = suite.admin("store", &["2100-01-01T00:00:00"]);
    let provider = open(&suite.config(&suite.member, text(&ends))).await;
    let findings = provider.probe().await.unwrap().findings;
    let bad: Vec<_> = findings.iter().filter(|finding| !finding.good).collect();
    assert!(
        matches!(bad.as_slice(), [one] if one.subject == "expiry" && one.detail.contains("2100")),
        "{bad:?}"
    );
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    // No call of the API ends a secret early.
    let _ = suite.servers.admin(&["expire", text(&ends)]);
    let ended = provider.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(ended.cause, Cause::NoSuchKey, "{ended}");
}

async fn names_credentials_as_the_cause(suite: &Suite) {
    let mut wrong = suite.member.clone();
    wrong["secret"] = "wrong".into();
    let refused = refusal(&suite.config(&wrong, &suite.first)).await;
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}

async fn logs_in_again_when_its_token_is_no_more(suite: &mut Suite) {
    let provider = open(&suite.config(&suite.member, &suite.first)).await;
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    let _ = suite.admin("expel", &[text(&suite.member["user_id"])]);
    suite.servers.restart_barbican();
    let opened = provider.unwrap(&wrapped.blob, &aad()).await.unwrap();
    assert_eq!(opened, dek());
}

async fn names_a_withdrawn_credential_as_the_cause(suite: &mut Suite) {
    let provider = open(&suite.config(&suite.member, &suite.first)).await;
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    let member = &suite.member;
    let _ = suite.admin("withdraw", &[text(&member["user_id"]), text(&member["id"])]);
    suite.servers.restart_barbican();
    let refused = provider.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
}
