//! The transit engine of OpenBao: the conformance suite, and what keys, policies and the server itself may come to.

mod logins;

use dawnkey_kek::transit::{self, Config, Login, TlsConfig};
use dawnkey_kek::{Aad, Cause, CredentialSource, KekError, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{Front, Mode, gone};
use dawnkey_server_tests::servers::openbao::{OpenBao, VERSION, text};
use dawnkey_server_tests::toolchain::{Tool, have};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// A server with the engine, the keys `kek` and `other`, and a policy per key as docs/kms/transit.md has it.
struct Bao {
    server: OpenBao,
    tokens: Mutex<Vec<String>>,
    front: Option<Front>,
}

fn policy(key: &str) -> Value {
    let lines = format!(
        "path \"transit/encrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/decrypt/{key}\" {{ capabilities = [\"update\"] }}\n\
         path \"transit/keys/{key}\" {{ capabilities = [\"read\"] }}\n"
    );
    json!({ "policy": lines })
}

impl Bao {
    fn start() -> Self {
        let bao = Self {
            server: OpenBao::start(),
            tokens: Mutex::default(),
            front: None,
        };
        bao.post("sys/mounts/transit", json!({ "type": "transit" }));
        bao.post("transit/config/keys", json!({ "disable_upsert": true }));
        for key in ["kek", "other"] {
            bao.key(key, json!({ "type": "aes256-gcm96" }));
        }
        bao.post("sys/policies/acl/none", policy("none"));
        bao.post("sys/policies/acl/stranger", policy("not-the-kek"));
        bao
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.server.call("POST", path, &body)
    }

    /// Makes a key, and a policy of its name.
    fn key(&self, name: &str, parameters: Value) {
        self.post(&format!("transit/keys/{name}"), parameters);
        self.post(&format!("sys/policies/acl/{name}"), policy(name));
    }

    /// A private file with a credential.
    fn file(&self, credential: &str) -> CredentialSource {
        let path = self.server.pki.file(&Uuid::new_v4().simple().to_string());
        fs::write(&path, credential).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.tokens.lock().unwrap().push(credential.to_owned());
        CredentialSource::File(path)
    }

    /// A login with a token of this policy.
    fn token(&self, policy: &str) -> Login {
        let made = json!({ "policies": [policy], "ttl": "1h" });
        let made = self.post("auth/token/create", made);
        Login::Token {
            token: self.file(&text(&made, "/auth/client_token")),
        }
    }

    fn config(&self, key: &str, login: Login) -> Config {
        Config {
            address: self.server.address(),
            mount: "transit".to_owned(),
            key: key.to_owned(),
            namespace: None,
            tls: TlsConfig {
                ca: Some(self.server.pki.file("ca.pem")),
                ..TlsConfig::default()
            },
            login,
        }
    }

    /// The key, with a token of the policy of its name.
    fn usual(&self, key: &str) -> Config {
        self.config(key, self.token(key))
    }

    async fn behind(&mut self, mode: Mode) -> Config {
        let front = Front::start(mode).await;
        let address = format!("http://{}", front.address);
        self.front = Some(front);
        Config {
            address,
            ..self.usual("kek")
        }
    }

    async fn bring(&mut self, situation: Situation) -> Case {
        let config = match situation {
            Situation::Plain => self.usual("kek"),
            Situation::OtherKey => self.usual("other"),
            Situation::NoSuchKey => self.usual("none"),
            // A key has no switch. What is disabled is its versions before one.
            Situation::Disabled => {
                self.post("transit/keys/kek/rotate", json!({}));
                self.post(
                    "transit/keys/kek/config",
                    json!({ "min_decryption_version": 2 }),
                );
                self.usual("kek")
            }
            Situation::Rotated => {
                self.post(
                    "transit/keys/kek/config",
                    json!({ "min_decryption_version": 1 }),
                );
                self.usual("kek")
            }
            Situation::Denied => self.config("kek", self.token("stranger")),
            Situation::Throttled => {
                self.exhaust();
                self.usual("kek")
            }
            Situation::Slow => {
                self.server
                    .call("DELETE", "sys/quotas/rate-limit/few", &json!({}));
                self.behind(Mode::Slow).await
            }
            Situation::Gone => Config {
                address: format!("https://{}", gone()),
                ..self.usual("kek")
            },
            Situation::Garbage => self.behind(Mode::http(200, &[], "<html>")).await,
            Situation::Deleted => {
                self.post(
                    "transit/keys/kek/config",
                    json!({ "deletion_allowed": true }),
                );
                self.server.call("DELETE", "transit/keys/kek", &json!({}));
                self.usual("kek")
            }
        };
        Case::Provider(open(&config).await)
    }

    /// Limits calls of the engine to one per hour, and makes it.
    fn exhaust(&self) {
        let told = json!({ "enable_rate_limit_response_headers": true });
        self.post("sys/quotas/config", told);
        let limit = json!({ "path": "transit/", "rate": 1, "interval": "1h" });
        self.post("sys/quotas/rate-limit/few", limit);
        self.server.call("GET", "transit/keys/kek", &json!({}));
    }
}

impl Fixture for Bao {
    fn name(&self) -> String {
        format!("transit, OpenBao {VERSION}")
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(self.bring(situation))
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let tokens = self.tokens.lock().unwrap();
        let mut secrets = self.server.secrets();
        secrets.extend(tokens.iter().map(|token| token.clone().into()));
        secrets
    }
}

async fn open(config: &Config) -> Arc<dyn Provider> {
    Arc::new(transit::open("bao", config).await.unwrap())
}

fn ready(what: &str) -> bool {
    have(&format!("transit, {what}"), &[Tool::Go])
}

fn aad() -> Aad {
    Aad::new(Uuid::from_u128(1), 1)
}

fn dek() -> Dek {
    Dek::take(&mut [7; 32]).unwrap()
}

/// Wraps and unwraps.
async fn round_trip(provider: &dyn Provider) -> Result<(), KekError> {
    let wrapped = provider.wrap(&dek(), &aad()).await?;
    assert_eq!(provider.unwrap(&wrapped.blob, &aad()).await?, dek());
    Ok(())
}

async fn refusal(config: &Config) -> KekError {
    let provider = open(config).await;
    round_trip(&*provider).await.unwrap_err()
}

#[tokio::test]
async fn keeps_the_contract_of_providers() {
    if ready("conformance") {
        conformance::run(&mut Bao::start()).await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_line_that_the_policy_lacks() {
    if !ready("policies") {
        return;
    }
    let bao = Bao::start();
    let wrapped = open(&bao.usual("kek")).await;
    let wrapped = wrapped.wrap(&dek(), &aad()).await.unwrap();
    let stranger = open(&bao.config("kek", bao.token("stranger"))).await;
    let denied = |path: &str, capability: &str| Cause::Denied {
        permission: Some(format!(
            "path \"transit/{path}/kek\" {{ capabilities = [\"{capability}\"] }}"
        )),
    };
    let unwrap = stranger.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(unwrap.cause, denied("decrypt", "update"));
    let probe = stranger.probe().await.unwrap_err();
    assert_eq!(probe.cause, denied("keys", "read"));

    let reads = json!({ "policy": "path \"transit/keys/kek\" { capabilities = [\"read\"] }" });
    bao.post("sys/policies/acl/stranger", reads);
    let wrap = stranger.wrap(&dek(), &aad()).await.unwrap_err();
    assert_eq!(wrap.cause, denied("encrypt", "update"));
    let findings = stranger.probe().await.unwrap().findings;
    let missing: Vec<_> = findings.iter().filter(|finding| !finding.good).collect();
    assert!(
        matches!(missing.as_slice(), [one, two] if one.detail.starts_with("missing: path \"transit/encrypt/kek\"")
            && two.detail.starts_with("missing: path \"transit/decrypt/kek\"")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_missing_key_is_not_made() {
    if !ready("missing keys") {
        return;
    }
    let bao = Bao::start();
    bao.post("transit/config/keys", json!({ "disable_upsert": false }));
    let refused = refusal(&bao.config("missing", bao.token("root"))).await;
    assert_eq!(refused.cause, Cause::NoSuchKey, "{refused}");
    let keys = bao.server.call("LIST", "transit/keys", &json!({}));
    assert_eq!(keys["data"]["keys"], json!(["kek", "other"]));
}

#[tokio::test]
async fn complains_of_a_root_token() {
    if !ready("wide policies") {
        return;
    }
    let bao = Bao::start();
    let provider = open(&bao.config("kek", bao.token("root"))).await;
    round_trip(&*provider).await.unwrap();
    let findings = provider.probe().await.unwrap().findings;
    let wide = findings
        .iter()
        .filter(|one| one.subject == "permission too wide");
    assert_eq!(wide.count(), 5, "{findings:?}");
}

#[tokio::test]
async fn refuses_keys_that_are_derived_or_of_other_kinds() {
    if !ready("kinds of keys") {
        return;
    }
    let bao = Bao::start();
    for (name, parameters) in [
        (
            "derived",
            json!({ "type": "aes256-gcm96", "derived": true }),
        ),
        (
            "convergent",
            json!({ "type": "aes256-gcm96", "derived": true, "convergent_encryption": true }),
        ),
        ("short", json!({ "type": "aes128-gcm96" })),
        ("rsa", json!({ "type": "rsa-2048" })),
    ] {
        bao.key(name, parameters);
        let refused = refusal(&bao.usual(name)).await;
        assert_eq!(refused.cause, Cause::Unsupported, "{name}: {refused}");
    }
    bao.key("chacha", json!({ "type": "chacha20-poly1305" }));
    round_trip(&*open(&bao.usual("chacha")).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn tells_soft_deletion_and_brings_the_key_back() {
    if !ready("soft deletion") {
        return;
    }
    let bao = Bao::start();
    let provider = open(&bao.usual("kek")).await;
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    bao.server
        .call("DELETE", "transit/keys/kek/soft-delete", &json!({}));
    let unwrap = provider.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(unwrap.cause, Cause::Deleted, "{unwrap}");
    let wrap = provider.wrap(&dek(), &aad()).await.unwrap_err();
    assert_eq!(wrap.cause, Cause::Deleted, "{wrap}");
    let findings = provider.probe().await.unwrap().findings;
    let state = findings
        .iter()
        .find(|finding| finding.subject == "key state");
    assert!(state.is_some_and(|state| !state.good), "{findings:?}");

    bao.post("transit/keys/kek/soft-delete-restore", json!({}));
    let opened = provider.unwrap(&wrapped.blob, &aad()).await.unwrap();
    assert_eq!(opened, dek());
}

#[tokio::test]
async fn a_sealed_server_is_reported_as_such_and_used_again_when_it_is_open() {
    if !ready("sealed") {
        return;
    }
    let bao = Bao::start();
    let provider = open(&bao.usual("kek")).await;
    let wrapped = provider.wrap(&dek(), &aad()).await.unwrap();
    bao.server.seal();
    let sealed = provider.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(sealed.cause, Cause::Unreachable, "{sealed}");
    assert!(sealed.to_string().contains("sealed"), "{sealed}");
    let token = bao.file("hvs.none");
    let login = open(&bao.config("kek", Login::Token { token })).await;
    let sealed = login.unwrap(&wrapped.blob, &aad()).await.unwrap_err();
    assert_eq!(sealed.cause, Cause::Unreachable, "{sealed}");
    assert!(sealed.to_string().contains("sealed"), "{sealed}");

    bao.server.unseal();
    let opened = provider.unwrap(&wrapped.blob, &aad()).await.unwrap();
    assert_eq!(opened, dek());
}

#[tokio::test]
async fn says_when_a_limit_of_calls_ends() {
    if !ready("limits") {
        return;
    }
    let bao = Bao::start();
    bao.exhaust();
    let throttled = refusal(&bao.usual("kek")).await;
    let Cause::Throttled { after: Some(after) } = throttled.cause else {
        panic!("{throttled}");
    };
    assert!(after > Duration::ZERO && after <= Duration::from_secs(3600));
}

#[tokio::test]
async fn works_in_a_namespace_and_at_another_mount() {
    if !ready("namespaces") {
        return;
    }
    let bao = Bao::start();
    bao.post("sys/namespaces/team-a", json!({}));
    let post = |path: &str, body: Value| bao.server.call_in("team-a", "POST", path, &body);
    post("sys/mounts/disks/kek", json!({ "type": "transit" }));
    post("disks/kek/keys/one", json!({ "type": "aes256-gcm96" }));
    let lines = policy("one").to_string().replace("transit/", "disks/kek/");
    let lines: Value = serde_json::from_str(&lines).unwrap();
    post("sys/policies/acl/one", lines);
    let made = post("auth/token/create", json!({ "policies": ["one"] }));
    let token = bao.file(&text(&made, "/auth/client_token"));
    let inside = Config {
        mount: "disks/kek".to_owned(),
        namespace: Some("team-a".to_owned()),
        ..bao.config("one", Login::Token { token })
    };
    let provider = open(&inside).await;
    round_trip(&*provider).await.unwrap();
    let findings = provider.probe().await.unwrap().findings;
    assert!(findings.iter().all(|finding| finding.good), "{findings:?}");

    let outside = Config {
        namespace: None,
        ..inside
    };
    let refused = refusal(&outside).await;
    assert!(
        matches!(refused.cause, Cause::Denied { .. } | Cause::Credentials),
        "{refused}"
    );
}

#[tokio::test]
async fn a_mount_that_is_none_is_a_matter_of_configuration() {
    if !ready("mounts") {
        return;
    }
    let bao = Bao::start();
    let elsewhere = Config {
        mount: "nowhere".to_owned(),
        ..bao.config("kek", bao.token("root"))
    };
    let refused = refusal(&elsewhere).await;
    assert_eq!(refused.cause, Cause::Misconfigured, "{refused}");
}
