//! Google Cloud KMS against a contract server of ours: no emulator could be had.

use dawnkey_kek::gcp::{self, Config};
use dawnkey_kek::{Aad, Cause, KekError, Provider};
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::{self, Front, Mode};
use dawnkey_server_tests::servers::contract::Contract;
use dawnkey_server_tests::toolchain::{self, Tool};
use std::net::SocketAddr;
use std::sync::Arc;

const KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/kek";
const OTHER: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/other";

struct Kms {
    server: Contract,
    front: Option<Front>,
}

async fn open(at: SocketAddr, key: &str) -> Result<gcp::Gcp, KekError> {
    let section = format!("key = \"{key}\"\nendpoint = \"http://{at}\"\n");
    let config: Config = toml::from_str(&section).expect("a section");
    gcp::open("prod", &config).await
}

async fn case(at: SocketAddr, key: &str) -> Case {
    match open(at, key).await {
        Ok(provider) => Case::Provider(Arc::new(provider)),
        Err(error) => Case::OpenFailed(error),
    }
}

impl Kms {
    fn start() -> Self {
        let server = Contract::start("gcp_kms.py");
        for key in [KEY, OTHER] {
            server.order(&format!("key/{key}"));
        }
        let front = None;
        Self { server, front }
    }

    async fn behind(&mut self, mode: Mode) -> Case {
        let front = Front::start(mode).await;
        let at = front.address;
        self.front = Some(front);
        case(at, KEY).await
    }
}

impl Fixture for Kms {
    fn name(&self) -> String {
        "gcp-kms, contract server".into()
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let at = self.server.api;
            match situation {
                Situation::OtherKey => return case(at, OTHER).await,
                Situation::NoSuchKey => return case(at, &KEY.replace("kek", "none")).await,
                Situation::Throttled => {
                    let body = r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}"#;
                    return self
                        .behind(Mode::http(429, &[("retry-after", "7")], body))
                        .await;
                }
                Situation::Slow => return self.behind(Mode::Slow).await,
                Situation::Garbage => return self.behind(Mode::http(200, &[], "<html>")).await,
                Situation::Gone => return case(front::gone(), KEY).await,
                Situation::Disabled => self.server.order(&format!("DISABLED/{KEY}")),
                Situation::Rotated => {
                    self.server.order(&format!("ENABLED/{KEY}"));
                    self.server.order(&format!("rotate/{KEY}"));
                }
                Situation::Denied => self.server.order("deny/yes"),
                Situation::Deleted => {
                    self.server.order("deny/no");
                    self.server.order(&format!("DESTROY_SCHEDULED/{KEY}"));
                }
                Situation::Plain => {}
            }
            case(at, KEY).await
        })
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers() {
    if toolchain::have("gcp-kms", &[Tool::Python]) {
        conformance::run(&mut Kms::start()).await;
    }
}

/// A wrapped DEK, or the cause of its refusal, when every answer is this one.
async fn wrap_answered(body: &str) -> Result<(), Cause> {
    let front = Front::start(Mode::http(200, &[], body)).await;
    let provider = open(front.address, KEY).await.expect("open");
    let dek = dawnkey_secret::Dek::take(&mut [7; 32]).expect("32 bytes");
    let wrapped = provider
        .wrap(&dek, &Aad::new(uuid::Uuid::from_u128(1), 1))
        .await;
    wrapped.map(drop).map_err(|error| error.cause)
}

#[tokio::test]
async fn refuses_an_answer_whose_checksums_or_key_are_not_right() {
    let answer = |version: &str, crc: &str, seen: &str, seen_aad: &str| {
        format!(
            r#"{{"name":"{version}","ciphertext":"MTIzNDU2Nzg5","ciphertextCrc32c":"{crc}","verifiedPlaintextCrc32c":{seen},"verifiedAdditionalAuthenticatedDataCrc32c":{seen_aad}}}"#
        )
    };
    let version = format!("{KEY}/cryptoKeyVersions/1");
    let other = format!("{OTHER}/cryptoKeyVersions/1");
    let right = "3808858755";
    assert_eq!(
        wrap_answered(&answer(&version, right, "true", "true")).await,
        Ok(())
    );
    for body in [
        answer(&version, "1", "true", "true"),
        answer(&version, right, "false", "true"),
        answer(&version, right, "true", "false"),
        answer(&other, right, "true", "true"),
        answer(KEY, right, "true", "true"),
        "{}".into(),
    ] {
        assert_eq!(wrap_answered(&body).await, Err(Cause::Garbage), "{body}");
    }
}

#[tokio::test]
async fn refuses_a_dek_whose_checksum_is_not_right() {
    if !toolchain::have("gcp-kms, checksums", &[Tool::Python]) {
        return;
    }
    let kms = Kms::start();
    let provider = open(kms.server.api, KEY).await.expect("open");
    let aad = Aad::new(uuid::Uuid::from_u128(1), 1);
    let dek = dawnkey_secret::Dek::take(&mut [0; 32]).expect("32 bytes");
    let blob = provider.wrap(&dek, &aad).await.expect("wrap").blob;
    // 32 zero bytes; RFC 9260 has their checksum.
    let zeros = "A".repeat(43) + "=";
    for (crc, good) in [
        ("\"2324772522\"", true),
        ("\"2324772523\"", false),
        ("null", false),
    ] {
        let body =
            format!(r#"{{"plaintext":"{zeros}","plaintextCrc32c":{crc},"usedPrimary":true}}"#);
        let front = Front::start(Mode::http(200, &[], &body)).await;
        let provider = open(front.address, KEY).await.expect("open");
        match provider.unwrap(&blob, &aad).await {
            Ok(_) => assert!(good, "{crc}"),
            Err(error) => assert!(!good && error.cause == Cause::Garbage, "{crc}: {error}"),
        }
    }
}
