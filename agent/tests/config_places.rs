//! Where a configuration may say that the service is.
#![allow(clippy::unwrap_used)]

mod good;

use dawnkey_agent::config::ConfigError;
use good::{changed, good, invalid_key, parse};

#[test]
fn refuses_no_and_too_many_endpoints() {
    let list = "\"10.0.2.100:8443\", \"[fd00::1]:8443\", \"keys.example:443\"";
    assert_eq!(invalid_key(changed(list, "")), "service.endpoints");
    let many = "\"h:1\",".repeat(17);
    assert_eq!(invalid_key(changed(list, &many)), "service.endpoints");
}

#[test]
fn any_source_of_addresses_will_do_but_not_none() {
    let list = "endpoints = [\"10.0.2.100:8443\", \"[fd00::1]:8443\", \"keys.example:443\"]\n";
    let domain = "domain = \"fleet.example\"\n";
    let metadata = "metadata = \"openstack\"\nmetadata_address = \"127.0.0.1:8081\"\n";
    let without = |parts: &[&str]| {
        let text = parts.iter().fold(good(), |text, part| {
            assert!(text.contains(part), "{part}");
            text.replace(part, "")
        });
        parse(&text)
    };
    for parts in [[list, domain], [list, metadata], [domain, metadata]] {
        without(&parts).unwrap();
    }
    let error = without(&[list, domain, metadata]).unwrap_err();
    assert!(matches!(error, ConfigError::NoPlace { .. }), "{error}");
}

#[test]
fn refuses_places_that_are_none() {
    for (from, to, key) in [
        ("\"fleet.example\"", "\"a b\"", "service.domain"),
        ("\"10.0.0.53\"", "\"dns.example\"", "service.resolvers"),
        (
            "\"10.0.0.53\"",
            "\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\"",
            "service.resolvers",
        ),
        ("\"openstack\"", "\"digital\"", "service.metadata"),
        ("metadata = \"openstack\"\n", "", "service.metadata_address"),
        (
            "\"127.0.0.1:8081\"",
            "\"metadata:80\"",
            "service.metadata_address",
        ),
    ] {
        assert_eq!(invalid_key(changed(from, to)), key, "{to}");
    }
}
