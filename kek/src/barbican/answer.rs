//! What Keystone and Barbican answer, read as the bytes of a stranger.

use crate::rest::Answer;
use crate::{Cause, Operation};
use serde::Deserialize;

/// Keystone's answer to a login.
#[derive(Deserialize)]
pub(super) struct Login {
    pub(super) token: Token,
}

/// What a token is good for.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) issued_at: jiff::Timestamp,
    pub(super) expires_at: jiff::Timestamp,
    #[serde(default)]
    pub(super) roles: Vec<Role>,
    #[serde(default)]
    catalog: Vec<Service>,
}

/// A role in the project.
#[derive(Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region: Option<String>,
    url: String,
}

impl Token {
    /// The key managers of the catalog with this interface, and in this region if one is given.
    pub(super) fn key_managers(&self, interface: &str, region: Option<&str>) -> Vec<&str> {
        let services = self.catalog.iter();
        let right = |endpoint: &&Endpoint| {
            endpoint.interface == interface
                && region.is_none_or(|region| endpoint.region.as_deref() == Some(region))
        };
        services
            .filter(|service| service.kind == "key-manager")
            .flat_map(|service| service.endpoints.iter().filter(right))
            .map(|endpoint| endpoint.url.as_str())
            .collect()
    }
}

/// What Barbican says of a secret, without its bytes.
#[derive(Debug, Deserialize)]
pub(super) struct Secret {
    pub(super) status: String,
    pub(super) secret_type: String,
    pub(super) algorithm: Option<String>,
    pub(super) bit_length: Option<u32>,
    pub(super) expiration: Option<String>,
}

impl Secret {
    /// Why it cannot be a KEK now.
    pub(super) fn problem(&self) -> Option<(Cause, String)> {
        if self.status != "ACTIVE" {
            let what = format!("the secret's status is {:?}", self.status);
            return Some((Cause::Disabled, what));
        }
        let algorithm = self.algorithm.as_deref().unwrap_or_default();
        let aes = algorithm.eq_ignore_ascii_case("aes");
        if self.secret_type != "symmetric" || !aes || self.bit_length != Some(256) {
            let found = format!(
                "the secret is of type {:?}, algorithm {algorithm:?}, {:?} bits",
                self.secret_type, self.bit_length
            );
            let what = format!("{found}; expected type \"symmetric\", algorithm \"aes\", 256 bits");
            return Some((Cause::Unsupported, what));
        }
        None
    }
}

/// Who may read a secret.
#[derive(Deserialize)]
pub(super) struct Acl {
    pub(super) read: Read,
}

/// The part about reading.
#[derive(Deserialize)]
pub(super) struct Read {
    #[serde(rename = "project-access")]
    pub(super) project_access: bool,
    #[serde(default)]
    pub(super) users: Vec<String>,
}

/// What an answer of Keystone that is no 201 means.
pub(super) fn keystone(answer: &Answer) -> (Cause, String) {
    let said = said(answer);
    let cause = match answer.status {
        400 | 401 | 403 => Cause::Credentials,
        // One that was deleted.
        404 if said.contains("Application Credential") => Cause::Credentials,
        // Not Keystone, or not its version 3.
        404 | 300..=399 => Cause::Misconfigured,
        status => other(status, answer),
    };
    (cause, said)
}

/// What an answer of Barbican that is no 200 means. `permission` is the rule of its policy that a 403 asks for.
pub(super) fn barbican(answer: &Answer, operation: Operation, permission: &str) -> (Cause, String) {
    let cause = match answer.status {
        401 => Cause::Credentials,
        403 => Cause::Denied {
            permission: Some(permission.to_owned()),
        },
        404 => Cause::NoSuchKey,
        406 if operation != Operation::Login => Cause::Unsupported,
        status => other(status, answer),
    };
    (cause, said(answer))
}

fn other(status: u16, answer: &Answer) -> Cause {
    match status {
        413 | 429 => Cause::Throttled {
            after: answer.retry_after(),
        },
        500..=599 => Cause::Unreachable,
        _ => Cause::Garbage,
    }
}

