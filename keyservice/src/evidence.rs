//! The adapter to `dawnkey-attest`: evidence in, proof or refusal out.

use dawnkey_attest::claims::{Claims, Verified};
use dawnkey_attest::evidence::{Binder, DecodeError, Evidence, Exchange};
use dawnkey_attest::verify::credential::{self, Credential};
use dawnkey_attest::verify::vtpm::VtpmError;
use dawnkey_attest::verify::{Collateral, Crypto, Roots, UnixTime, VerifyError, verify};
use dawnkey_proto::message::{EvidenceItem, Reason, Refusal, Retry};
use jiff::Timestamp;
use std::time::Duration;

/// Evidence that was verified against one binder. The only way to one is [`appraise`].
#[derive(Debug)]
pub struct Appraised {
    claims: Proof,
    /// A TPM's endorsement key, for a challenge.
    ek_public: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Proof {
    Verified(Box<Verified<Claims>>),
    #[cfg(test)]
    Forged(Box<Claims>),
}

impl Appraised {
    /// What the evidence says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        match &self.claims {
            Proof::Verified(verified) => verified.claims(),
            #[cfg(test)]
            Proof::Forged(claims) => claims,
        }
    }

    /// A credential that only the evidence's own TPM can open, for the very key that quoted.
    pub fn challenge(&self, secret: &[u8; 32]) -> Result<Credential, Refusal> {
        #[cfg(test)]
        if matches!(self.claims, Proof::Forged(_)) {
            // The fake TPM "decrypts" by reading the secret as it stands.
            return Ok(Credential {
                id_object: vec![1],
                encrypted_secret: secret.to_vec(),
            });
        }
        let malformed = |e: String| refusal(Reason::EvidenceMalformed, e);
        let (Some(ek_public), Some(tpm)) = (&self.ek_public, &self.claims().tpm) else {
            let kind = &self.claims().kind;
            return Err(malformed(format!(
                "evidence of kind {kind} has no endorsement key to challenge"
            )));
        };
        let name = hex::decode(&tpm.attestation_key_name).map_err(|e| malformed(e.to_string()))?;
        credential::make(ek_public, &name, secret)
            .map_err(|e| malformed(format!("encrypt a challenge to the endorsement key: {e}")))
    }
}

/// Kind of forged evidence in this crate's own tests: claims in JSON behind the binder they are bound to.
#[cfg(test)]
pub(crate) const FORGED: &str = "forged";

/// What a request brought, decoded and not judged.
#[derive(Debug)]
pub enum Presented {
    /// Evidence of one kind.
    Evidence(Evidence),
    /// What only tests present.
    #[cfg(test)]
    Forged(EvidenceItem),
}

impl Presented {
    /// Decodes the one item of evidence that a request may bring.
    pub fn read(items: &[EvidenceItem]) -> Result<Self, Refusal> {
        let [item] = items else {
            let detail = format!("{} items of evidence; one is judged", items.len());
            return Err(refusal(Reason::EvidenceKindNotAllowed, detail));
        };
        #[cfg(test)]
        if item.kind == FORGED {
            return Ok(Self::Forged(item.clone()));
        }
        let decoded = Evidence::decode(&item.kind, &item.payload);
        decoded.map(Self::Evidence).map_err(|e| {
            let reason = match e {
                DecodeError::Kind { .. } => Reason::EvidenceKindNotAllowed,
                _ => Reason::EvidenceMalformed,
            };
            refusal(reason, e.to_string())
        })
    }

    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Evidence(evidence) => Some(evidence),
            #[cfg(test)]
            Self::Forged(_) => None,
        }
    }
}

/// Verifies evidence and its binding to `binder`, as of `now`.
pub fn appraise(
    presented: &Presented,
    binder: &dawnkey_proto::binding::Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: Timestamp,
) -> Result<Appraised, Refusal> {
    let exchange = Exchange(binder.0);
    #[cfg_attr(
        not(test),
        expect(
            clippy::infallible_destructuring_match,
            reason = "tests have another variant"
        )
    )]
    let evidence = match presented {
        Presented::Evidence(evidence) => evidence,
        #[cfg(test)]
        Presented::Forged(item) => return forged(item, &exchange),
    };
    let ek_public = match evidence {
        Evidence::Vtpm(vtpm) => Some(vtpm.ek_public.clone()),
        _ => None,
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let binder = Binder::Exchange(exchange);
    let verified = verify(evidence, &binder, roots, collateral, now)
        .map_err(|e| refusal(reason(&e), e.to_string()))?;
    Ok(Appraised {
        claims: Proof::Verified(Box::new(verified)),
        ek_public,
    })
}

fn refusal(reason: Reason, detail: String) -> Refusal {
    let remedy = match reason {
        Reason::BinderMismatch => {
            "make the quote in this connection for this request; a proxy must pass TLS through"
        }
        Reason::EventLogMismatch => "boot again; the firmware's log must explain every PCR",
        Reason::EvidenceKindNotAllowed => "send one item of evidence: vtpm, snp, tdx or azure",
        _ => "",
    };
    Refusal {
        reason,
        detail,
        remedy: remedy.to_owned(),
        retry: Retry::Never,
    }
}

