//! Records in Azure Blob Storage.

use dawnkey_server_tests::servers::azurite::{ACCOUNT, Azurite};
use dawnkey_server_tests::toolchain::{Tool, have};
use dawnkey_store::{AzureConfig, OpenError, StoreConfig, contract};

fn config(server: &Azurite, container: &str) -> StoreConfig {
    StoreConfig::AzureBlob(AzureConfig {
        account: ACCOUNT.into(),
        container: container.into(),
        prefix: "dawnkey".into(),
        endpoint: Some(format!("http://127.0.0.1:{}/{ACCOUNT}", server.port)),
        ca: None,
        credentials: Some(
            format!("file:{}", server.credentials().display())
                .parse()
                .unwrap(),
        ),
        deadline_seconds: 60,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_is_accepted_and_keeps_the_contract_of_stores() {
    if !have("azure-blob", &[Tool::Node]) {
        return;
    }
    let server = Azurite::start("records");
    let store = config(&server, "records").open().await.unwrap();
    assert_eq!(store.name(), "azure-blob");
    contract::holds(store).await;
    let absent = config(&server, "absent").open().await;
    assert!(matches!(absent, Err(OpenError::Broken { place, .. }) if place == "absent/dawnkey"));
}
