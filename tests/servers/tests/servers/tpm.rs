//! The host's TPM, as swtpm.

use dawnkey_attest::fake::{EkKind, Provisioner, Swtpm, SwtpmCa};
use dawnkey_kek::tpm::{Config, Tpm};
use dawnkey_kek::{Aad, Cause, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front::gone;
use dawnkey_server_tests::toolchain::{Tool, have};
use std::net::SocketAddr;
use std::sync::Arc;
use uuid::Uuid;

fn config(tcti: String, pcrs: &[u8]) -> Config {
    Config {
        tcti,
        owner_auth: None,
        pcrs: pcrs.to_vec(),
        primary_name: None,
    }
}

async fn open(config: &Config) -> Arc<dyn Provider> {
    Arc::new(Tpm::open("tpm", config).await.unwrap())
}

fn at(address: SocketAddr) -> String {
    format!("swtpm:host=127.0.0.1,port={}", address.port())
}

struct Host {
    ca: SwtpmCa,
    tpm: Swtpm,
    other: Option<Swtpm>,
}

impl Host {
    fn start() -> Self {
        let ca = SwtpmCa::new();
        let tpm = Swtpm::start(&ca, EkKind::Rsa);
        Self {
            ca,
            tpm,
            other: None,
        }
    }
}

impl Fixture for Host {
    fn name(&self) -> String {
        "tpm, swtpm".into()
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let tcti = match situation {
                Situation::Plain => self.tpm.tcti(),
                Situation::OtherKey => {
                    let other = Swtpm::start(&self.ca, EkKind::Rsa);
                    let tcti = other.tcti();
                    self.other = Some(other);
                    tcti
                }
                Situation::Gone => at(gone()),
                Situation::NoSuchKey | Situation::Disabled | Situation::Deleted => {
                    return Case::NotApplicable("the TPM's seed is the key");
                }
                Situation::Rotated => {
                    return Case::NotApplicable("the TPM's seed has no versions");
                }
                Situation::Denied => {
                    return Case::NotApplicable("refuses_other_pcr_values");
                }
                Situation::Throttled | Situation::Slow | Situation::Garbage => {
                    return Case::NotApplicable("the TSS is between us and what the TPM answers");
                }
            };
            Case::Provider(open(&config(tcti, &[])).await)
        })
    }
}

fn ready() -> bool {
    let tools = [
        Tool::Program("swtpm", "swtpm"),
        Tool::Program("swtpm_setup", "swtpm-tools"),
    ];
    have("tpm", &tools)
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_providers() {
    if ready() {
        conformance::run(&mut Host::start()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_other_pcr_values_and_opens_after_a_restart_of_the_tpm() {
    if !ready() {
        return;
    }
    let mut host = Host::start();
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    let provider = open(&config(host.tpm.tcti(), &[7, 15])).await;
    let blob = provider.wrap(&dek, &aad).await.unwrap().blob;
    assert_eq!(provider.unwrap(&blob, &aad).await.unwrap(), dek);
    let elsewhere = Aad::new(Uuid::from_u128(1), 2);
    let refused = provider.unwrap(&blob, &elsewhere).await.unwrap_err();
    assert_eq!(refused.cause, Cause::NotAuthentic, "{refused}");
    drop(provider);

    Provisioner::at(&host.tpm.tcti()).extend_15();
    let provider = open(&config(host.tpm.tcti(), &[])).await;
    let refused = provider.unwrap(&blob, &aad).await.unwrap_err();
    assert!(matches!(refused.cause, Cause::Denied { .. }), "{refused}");
    drop(provider);

    host.tpm.reboot();
    let provider = open(&config(host.tpm.tcti(), &[])).await;
    assert_eq!(provider.unwrap(&blob, &aad).await.unwrap(), dek);
}

#[tokio::test(flavor = "multi_thread")]
async fn wraps_only_with_the_pinned_primary_key() {
    if !ready() {
        return;
    }
    let host = Host::start();
    let dek = Dek::take(&mut [7; 32]).unwrap();
    let aad = Aad::new(Uuid::from_u128(1), 1);
    let pinned = Config {
        primary_name: Some("000b".to_owned() + &"00".repeat(32)),
        ..config(host.tpm.tcti(), &[])
    };
    let provider = open(&pinned).await;
    let refused = provider.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::WrongKey, "{refused}");
    let findings = provider.probe().await.unwrap().findings;
    let primary = findings
        .iter()
        .find(|f| f.subject == "primary key")
        .unwrap();
    assert!(!primary.good);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_s_password_is_needed_where_the_tpm_has_one() {
    use dawnkey_kek::CredentialSource;
    use std::os::unix::fs::PermissionsExt;
    if !ready() {
        return;
    }
    let host = Host::start();
    let (dek, aad) = (
        Dek::take(&mut [7; 32]).unwrap(),
        Aad::new(Uuid::from_u128(1), 1),
    );
    let without = config(host.tpm.tcti(), &[]);
    let before = open(&without).await;
    let blob = before.wrap(&dek, &aad).await.unwrap().blob;
    drop(before);
    Provisioner::at(&host.tpm.tcti()).set_owner_auth(b"correct horse");

    let refused = open(&without).await.wrap(&dek, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("owner");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let with = Config {
        owner_auth: Some(CredentialSource::File(file.clone())),
        ..without
    };
    write("wrong");
    let refused = open(&with).await.unwrap(&blob, &aad).await.unwrap_err();
    assert_eq!(refused.cause, Cause::Credentials, "{refused}");
    assert!(!refused.to_string().contains("wrong"), "{refused}");
    write("correct horse\n");
    let provider = open(&with).await;
    // The password guards the making of the primary key; that is the same one.
    assert_eq!(provider.unwrap(&blob, &aad).await.unwrap(), dek);
    let again = provider.wrap(&dek, &aad).await.unwrap().blob;
    assert_eq!(provider.unwrap(&again, &aad).await.unwrap(), dek);
}