/// The status, and the text of Keystone's `{"error": {"message": …}}` or Barbican's `{"description": …}`.
fn said(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Inner {
        message: String,
    }
    #[derive(Deserialize)]
    struct Outer {
        error: Option<Inner>,
        description: Option<String>,
    }
    let status = answer.status;
    let outer: Option<Outer> = serde_json::from_slice(&answer.body).ok();
    let text = outer.and_then(|outer| outer.error.map(|e| e.message).or(outer.description));
    text.map_or_else(
        || format!("status {status}"),
        |text| format!("status {status}: {text}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderMap;
    use zeroize::Zeroizing;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        }
    }

    const LOGIN: &str = r#"{"token":{"issued_at":"2026-01-01T00:00:00.000000Z","expires_at":"2026-01-01T01:00:00.000000Z","roles":[{"id":"1","name":"creator"}],"catalog":[
        {"type":"identity","endpoints":[{"interface":"public","region":"one","url":"https://keystone"}]},
        {"type":"key-manager","endpoints":[
            {"interface":"internal","region":"one","url":"https://internal"},
            {"interface":"public","region":"one","url":"https://one"},
            {"interface":"public","region":null,"url":"https://nowhere"},
            {"interface":"public","region":"two","url":"https://two"}]}]}}"#;

    #[test]
    fn finds_the_key_manager_of_a_region() {
        let login: Login = serde_json::from_str(LOGIN).unwrap();
        let token = login.token;
        assert_eq!(token.key_managers("public", Some("two")), ["https://two"]);
        assert_eq!(token.key_managers("internal", None), ["https://internal"]);
        assert_eq!(token.key_managers("public", None).len(), 3);
        assert!(token.key_managers("admin", None).is_empty());
        assert_eq!(token.roles[0].name, "creator");
    }

    #[test]
    fn hostile_answers_are_no_answers() {
        for body in [
            "",
            "null",
            "{}",
            "{\"token\":null}",
            "{\"token\":{\"issued_at\":1,\"expires_at\":2}}",
            "{\"token\":{\"issued_at\":\"x\",\"expires_at\":\"y\"}}",
            "<html>",
        ] {
            assert!(serde_json::from_str::<Login>(body).is_err(), "{body}");
        }
        for cut in 0..LOGIN.len() {
            assert!(serde_json::from_str::<Login>(&LOGIN[..cut]).is_err());
        }
        for body in ["{\"error\":7}", "[[[", "{\"description\":{}}"] {
            assert_eq!(said(&answer(500, body)), "status 500");
        }
        let wrong = LOGIN.replace("\"endpoints\":[{", "\"endpoints\":{");
        assert!(serde_json::from_str::<Login>(&wrong).is_err());
    }

    fn secret(change: &str) -> Option<Cause> {
        let base = r#"{"status":"ACTIVE","secret_type":"symmetric","algorithm":"aes","bit_length":256,"expiration":null}"#;
        let (from, to) = change.split_once("=>").unwrap_or(("\u{0}", ""));
        let secret: Secret = serde_json::from_str(&base.replace(from, to)).unwrap();
        secret.problem().map(|(cause, _)| cause)
    }

    #[test]
    fn only_an_active_aes_key_of_256_bits_is_a_kek() {
        assert_eq!(secret(""), None);
        assert_eq!(secret("\"aes\"=>\"AES\""), None);
        assert_eq!(secret("ACTIVE=>ERROR"), Some(Cause::Disabled));
        assert_eq!(secret("ACTIVE=>PENDING"), Some(Cause::Disabled));
        for change in [
            "symmetric=>opaque",
            "256=>128",
            "\"aes\"=>null",
            "256=>null",
        ] {
            assert_eq!(secret(change), Some(Cause::Unsupported), "{change}");
        }
    }

    #[test]
    fn every_refusal_has_its_cause() {
        let body = r#"{"code":403,"title":"Forbidden","description":"Secret payload retrieval attempt not allowed"}"#;
        let (cause, said) = barbican(&answer(403, body), Operation::Unwrap, "secret:decrypt");
        let permission = Some("secret:decrypt".to_owned());
        assert_eq!(cause, Cause::Denied { permission });
        assert!(said.contains("retrieval"));
        for (status, expected) in [
            (401, Cause::Credentials),
            (404, Cause::NoSuchKey),
            (406, Cause::Unsupported),
            (429, Cause::Throttled { after: None }),
            (503, Cause::Unreachable),
            (204, Cause::Garbage),
        ] {
            let (cause, _) = barbican(&answer(status, ""), Operation::Unwrap, "");
            assert_eq!(cause, expected, "{status}");
        }
        assert_eq!(keystone(&answer(401, "")).0, Cause::Credentials);
        assert_eq!(keystone(&answer(404, "")).0, Cause::Misconfigured);
        let deleted = r#"{"error":{"code":404,"message":"Could not find Application Credential: x.","title":"Not Found"}}"#;
        assert_eq!(keystone(&answer(404, deleted)).0, Cause::Credentials);
        assert_eq!(keystone(&answer(500, "")).0, Cause::Unreachable);
    }
}
