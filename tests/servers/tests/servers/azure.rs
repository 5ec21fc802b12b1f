//! Azure Key Vault and Managed HSM against a contract server of ours: no emulator could be had.

use dawnkey_kek::azure::{self, Config};
use dawnkey_kek::{Aad, Cause, KekError, Provider};
use dawnkey_secret::Dek;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use dawnkey_server_tests::front;
use dawnkey_server_tests::servers::contract::Contract;
use dawnkey_server_tests::toolchain::{self, Tool};
use std::sync::Arc;

const VAULT: &str = "prod.vault.azure.net";
const HSM: &str = "prod.managedhsm.azure.net";
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const SECRET: &str = "8Q~contract-secret-of-the-test";

struct Kms {
    server: Contract,
    host: &'static str,
}

impl Kms {
    fn start(host: &'static str) -> Self {
        let server = Contract::start("azure_vault.py");
        for order in [
            format!("key/{host}/kek"),
            format!("key/{host}/other"),
            format!("client/app/{SECRET}/all"),
            format!("client/stranger/{SECRET}/get"),
        ] {
            server.order(&order);
        }
        Self { server, host }
    }

    /// The section of a key, without an identity.
    fn section(&self, port: u16, key: &str) -> String {
        format!(
            "key = \"https://{}:{port}/keys/{key}\"\nauthority = \"https://{}\"\naddress = \"127.0.0.1\"\nca = \"{}\"\n",
            self.host,
            self.server.api,
            self.server.file("ca.pem").display()
        )
    }

    async fn open(
        &self,
        port: u16,
        key: &str,
        client: &str,
        secret: &str,
    ) -> Result<azure::Azure, KekError> {
        let lines =
            format!("tenant_id = '{TENANT}'\nclient_id = '{client}'\nclient_secret = '{secret}'\n");
        let file = self.server.credential(client, &lines);
        let section =
            self.section(port, key) + &format!("identity = \"secret\"\ncredentials = \"{file}\"\n");
        let config: Config = toml::from_str(&section).expect("a section");
        azure::open("prod", &config).await
    }

    async fn usual(&self, key: &str, client: &str) -> Case {
        match self.open(self.server.api.port(), key, client, SECRET).await {
            Ok(provider) => Case::Provider(Arc::new(provider)),
            Err(error) => Case::OpenFailed(error),
        }
    }
}

impl Fixture for Kms {
    fn name(&self) -> String {
        format!("azure-key-vault, contract server, {}", self.host)
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            let order = |order: &str| self.server.order(&format!("{order}/{}/kek", self.host));
            self.server.order("mode/plain");
            match situation {
                Situation::Plain => {}
                Situation::OtherKey => return self.usual("other", "app").await,
                Situation::NoSuchKey => return self.usual("none", "app").await,
                Situation::Denied => return self.usual("kek", "stranger").await,
                Situation::Disabled => order("disable"),
                Situation::Rotated => {
                    order("enable");
                    order("rotate");
                }
                Situation::Deleted => order("delete"),
                Situation::Throttled => self.server.order("mode/throttled"),
                Situation::Slow => self.server.order("mode/slow"),
                Situation::Garbage => self.server.order("mode/garbage"),
                Situation::Gone => {
                    let port = front::gone().port();
                    let provider = self.open(port, "kek", "app", SECRET).await.expect("open");
                    return Case::Provider(Arc::new(provider));
                }
            }
            self.usual("kek", "app").await
        })
    }

    fn secrets(&self) -> Vec<Vec<u8>> {
        vec![SECRET.into()]
    }
}

fn aad() -> Aad {
    Aad::new(uuid::Uuid::from_u128(1), 1)
}

/// The cause for which a provider does not wrap.
async fn refusal(provider: &azure::Azure) -> Cause {
    let dek = Dek::take(&mut [7; 32]).expect("32 bytes");
    let wrapped = provider.wrap(&dek, &aad()).await;
    wrapped.expect_err("wrapped").cause
}

#[tokio::test]
async fn keeps_the_contract_of_providers_in_a_vault() {
    if toolchain::have("azure-key-vault, vault", &[Tool::Python]) {
        conformance::run(&mut Kms::start(VAULT)).await;
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers_in_a_managed_hsm() {
    if toolchain::have("azure-key-vault, managed HSM", &[Tool::Python]) {
        conformance::run(&mut Kms::start(HSM)).await;
    }
}

#[tokio::test]
async fn only_the_hsm_says_that_it_has_associated_data() {
    if toolchain::have("azure-key-vault, capabilities", &[Tool::Python]) {
        for (host, aad) in [(VAULT, false), (HSM, true)] {
            let kms = Kms::start(host);
            let port = kms.server.api.port();
            let provider = kms.open(port, "kek", "app", SECRET).await.expect("open");
            assert_eq!(provider.capabilities().aad, aad);
        }
    }
}

#[tokio::test]
async fn sends_no_token_where_the_challenge_names_another_resource() {
    if toolchain::have("azure-key-vault, challenge", &[Tool::Python]) {
        let kms = Kms::start(VAULT);
        kms.server.order("mode/challenge");
        let port = kms.server.api.port();
        let provider = kms.open(port, "kek", "app", SECRET).await.expect("open");
        assert_eq!(refusal(&provider).await, Cause::Garbage);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_a_matter_of_credentials() {
    if toolchain::have("azure-key-vault, secret", &[Tool::Python]) {
        let kms = Kms::start(VAULT);
        let port = kms.server.api.port();
        let provider = kms.open(port, "kek", "app", "wrong").await.expect("open");
        assert_eq!(refusal(&provider).await, Cause::Credentials);
    }
}

#[tokio::test]
async fn logs_in_with_a_certificate() {
    if toolchain::have("azure-key-vault, certificate", &[Tool::Python]) {
        let kms = Kms::start(VAULT);
        let section = kms.section(kms.server.api.port(), "kek")
            + &format!(
                "identity = \"certificate\"\ntenant = \"{TENANT}\"\nclient = \"app\"\ncredentials = \"file:{}\"\n",
                kms.server.file("client.pem").display()
            );
        let config: Config = toml::from_str(&section).expect("a section");
        let provider = azure::open("prod", &config).await.expect("open");
        let dek = Dek::take(&mut [7; 32]).expect("32 bytes");
        let wrapped = provider.wrap(&dek, &aad()).await.expect("wrap");
        let opened = provider
            .unwrap(&wrapped.blob, &aad())
            .await
            .expect("unwrap");
        assert_eq!(opened, dek);
    }
}
