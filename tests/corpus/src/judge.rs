//! Verdict, reason and state of signatures of a case.

use dawnkey_attest::verify::{Crypto, verify};
use serde_json::Value;

use crate::{
    case::{Case, CorpusError},
    decode,
    input::Input,
    policy::Demands,
};

/// What a case came to, in the words of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// `accept`, `reject` or `indeterminate`.
    pub verdict: &'static str,
    /// `ok` or why not.
    pub reason: &'static str,
    /// Whether all signatures, chains and bindings hold.
    pub crypto: &'static str,
    /// What the evidence says.
    pub decoded: Value,
    /// The refusal in full.
    pub detail: Option<String>,
}

/// Judges a case.
///
/// # Errors
/// [`CorpusError`] where the case is not of the known format.
pub fn judge(case: &Case) -> Result<Outcome, CorpusError> {
    let input = Input::of(case)?;
    let demands = Demands::of(case)?;
    let verified = verify(
        &input.evidence,
        &input.binder,
        &input.roots,
        &input.collateral,
        input.now,
    );
    Ok(match verified {
        Ok(verified) => {
            let claims = verified.claims();
            let crypto = claims
                .part
                .as_ref()
                .map_or(Crypto::Valid, |part| part.crypto());
            let refusal = demands.judge(claims);
            Outcome {
                verdict: if refusal.is_some() {
                    "reject"
                } else {
                    "accept"
                },
                reason: refusal.as_ref().map_or("ok", |refusal| refusal.reason),
                crypto: crypto.name(),
                decoded: decode::of_claims(case, &input, claims),
                detail: refusal.map(|refusal| refusal.detail),
            }
        }
        Err(error) => Outcome {
            verdict: if error.crypto() == Crypto::Unknown {
                "indeterminate"
            } else {
                "reject"
            },
            reason: error.reason_class(),
            crypto: error.crypto().name(),
            decoded: decode::of_refused(case, &input),
            detail: Some(error.to_string()),
        },
    })
}
