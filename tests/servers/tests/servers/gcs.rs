//! Records in Google Cloud Storage.

use dawnkey_server_tests::servers::gcs;
use dawnkey_server_tests::toolchain::{Tool, have};
use dawnkey_store::{GcsConfig, OpenError, StoreConfig, contract};

fn config(port: u16) -> StoreConfig {
    StoreConfig::Gcs(GcsConfig {
        bucket: "records".into(),
        prefix: "dawnkey".into(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ca: None,
        credentials: None,
        anonymous: true,
        deadline_seconds: 60,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_server_is_accepted_and_keeps_the_contract_of_stores() {
    if !have("gcs", &[Tool::Go]) {
        return;
    }
    let server = gcs::fake("records", false);
    let store = config(server.port).open().await.unwrap();
    assert_eq!(store.name(), "gcs");
    contract::holds(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_ignores_preconditions_is_found_out_and_refused() {
    if !have("gcs", &[Tool::Go]) {
        return;
    }
    let server = gcs::fake("records", true);
    match config(server.port).open().await {
        Err(OpenError::Broken { problem, .. }) => {
            assert!(problem.contains("ignores preconditions"), "{problem}");
        }
        other => panic!("not refused: {:?}", other.map(|s| s.name())),
    }
}
