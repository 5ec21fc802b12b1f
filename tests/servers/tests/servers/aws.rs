//! AWS KMS against moto, which has IAM and encryption contexts, and LocalStack, which has the states of keys.

use dawnkey_kek::aws::{self, Config};
use dawnkey_kek::{Aad, Cause, KekError, Provider};
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{self, Front, Mode};
use dawnkey_server_tests::servers::aws::{Cloud, Keys, localstack, moto};
use dawnkey_server_tests::toolchain::{self, Tool};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// What one of the two servers cannot show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Moto,
    LocalStack,
}

struct Kms {
    server: Server,
    cloud: Cloud,
    key: String,
    stranger: Option<Keys>,
    front: Option<Front>,
}

impl Kms {
    fn new(server: Server, cloud: Cloud) -> Self {
        let key = cloud.key();
        Self {
            server,
            key,
            cloud,
            stranger: None,
            front: None,
        }
    }

    fn here(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.cloud.port))
    }

    async fn provider(&self, at: SocketAddr, key: &str, keys: &Keys) -> Case {
        let credentials = self.cloud.credential(keys);
        let section = format!(
            "key = \"{key}\"\nendpoint = \"http://{at}\"\ncredentials = \"{credentials}\"\n"
        );
        let config: Config = toml::from_str(&section).expect("a section");
        match aws::open("prod", &config).await {
            Ok(provider) => Case::Provider(Arc::new(provider)),
            Err(error) => Case::OpenFailed(error),
        }
    }

    async fn usual(&self, key: &str) -> Case {
        self.provider(self.here(), key, &self.cloud.administrator)
            .await
    }

    async fn behind(&mut self, mode: Mode) -> Case {
        let front = Front::start(mode).await;
        let at = front.address;
        self.front = Some(front);
        self.provider(at, &self.key, &self.cloud.administrator)
            .await
    }

    async fn stranger(&mut self) -> Case {
        if self.server == Server::LocalStack {
            return Case::NotApplicable("LocalStack has no IAM");
        }
        let stranger = self.cloud.user("stranger", "kms:DescribeKey");
        let case = self.provider(self.here(), &self.key, &stranger).await;
        self.stranger = Some(stranger);
        case
    }

    async fn in_state(&self, method: &str, arguments: serde_json::Value) -> Case {
        if self.server == Server::Moto {
            return Case::NotApplicable("moto uses keys in any state");
        }
        self.cloud.call("kms", method, &arguments);
        self.usual(&self.key).await
    }

    async fn rotated(&self) -> Case {
        let id = json!({ "KeyId": self.key });
        if self.server == Server::LocalStack {
            self.cloud.call("kms", "enable_key", &id);
            self.cloud.call("kms", "rotate_key_on_demand", &id);
        } else {
            self.cloud.call("kms", "enable_key_rotation", &id);
        }
        self.usual(&self.key).await
    }
}

impl Fixture for Kms {
    fn name(&self) -> String {
        match self.server {
            Server::Moto => "aws-kms, moto 5.2.5".into(),
            Server::LocalStack => "aws-kms, LocalStack 4.14.0".into(),
        }
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let id = json!({ "KeyId": self.key });
            match situation {
                Situation::Plain => self.usual(&self.key).await,
                Situation::OtherKey => {
                    let other = self.cloud.key();
                    self.usual(&other).await
                }
                Situation::NoSuchKey => {
                    let (place, _) = self.key.split_once(":key/").expect("an ARN");
                    let none = format!("{place}:key/00000000-0000-4000-8000-00000000000f");
                    self.usual(&none).await
                }
                Situation::Disabled => self.in_state("disable_key", id).await,
                Situation::Rotated => self.rotated().await,
                Situation::Denied => self.stranger().await,
                Situation::Throttled => {
                    let body = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
                    self.behind(Mode::http(400, &[("retry-after", "7")], body))
                        .await
                }
                Situation::Slow => self.behind(Mode::Slow).await,
                Situation::Gone => {
                    let keys = &self.cloud.administrator;
                    self.provider(front::gone(), &self.key, keys).await
                }
                Situation::Garbage => self.behind(Mode::http(200, &[], "<html>")).await,
                Situation::Deleted => {
                    let id = json!({ "KeyId": self.key, "PendingWindowInDays": 7 });
                    self.in_state("schedule_key_deletion", id).await
                }
            }
        })
    }

    fn says_of_other_keys(&self) -> Vec<Cause> {
        match self.server {
            // Where AWS says IncorrectKeyException.
            Server::Moto => vec![Cause::Denied {
                permission: Some("kms:Decrypt".into()),
            }],
            Server::LocalStack => Vec::new(),
        }
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        let mut all = vec![&self.cloud.administrator];
        all.extend(&self.stranger);
        let long = all.into_iter().filter(|keys| keys.secret != "test");
        long.map(|keys| keys.secret.clone().into_bytes()).collect()
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers_with_moto() {
    if toolchain::have("aws-kms, moto", &[Tool::Python]) {
        conformance::run(&mut Kms::new(Server::Moto, moto())).await;
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers_with_localstack() {
    if let Some(python) = toolchain::python_since(13) {
        let cloud = localstack(&python);
        conformance::run(&mut Kms::new(Server::LocalStack, cloud)).await;
    }
}

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/11112222-3333-4444-5555-666677778888";

/// What unwrapping gives when every answer is this one.
async fn unwrap_answered(status: u16, body: &str) -> Result<(), KekError> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys");
    let keys = "access_key_id = 'A'\nsecret_access_key = 'S'\n";
    std::fs::write(&file, keys).expect("write");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("private");
    let front = Front::start(Mode::http(status, &[], body)).await;
    let section = format!(
        "key = \"{KEY}\"\nendpoint = \"http://{}\"\ncredentials = \"file:{}\"\n",
        front.address,
        file.display()
    );
    let config: Config = toml::from_str(&section).expect("a section");
    let provider = aws::open("prod", &config).await.expect("open");
    let aad = Aad::new(uuid::Uuid::from_u128(1), 1);
    provider.unwrap(b"blob", &aad).await.map(drop)
}

#[tokio::test]
async fn refuses_an_answer_of_another_key_or_of_the_wrong_shape() {
    let other = KEY.replace("11112222", "99992222");
    let sealed = r#""CiphertextForRecipient":"AAAA""#;
    let dek = r#""Plaintext":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=""#;
    let right = format!(r#"{{"KeyId":"{KEY}",{dek}}}"#);
    unwrap_answered(200, &right).await.expect("a right answer");
    for body in [
        format!(r#"{{"KeyId":"{other}",{dek}}}"#),
        format!("{{{dek}}}"),
        format!(r#"{{"KeyId":"{KEY}",{sealed}}}"#),
        format!(r#"{{"KeyId":"{KEY}","Plaintext":"AAAA"}}"#),
        right + &" ".repeat(1 << 17),
    ] {
        let error = unwrap_answered(200, &body).await.expect_err(&body);
        assert_eq!(error.cause, Cause::Garbage, "{error}");
    }
}

/// As AWS says it; moto says it in XML, without a code that a client of KMS reads.
#[tokio::test]
async fn a_refusal_names_the_permission_that_is_missing() {
    let body = r#"{"__type":"AccessDeniedException","Message":"User is not authorized"}"#;
    let error = unwrap_answered(400, body).await.expect_err("refused");
    let permission = Some("kms:Decrypt".to_owned());
    assert_eq!(error.cause, Cause::Denied { permission });
}
