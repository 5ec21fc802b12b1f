//! Every form of URI, and the section that it becomes: `cli/tests/imported/` has them in full, and the providers' own tests read
//! those of their kind.
#![allow(clippy::unwrap_used)]

use super::*;

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn of(text: &str) -> Result<Section, UriError> {
    Section::of(&Uri::parse(text)?, None)
}

/// The section of a URI, with its secret in a file.
fn written(text: &str) -> String {
    let mut section = of(text).unwrap();
    section.written_to("/etc/dawnkey/imported.credential");
    section.toml()
}

#[test]
fn every_kms_becomes_the_section_of_its_provider() {
    for (uri, expected) in [
        (
            format!("kms://aws?region=eu-central-1&accessKeyID=AKIA1&accessKey=topsecret&keyName={ARN}"),
            include_str!("../../tests/imported/aws.toml"),
        ),
        (
            "kms://azure?tenantID=t&clientID=c&clientSecret=topsecret&vaultName=prod&vaultType=vault.azure.net&keyName=kek".into(),
            include_str!("../../tests/imported/azure.toml"),
        ),
        (
            "kms://azure?tenantID=t&clientID=c&clientSecret=topsecret&vaultName=prod&vaultType=managedhsm.azure.net&keyName=kek".into(),
            include_str!("../../tests/imported/azure-hsm.toml"),
        ),
        (
            "kms://gcp?projectID=p&location=global&keyRing=r&credentialsPath=%2Fetc%2Fdawnkey%2Fsa.json&keyName=k".into(),
            include_str!("../../tests/imported/gcp.toml"),
        ),
        (
            format!("kms://cluster-kms?key={0}&salt={0}", "_".repeat(42) + "8="),
            include_str!("../../tests/imported/cluster.toml"),
        ),
    ] {
        assert_eq!(written(&uri), expected);
    }
}

#[test]
fn every_storage_becomes_the_section_of_its_store() {
    for (uri, expected) in [
        (
            "storage://aws?bucket=b&region=eu-central-1&accessKeyID=AKIA1&accessKey=topsecret",
            include_str!("../../tests/imported/s3.toml"),
        ),
        (
            "storage://azure?account=a&container=c&tenantID=t&clientID=c&clientSecret=topsecret",
            include_str!("../../tests/imported/azure-blob.toml"),
        ),
        (
            "storage://gcp?projectID=p&bucket=b&credentialsPath=%2Fetc%2Fdawnkey%2Fsa.json",
            include_str!("../../tests/imported/gcs.toml"),
        ),
        (
            "storage://no-store",
            include_str!("../../tests/imported/no-store.toml"),
        ),
    ] {
        assert_eq!(written(uri), expected);
    }
}

/// The service reads every kind of store; the providers' sections are read by their own tests.
#[test]
fn the_service_reads_every_store_section() {
    #[derive(serde::Deserialize)]
    struct File {
        store: dawnkey_store::StoreConfig,
    }
    for (section, kind) in [
        (include_str!("../../tests/imported/s3.toml"), "s3"),
        (
            include_str!("../../tests/imported/azure-blob.toml"),
            "azure-blob",
        ),
        (include_str!("../../tests/imported/gcs.toml"), "gcs"),
        (include_str!("../../tests/imported/no-store.toml"), "redb"),
    ] {
        let file: File = toml::from_str(section).unwrap();
        assert_eq!(file.store.kind(), kind);
    }
}

#[test]
fn the_secret_is_in_the_file_and_in_no_output() {
    let uri = "storage://aws?bucket=b&region=eu&accessKeyID=AKIA1&accessKey=top%22secret";
    let section = of(uri).unwrap();
    let content = &*section.secret.as_ref().unwrap().content;
    let file: toml::Table = content.parse().unwrap();
    assert_eq!(file["secret_access_key"].as_str(), Some("top\"secret"));
    let shown = format!("{section:?}{}", section.toml());
    assert!(!shown.contains("secret\"") && !shown.contains("AKIA1"));
}

#[test]
fn without_credentials_the_platforms_identity_is_used() {
    let uri = format!("kms://aws?region=eu-central-1&keyName={ARN}");
    let section = of(&uri).unwrap();
    assert!(section.secret.is_none());
    assert!(!section.toml().contains("credentials"));
}

#[test]
fn an_alias_needs_the_arn_and_the_arn_the_region() {
    let uri = Uri::parse("kms://aws?region=eu-central-1&keyName=alias%2Fkek").unwrap();
    let name = "keyName";
    assert!(matches!(Section::of(&uri, None), Err(UriError::Value { name: n, .. }) if n == name));
    assert!(Section::of(&uri, Some(ARN)).unwrap().toml().contains(ARN));
    let elsewhere = ARN.replace("eu-central-1", "us-east-1");
    assert!(matches!(
        Section::of(&uri, Some(&elsewhere)),
        Err(UriError::Value { .. })
    ));
}

#[test]
fn refuses_what_is_missing_half_unknown_or_malformed() {
    for (text, expected) in [
        (
            "kms://vault?x=1",
            UriError::Provider("aws, azure, gcp, cluster-kms"),
        ),
        (
            "storage://nfs?x=1",
            UriError::Provider("aws, azure, gcp, no-store"),
        ),
        ("storage://aws?bucket=b", UriError::Missing("region")),
        (
            "storage://aws?bucket=b&region=r&accessKeyID=a",
            UriError::Missing("accessKey"),
        ),
        ("kms://cluster-kms?key=AAAA", UriError::Missing("salt")),
        (
            "kms://cluster-kms?key=AAAA&salt=AAAA",
            UriError::Value {
                name: "salt",
                right: "32 bytes",
            },
        ),
    ] {
        assert_eq!(of(text).unwrap_err(), expected, "{text}");
    }
    let unknown = of("storage://gcp?bucket=b&colour=red").unwrap_err();
    assert!(matches!(unknown, UriError::Unknown(_)));
}
