//! Whether a provider has been answering: one that fails is tried last, and comes back by itself.

use dawnkey_kek::{KekError, Retry};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a provider that failed is tried last.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// What is to be expected of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// The last call worked, or none was made.
    Ready,
    /// It failed a while ago; the next call tells.
    Trying,
    /// It failed just now; others are asked first.
    Failing,
    /// It has not been given its master secret.
    Waiting,
}

impl Readiness {
    /// As reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Trying => "trying",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
        }
    }
}

/// Remembers the last failure of one provider.
#[derive(Debug, Default)]
pub(super) struct Circuit(Mutex<Option<(Instant, KekError)>>);

impl Circuit {
    /// Takes note of how a call ended. What is wrong with one blob says nothing of the provider.
    pub(super) fn note<T>(&self, outcome: &Result<T, KekError>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => *last = None,
            Err(error) if error.cause.retry() == Retry::Never => {}
            Err(error) => *last = Some((Instant::now(), error.clone())),
        }
    }

    /// What is to be expected.
    pub(super) fn readiness(&self) -> Readiness {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            None => Readiness::Ready,
            Some((at, _)) if at.elapsed() < COOL_DOWN => Readiness::Failing,
            Some(_) => Readiness::Trying,
        }
    }

    /// Why it fails, if it does.
    pub(super) fn failure(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(_, error)| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_kek::{Cause, Operation};

    fn failed(cause: Cause) -> Result<(), KekError> {
        Err(KekError {
            provider: "p".into(),
            operation: Operation::Unwrap,
            cause,
            detail: String::new(),
        })
    }

    #[test]
    fn a_failure_shows_until_the_next_success_and_a_bad_blob_is_none() {
        let circuit = Circuit::default();
        circuit.note(&failed(Cause::NotAuthentic));
        assert_eq!(circuit.readiness(), Readiness::Ready);
        circuit.note(&failed(Cause::Unreachable));
        assert_eq!(circuit.readiness(), Readiness::Failing);
        assert!(circuit.failure().unwrap().contains("cannot be reached"));
        circuit.note(&Ok(()));
        assert_eq!(circuit.readiness(), Readiness::Ready);
    }
}
