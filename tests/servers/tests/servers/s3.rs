//! Records in S3.

use dawnkey_server_tests::servers::aws::{Cloud, Keys};
use dawnkey_server_tests::servers::{aws, credential};
use dawnkey_server_tests::toolchain::{Tool, have};
use dawnkey_store::{OpenError, S3Config, StoreConfig, contract};
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

/// Where the administrator's calls go.
pub(crate) const REGION: &str = "eu-central-1";
/// Where records go.
pub(crate) const BUCKET: &str = "records";

/// Makes the bucket.
pub(crate) fn make_bucket(cloud: &Cloud) {
    let bucket = json!({
        "Bucket": BUCKET,
        "CreateBucketConfiguration": { "LocationConstraint": REGION },
    });
    cloud.call("s3", "create_bucket", &bucket);
}

/// A file with a user's keys, as a configuration names it.
pub(crate) fn credentials(keys: &Keys, scratch: &TempDir) -> PathBuf {
    let text = format!(
        "access_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        keys.id, keys.secret
    );
    credential(scratch.path(), &text)
}

fn config(cloud: &Cloud, keys: &Keys, scratch: &TempDir) -> StoreConfig {
    let file = credentials(keys, scratch);
    StoreConfig::S3(S3Config {
        bucket: BUCKET.into(),
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
    make_bucket(&cloud);
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
