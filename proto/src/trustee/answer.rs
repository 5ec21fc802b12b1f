//! The answers of a KBS that are no key: a nonce, an acceptance, an error.

use serde::Deserialize;

/// Most characters of a nonce. Trustee's has 44.
const MAX_NONCE: usize = 256;
/// Most characters of an error's kind and text that are kept.
const MAX_TEXT: usize = 200;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is not the JSON object of this answer.
    #[error("the answer to {request} is not the JSON object that it should be")]
    Json {
        /// What was asked.
        request: &'static str,
    },
    /// The nonce is no base64 of a sane length.
    #[error("the nonce is no base64 text of 1 to {MAX_NONCE} characters")]
    Nonce,
    /// Another digest than ours is asked for.
    #[error("the service asks for the digest {found:?}; SHA-384 is made")]
    Digest {
        /// Which.
        found: String,
    },
}

/// The service's challenge, base64 as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

#[derive(Deserialize)]
struct Challenge {
    nonce: String,
    #[serde(default, rename = "extra-params")]
    extra: serde_json::Value,
}

impl Nonce {
    /// From the answer to the first request.
    ///
    /// # Errors
    /// [`AnswerError`]: it is no challenge, or one that asks for another digest.
    pub fn parse(answer: &[u8]) -> Result<Self, AnswerError> {
        let wrong = |_| AnswerError::Json { request: "auth" };
        let challenge: Challenge = serde_json::from_slice(answer).map_err(wrong)?;
        let digest = challenge.extra.get("selected-hash-algorithm");
        if let Some(found) = digest.filter(|found| {
            let name = found.as_str().unwrap_or_default();
            !name.eq_ignore_ascii_case("sha384") && !name.eq_ignore_ascii_case("sha-384")
        }) {
            let found = printable(found.as_str().unwrap_or("not a text"));
            return Err(AnswerError::Digest { found });
        }
        let nonce = challenge.nonce;
        let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        let good = nonce.trim_end_matches('=').bytes().all(base64)
            && (1..=MAX_NONCE).contains(&nonce.len());
        good.then_some(Self(nonce)).ok_or(AnswerError::Nonce)
    }

    /// As it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Accepted {
    token: String,
}

/// Whether the answer to the second request is an acceptance. Its token is not needed: the connection's cookie stands for it.
///
/// # Errors
/// It is none.
pub fn accepted(answer: &[u8]) -> Result<(), AnswerError> {
    let accepted: Result<Accepted, _> = serde_json::from_slice(answer);
    match accepted {
        Ok(accepted) if !accepted.token.is_empty() => Ok(()),
        _ => Err(AnswerError::Json { request: "attest" }),
    }
}

/// What a KBS says when it says no; nothing of it has to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The last part of the error's type, `PolicyDeny`.
    pub kind: String,
    /// For people.
    pub detail: String,
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
}

impl Problem {
    /// From the body of an answer with a status that is no success; what is no error of the protocol says nothing.
    #[must_use]
    pub fn parse(answer: &[u8]) -> Self {
        let error: Result<Error, _> = serde_json::from_slice(answer);
        match error {
            Ok(Error { kind, detail }) => Self {
                kind: printable(kind.rsplit('/').next().unwrap_or_default()),
                detail: printable(&detail),
            },
            Err(_) => Self {
                kind: "unknown".into(),
                detail: "no error of the protocol".into(),
            },
        }
    }
}

fn printable(text: &str) -> String {
    let text: String = text.chars().take(MAX_TEXT).collect();
    crate::message::printable(&text)
}
