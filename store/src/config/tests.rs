//! What `[store]` may and may not say.
#![allow(clippy::unwrap_used)]
use super::*;

fn parse(text: &str) -> Result<StoreConfig, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

#[test]
fn every_kind_is_read_and_only_redb_is_for_one_service() {
    for (text, kind) in [
        ("kind = \"redb\"\npath = \"s.redb\"", "redb"),
        ("kind = \"s3\"\nbucket = \"b\"", "s3"),
        ("kind = \"gcs\"\nbucket = \"b\"", "gcs"),
        (
            "kind = \"azure-blob\"\naccount = \"a\"\ncontainer = \"c\"",
            "azure-blob",
        ),
        (
            "kind = \"postgres\"\nhost = \"db\"\ndatabase = \"d\"\nuser = \"u\"",
            "postgres",
        ),
    ] {
        let config = parse(text).unwrap();
        assert_eq!(config.kind(), kind);
        assert_eq!(config.shared(), kind != "redb");
        let refused = parse(&format!("{text}\nsurprise = 1")).unwrap_err();
        assert!(refused.contains("surprise"), "{refused}");
    }
}

#[test]
fn refuses_a_secret_where_the_place_of_one_is_named() {
    for text in [
        "kind = \"s3\"\nbucket = \"b\"\ncredentials = \"hunter2\"",
        "kind = \"postgres\"\nhost = \"db\"\ndatabase = \"d\"\nuser = \"u\"\npassword = \"hunter2\"",
    ] {
        assert!(parse(text).is_err());
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let text =
        "kind = \"postgres\"\nhost = \"db\"\ndatabase = \"d\"\nuser = \"u\"\nca = \"ca.pem\"";
    let StoreConfig::Postgres(config) = parse(text).unwrap().at(Path::new("/etc/dawnkey")) else {
        unreachable!("that is what was written")
    };
    assert_eq!(config.ca.unwrap(), Path::new("/etc/dawnkey/ca.pem"));
    assert_eq!(config.tls, Tls::VerifyFull);
}

#[cfg(not(feature = "s3"))]
#[tokio::test]
async fn store_that_was_not_built_says_so() {
    let config = parse("kind = \"s3\"\nbucket = \"b\"").unwrap();
    assert!(matches!(
        config.open().await,
        Err(OpenError::NotBuilt("s3"))
    ));
}