fn reason(error: &VerifyError) -> Reason {
    match error {
        VerifyError::Vtpm(error) => tpm_reason(error),
        other => match (other.reason_class(), other.crypto()) {
            ("report_data_mismatch", _) => Reason::BinderMismatch,
            ("event_log_mismatch", _) => Reason::EventLogMismatch,
            ("root_not_trusted", _) => Reason::EndorsementUntrusted,
            (_, Crypto::Invalid) => Reason::SignatureInvalid,
            (_, Crypto::NotApplicable) => Reason::EvidenceMalformed,
            (_, Crypto::Valid | Crypto::Unknown) => Reason::EndorsementUntrusted,
        },
    }
}

fn tpm_reason(error: &VtpmError) -> Reason {
    match error {
        VtpmError::BinderMismatch { .. } => Reason::BinderMismatch,
        VtpmError::Signature(_)
        | VtpmError::SchemeMismatch { .. }
        | VtpmError::AttestationKeyAttributes { .. }
        | VtpmError::QualifiedSigner { .. }
        | VtpmError::Magic { .. } => Reason::SignatureInvalid,
        VtpmError::Selection { .. } | VtpmError::BankMissing { .. } => Reason::PcrSelection,
        VtpmError::PcrDigestMismatch { .. } => Reason::PcrMismatch,
        VtpmError::Replay(_) | VtpmError::LogMismatch { .. } => Reason::EventLogMismatch,
        VtpmError::AkCertificate(_) | VtpmError::NotVouchedFor { .. } => {
            Reason::EndorsementUntrusted
        }
        _ => Reason::EvidenceMalformed,
    }
}

#[cfg(test)]
fn forged(item: &EvidenceItem, exchange: &Exchange) -> Result<Appraised, Refusal> {
    let malformed = |_| refusal(Reason::EvidenceMalformed, "forged evidence".into());
    let bound = item.payload.get(..64) == Some(exchange.0.as_slice());
    if !bound {
        return Err(refusal(Reason::BinderMismatch, "forged evidence".into()));
    }
    let claims = serde_json::from_slice(item.payload.get(64..).unwrap_or_default());
    Ok(Appraised::forge(claims.map_err(malformed)?))
}

#[cfg(test)]
impl Appraised {
    pub(crate) fn forge(claims: Claims) -> Self {
        Self {
            claims: Proof::Forged(Box::new(claims)),
            ek_public: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_attest::verify::chain::ChainError;

    fn refused(items: &[EvidenceItem]) -> Reason {
        let binder = dawnkey_proto::binding::Binder([1; 64]);
        let (roots, collateral) = (Roots::default(), Collateral::default());
        Presented::read(items)
            .and_then(|it| appraise(&it, &binder, &roots, &collateral, Timestamp::UNIX_EPOCH))
            .unwrap_err()
            .reason
    }

    fn item(kind: &str, payload: &[u8]) -> EvidenceItem {
        EvidenceItem {
            kind: kind.into(),
            payload: payload.into(),
        }
    }

    #[test]
    fn refuses_evidence_of_an_unknown_kind_or_of_several() {
        assert_eq!(
            refused(&[item("sample", b"")]),
            Reason::EvidenceKindNotAllowed
        );
        let two = [item("vtpm", b""), item("vtpm", b"")];
        assert_eq!(refused(&two), Reason::EvidenceKindNotAllowed);
    }

    #[test]
    fn refuses_evidence_that_does_not_decode() {
        assert_eq!(
            refused(&[item("vtpm", b"\xff\xff")]),
            Reason::EvidenceMalformed
        );
        assert_eq!(refused(&[item("vtpm", b"")]), Reason::EvidenceMalformed);
    }

    #[test]
    fn every_refusal_of_the_verifier_has_its_code() {
        let text = String::new;
        for (error, expected) in [
            (
                VtpmError::BinderMismatch {
                    found: text(),
                    wanted: text(),
                },
                Reason::BinderMismatch,
            ),
            (
                VtpmError::Selection {
                    found: text(),
                    wanted: text(),
                },
                Reason::PcrSelection,
            ),
            (
                VtpmError::BankMissing { bank: "sha256" },
                Reason::PcrSelection,
            ),
            (
                VtpmError::LogMismatch {
                    pcr: 4,
                    replayed: text(),
                    quoted: text(),
                },
                Reason::EventLogMismatch,
            ),
            (
                VtpmError::AkCertificate(ChainError::Missing),
                Reason::EndorsementUntrusted,
            ),
            (
                VtpmError::NotVouchedFor { problem: text() },
                Reason::EndorsementUntrusted,
            ),
            (VtpmError::Magic { found: 1 }, Reason::SignatureInvalid),
            (VtpmError::NotAQuote { found: 1 }, Reason::EvidenceMalformed),
        ] {
            assert_eq!(reason(&VerifyError::Vtpm(error)), expected);
        }
    }
}
