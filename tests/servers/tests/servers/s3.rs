//! Records in S3.

use dawnkey_server_tests::servers::aws::{Cloud, Keys};
use dawnkey_server_tests::servers::{aws, credential};
use dawnkey_server_tests::toolchain::{Tool, have};
use dawnkey_store::{OpenError, S3Config, StoreConfig, contract};
use serde_json::json;
use tempfile::TempDir;

/// Where the administrator's calls go.
const REGION: &str = "eu-central-1";

fn config(cloud: &Cloud, keys: &Keys, scratch: &TempDir) -> StoreConfig {
    let text = format!(
        "access_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        keys.id, keys.secret
    );
    let file = credential(scratch.path(), &text);
    StoreConfig::S3(S3Config {
        bucket: "records".into(),
        region: Some(REGION.into()),
        prefix: "dawnkey".into(),
        endpoint: Some(format!("http://127.0.0.1:{}", cloud.port)),
        ca: None,
        credentials: Some(format!("file:{}", file.display()).parse().unwrap()),
        deadline_seconds: 60,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_accepted_and_keeps_the_contract_of_stores() {
    if !have("s3", &[Tool::Python]) {
        return;
    }
    let (cloud, scratch) = (aws::moto(), tempfile::tempdir().unwrap());
    let bucket = json!({
        "Bucket": "records",
        "CreateBucketConfiguration": { "LocationConstraint": REGION },
    });
    cloud.call("s3", "create_bucket", &bucket);
    let store = config(&cloud, &cloud.administrator, &scratch).open().await;
    let store = store.unwrap();
    assert_eq!(store.name(), "s3");
    contract::holds(store).await;

    let reader = cloud.user("reader", "s3:GetObject");
    match config(&cloud, &reader, &scratch).open().await {
        Err(OpenError::Broken { problem, .. }) => {
            assert!(
                problem.contains("read, write, list and delete"),
                "{problem}"
            );
            assert!(!problem.contains(&reader.secret));
        }
        other => panic!("not refused: {:?}", other.map(|s| s.name())),
    }
}
