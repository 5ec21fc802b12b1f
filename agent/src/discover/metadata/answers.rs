//! Where each cloud keeps what its user says about a machine, and the endpoints in it. Reading is total.

use super::Cloud;
use crate::discover::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Key of the tag, attribute or property, and of the line in user data.
pub const KEY: &str = "dawnkey-endpoints";

/// Where to look, and how to read what is there.
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) read: fn(&[u8]) -> Vec<Endpoint>,
}

/// The places of a cloud, in the order in which they are looked at.
pub(super) const fn places(cloud: Cloud) -> [Place; 2] {
    match cloud {
        Cloud::Aws => [
            Place {
                path: "/latest/meta-data/tags/instance/dawnkey-endpoints",
                read: value,
            },
            Place {
                path: "/latest/user-data",
                read: user_data,
            },
        ],
        Cloud::Azure => [
            Place {
                path: "/metadata/instance/compute/tagsList?api-version=2021-01-01&format=json",
                read: tags_list,
            },
            Place {
                path: "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
                read: encoded_user_data,
            },
        ],
        Cloud::Gcp => [
            Place {
                path: "/computeMetadata/v1/instance/attributes/dawnkey-endpoints",
                read: value,
            },
            Place {
                path: "/computeMetadata/v1/project/attributes/dawnkey-endpoints",
                read: value,
            },
        ],
        Cloud::OpenStack => [
            Place {
                path: "/openstack/latest/meta_data.json",
                read: meta_data,
            },
            Place {
                path: "/openstack/latest/user_data",
                read: user_data,
            },
        ],
    }
}

/// A value that is nothing but endpoints.
fn value(body: &[u8]) -> Vec<Endpoint> {
    Endpoint::list(&String::from_utf8_lossy(body))
}

/// A line `dawnkey-endpoints=…` of user data; behind `#` too, so that scripts and cloud-config can carry it.
fn user_data(body: &[u8]) -> Vec<Endpoint> {
    let text = String::from_utf8_lossy(body);
    let mut lines = text.lines().filter_map(|line| {
        let line = line.trim_start_matches(|c: char| c == '#' || c.is_whitespace());
        let value = line.strip_prefix(KEY)?.trim_start().strip_prefix('=')?;
        Some(Endpoint::list(value))
    });
    lines.next().unwrap_or_default()
}

/// Azure gives user data in Base64.
fn encoded_user_data(body: &[u8]) -> Vec<Endpoint> {
    let decoded = STANDARD.decode(body.trim_ascii());
    decoded.map_or_else(|_| Vec::new(), |text| user_data(&text))
}

/// Azure's list of `{"name": …, "value": …}`.
fn tags_list(body: &[u8]) -> Vec<Endpoint> {
    let Ok(Value::Array(tags)) = serde_json::from_slice(body) else {
        return Vec::new();
    };
    let mut named = tags
        .iter()
        .filter(|tag| tag.get("name").and_then(Value::as_str) == Some(KEY));
    let value = named.next().and_then(|tag| tag.get("value")?.as_str());
    value.map_or_else(Vec::new, Endpoint::list)
}

/// OpenStack's `{"meta": {KEY: …}}`.
fn meta_data(body: &[u8]) -> Vec<Endpoint> {
    let Ok(data) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let value = data.get("meta").and_then(|meta| meta.get(KEY)?.as_str());
    value.map_or_else(Vec::new, Endpoint::list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_of_every_kind_can_carry_the_line() {
        let one = [Endpoint {
            host: "10.0.0.1".into(),
            port: 8443,
        }];
        for text in [
            "dawnkey-endpoints=10.0.0.1:8443",
            "#!/bin/sh\n# dawnkey-endpoints = 10.0.0.1:8443\necho\n",
            "#cloud-config\n#dawnkey-endpoints=10.0.0.1:8443 \nusers: []\n",
        ] {
            assert_eq!(user_data(text.as_bytes()), one, "{text}");
        }
        for text in ["", "dawnkey-endpointsx=10.0.0.1:8443", "\u{1f}\u{8b}gzip"] {
            assert!(user_data(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(encoded_user_data(b"***").is_empty());
    }

    #[test]
    fn json_of_another_shape_names_nothing() {
        for body in [
            "",
            "[",
            "{}",
            "[1]",
            r#"[{"name":"dawnkey-endpoints"}]"#,
            r#"[{"name":"dawnkey-endpoints","value":7}]"#,
            r#"{"meta":{"dawnkey-endpoints":["10.0.0.1:1"]}}"#,
            r#"{"meta":7}"#,
        ] {
            assert!(tags_list(body.as_bytes()).is_empty(), "{body}");
            assert!(meta_data(body.as_bytes()).is_empty(), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(tags_list(deep.as_bytes()).is_empty());
    }
}
