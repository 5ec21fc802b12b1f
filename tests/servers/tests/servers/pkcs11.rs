//! PKCS#11 against SoftHSM.

use cryptoki::object::Attribute;
use dawnkey_kek::pkcs11::{Config, Iv, Mechanism, Pkcs11};
use dawnkey_kek::{Aad, Cause, CredentialSource, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::servers::softhsm::{MODULE, PIN, SoftHsm, TOKEN, locked_up};
use dawnkey_server_tests::toolchain::{Tool, have};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use uuid::Uuid;

/// Set for the process that runs the suite: SoftHSM reads where its tokens are from the environment, and a process
/// cannot safely change its own.
const INNER: &str = "DAWNKEY_SOFTHSM_DIRECTORY";

/// Runs a test in a process of its own whose environment names a new token directory; `None` in the outer process.
fn inner(test: &str) -> Option<SoftHsm> {
    if let Some(dir) = std::env::var_os(INNER) {
        let scratch = tempfile::tempdir_in(&dir).unwrap();
        let config = PathBuf::from(dir).join("softhsm2.conf");
        return Some(SoftHsm::new((scratch, config)));
    }
    let tools = [
        Tool::Program(MODULE, "softhsm2"),
        Tool::Program("softhsm2-util", "softhsm2"),
    ];
    if !have("pkcs11", &tools) {
        return None;
    }
    let (dir, config) = SoftHsm::directory();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([&format!("pkcs11::{test}"), "--exact", "--nocapture"])
        .env("SOFTHSM2_CONF", &config)
        .env(INNER, dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process");
    None
}

fn config(pin: &Path, id: &[u8], mechanism: Mechanism) -> Config {
    Config {
        module: MODULE.into(),
        token_label: Some(TOKEN.into()),
        token_serial: None,
        key_label: None,
        key_id: Some(hex::encode(id)),
        older_key_ids: Vec::new(),
        pin: Some(CredentialSource::File(pin.into())),
        mechanism,
        iv: Iv::Service,
        sessions: 8,
    }
}

async fn open(config: &Config) -> Arc<dyn Provider> {
    Arc::new(Pkcs11::open("token", config).await.unwrap())
}

struct Token {
    softhsm: SoftHsm,
    mechanism: Mechanism,
}

impl Token {
    fn config(&self, id: &[u8]) -> Config {
        config(&self.softhsm.pin(), id, self.mechanism)
    }

    fn key(&self, id: &[u8]) {
        let gcm = self.mechanism == Mechanism::AesGcm;
        self.softhsm.key("kek", id, &locked_up(gcm, !gcm));
    }
}

impl Fixture for Token {
    fn name(&self) -> String {
        let mechanism = match self.mechanism {
            Mechanism::AesGcm => "aes-gcm",
            Mechanism::AesKw => "aes-kw",
        };
        format!("pkcs11 {mechanism}, {}", self.softhsm.version())
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        vec![PIN.into()]
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let config = match situation {
                Situation::Plain => {
                    self.key(&[1]);
                    self.config(&[1])
                }
                Situation::OtherKey => {
                    self.key(&[2]);
                    self.config(&[2])
                }
                Situation::NoSuchKey => self.config(&[9]),
                Situation::Rotated => {
                    self.key(&[3]);
                    let older_key_ids = vec!["01".to_owned()];
                    let config = self.config(&[3]);
                    Config {
                        older_key_ids,
                        ..config
                    }
                }
                Situation::Denied => {
                    // The same id, so that the blob is taken to it: a key that may do nothing.
                    self.softhsm.remove(&[1]);
                    self.softhsm.key("kek", &[1], &locked_up(false, false));
                    self.config(&[1])
                }
                Situation::Gone => Config {
                    token_label: Some("another".into()),
                    ..self.config(&[1])
                },
                Situation::Deleted => {
                    self.softhsm.remove(&[1]);
                    self.config(&[1])
                }
                Situation::Disabled => {
                    return Case::NotApplicable("keys of PKCS#11 have no such state");
                }
                Situation::Throttled | Situation::Slow | Situation::Garbage => {
                    return Case::NotApplicable("the module is loaded into this process");
                }
            };
            Case::Provider(open(&config).await)
        })
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers_with_aes_gcm() {
    let Some(softhsm) = inner("keeps_the_contract_of_providers_with_aes_gcm") else {
        return;
    };
    let mechanism = Mechanism::AesGcm;
    conformance::run(&mut Token { softhsm, mechanism }).await;
}

#[tokio::test]
async fn keeps_the_contract_of_providers_with_aes_kw() {
    let Some(softhsm) = inner("keeps_the_contract_of_providers_with_aes_kw") else {
        return;
    };
    let mechanism = Mechanism::AesKw;
    conformance::run(&mut Token { softhsm, mechanism }).await;
}

#[tokio::test]
async fn probe_finds_a_key_that_can_be_read() {
    let Some(softhsm) = inner("probe_finds_a_key_that_can_be_read") else {
        return;
    };
    softhsm.key("good", &[1], &locked_up(true, false));
    let open_key = [Attribute::Sensitive(false), Attribute::Extractable(true)];
    softhsm.key("bad", &[2], &open_key);
    for (id, good) in [(1, true), (2, false)] {
        let provider = open(&config(&softhsm.pin(), &[id], Mechanism::AesGcm)).await;
        let probe = provider.probe().await.unwrap();
        let finding = probe
            .findings
            .iter()
            .find(|finding| finding.subject == "key cannot be read")
            .unwrap();
        assert_eq!(finding.good, good, "{finding:?}");
    }
}

#[tokio::test]
async fn a_refused_pin_is_not_tried_again_and_a_label_must_name_one_key() {
    let Some(softhsm) = inner("a_refused_pin_is_not_tried_again_and_a_label_must_name_one_key")
    else {
        return;
    };
    softhsm.key("twice", &[1], &locked_up(true, false));
    softhsm.key("twice", &[2], &locked_up(true, false));
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    let by_label = Config {
        key_label: Some("twice".into()),
        key_id: None,
        ..config(&softhsm.pin(), &[1], Mechanism::AesGcm)
    };
    let by_label = open(&by_label).await;
    let refused = by_label.wrap(&dek, &aad).await.unwrap_err();
    drop(by_label);
    assert_eq!(refused.cause, Cause::Misconfigured, "{refused}");

    let pin = softhsm.pin().with_file_name("wrong");
    fs::write(&pin, "00000000").unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let wrong_pin = config(&pin, &[1], Mechanism::AesGcm);
    softhsm.log_out();
    let provider = open(&wrong_pin).await;
    for _ in 0..5 {
        let refused = provider.wrap(&dek, &aad).await.unwrap_err();
        assert_eq!(refused.cause, Cause::Credentials, "{refused}");
        assert!(refused.detail.contains("PinIncorrect"), "{refused}");
        assert!(!refused.to_string().contains("00000000"));
    }
}
