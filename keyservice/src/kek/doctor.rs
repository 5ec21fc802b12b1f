//! Proving a provider live: it does what it must, and refuses what it must refuse.

use super::RingError;
use super::seat::Seat;
use dawnkey_kek::{Aad, Cause, Finding, KekError, Operation, Retry};
use dawnkey_secret::Dek;
use serde::Serialize;
use uuid::Uuid;

/// What was found of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// Its name.
    pub provider: String,
    /// Its kind.
    pub kind: String,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// Whether everything is as it must be.
    #[must_use]
    pub fn good(&self) -> bool {
        self.findings.iter().all(|finding| finding.good)
    }
}

/// A DEK that was never used for anything, with a purpose that nothing has.
fn sample() -> Result<(Dek, Aad), RingError> {
    let mut id = [0; 16];
    let random = |bytes: &mut [u8]| aws_lc_rs::rand::fill(bytes).map_err(|_| RingError::NoRandom);
    random(&mut id)?;
    let dek = Dek::fill(|bytes| random(bytes))?;
    let id = uuid::Builder::from_random_bytes(id).into_uuid();
    Ok((dek, Aad::new(id, 1)))
}

/// Wraps a sample and unwraps it.
pub(super) async fn round_trip(seat: &Seat) -> Result<(), RingError> {
    let (dek, aad) = sample()?;
    seat.wrap(&dek, &aad).await.map(drop)
}

/// Looks at everything that can be looked at without harm.
pub async fn examine(seat: &Seat) -> Examination {
    let mut findings = vec![capabilities(seat)];
    let probed = seat.within(Operation::Inspect, seat.provider().probe());
    match probed.await {
        Ok(probe) => findings.extend(probe.findings),
        Err(error) => findings.push(bad("look at the key", &error)),
    }
    match proofs(seat).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(bad("round trip", &error)),
    }
    Examination {
        provider: seat.name().to_owned(),
        kind: seat.kind().to_owned(),
        findings,
    }
}

fn capabilities(seat: &Seat) -> Finding {
    let can = seat.capabilities();
    let yes = |can: bool| if can { "yes" } else { "no" };
    let custody = match can.custody {
        dawnkey_kek::Custody::Kms => "at the KMS",
        dawnkey_kek::Custody::ServiceMemory => "in this service's memory",
    };
    Finding {
        subject: "capabilities".into(),
        good: true,
        detail: format!(
            "associated data at the KMS: {}; key: {custody}; rotation: {}; attested release: {}",
            yes(can.aad),
            yes(can.rotation),
            yes(can.attested_release)
        ),
    }
}

fn bad(subject: &str, error: &dyn std::fmt::Display) -> Finding {
    finding(subject, false, error.to_string())
}

fn finding(subject: &str, good: bool, detail: String) -> Finding {
    Finding {
        subject: subject.to_owned(),
        good,
        detail,
    }
}

async fn proofs(seat: &Seat) -> Result<Vec<Finding>, RingError> {
    let (dek, aad) = sample()?;
    let call = seat.provider().wrap(&dek, &aad);
    let blob = seat.within(Operation::Wrap, call).await?.blob;
    let same = seat.unwrap(&blob, &aad).await? == dek;
    let told = if same {
        "wrapped and unwrapped"
    } else {
        "another DEK came back"
    };
    let mut findings = vec![finding("round trip", same, told.into())];
    let volume = Aad::new(Uuid::from_u128(!aad.volume.as_u128()), aad.epoch);
    let epoch = Aad::new(aad.volume, 2);
    let mut changed = blob.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    for (subject, blob, aad) in [
        ("wrong volume must fail", &blob, &volume),
        ("wrong epoch must fail", &blob, &epoch),
        ("changed blob must fail", &changed, &aad),
    ] {
        findings.push(must_fail(subject, seat.unwrap(blob, aad).await));
    }
    if let Some(other) = seat.provider().with_wrong_key() {
        let call = other.unwrap(&blob, &aad);
        let outcome = seat.within_stranger(call).await;
        findings.push(must_fail("wrong key id must fail", outcome));
    }
    Ok(findings)
}

/// Only a refusal counts; a KMS that did not answer has refused nothing.
fn must_fail(subject: &str, outcome: Result<Dek, KekError>) -> Finding {
    match outcome {
        Ok(_) => finding(subject, false, "it was unwrapped all the same".into()),
        Err(error) if error.cause.retry() == Retry::Later => {
            let text = format!("could not be told, run it again: {error}");
            finding(subject, false, text)
        }
        Err(error) if error.cause == Cause::Credentials => bad(subject, &error),
        Err(error) => finding(subject, true, format!("refused ({})", error.cause.code())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_kek::fake::Fake;
    use std::sync::Arc;
    use std::time::Duration;

    fn seat(fake: &Fake) -> Seat {
        let deadline = Duration::from_secs(2);
        Seat::new(Arc::new(fake.clone()), deadline, false).unwrap()
    }

    #[tokio::test]
    async fn a_good_provider_passes_and_every_proof_is_named() {
        let found = examine(&seat(&Fake::new("a"))).await;
        assert!(found.good(), "{found:?}");
        let subjects: Vec<_> = found.findings.iter().map(|f| f.subject.as_str()).collect();
        for proof in [
            "round trip",
            "wrong volume must fail",
            "wrong epoch must fail",
            "changed blob must fail",
            "wrong key id must fail",
            "key cannot be read",
        ] {
            assert!(subjects.contains(&proof), "{proof}");
        }
    }

    #[tokio::test]
    async fn finds_a_provider_that_only_claims_to_bind_the_volume() {
        let fake = Fake::new("a");
        fake.ignore_aad();
        let found = examine(&seat(&fake)).await;
        let wrong: Vec<_> = found.findings.iter().filter(|f| !f.good).collect();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong.iter().all(|f| f.detail.contains("all the same")));
    }

    #[tokio::test]
    async fn names_the_permission_that_is_missing() {
        let fake = Fake::new("a");
        let permission = Some("kms:Decrypt".to_owned());
        fake.fail(Some(Cause::Denied { permission }));
        let found = examine(&seat(&fake)).await;
        assert!(!found.good());
        let text = format!("{:?}", found.findings);
        assert!(text.contains("needs kms:Decrypt"), "{text}");
    }
}
