//! One provider in its place in the ring: enforced capabilities, a deadline, and a memory of failures.

use super::circuit::{Circuit, Readiness};
use super::{RingError, Wrap};
use dawnkey_kek::{Aad, Capabilities, Cause, KekError, MasterSlot, Operation, Provider};
use dawnkey_secret::Dek;
use std::sync::Arc;
use std::time::Duration;

/// A provider that may be used.
pub struct Seat {
    provider: Arc<dyn Provider>,
    deadline: Duration,
    circuit: Circuit,
}

impl Seat {
    /// Takes a provider in. One that authenticates no associated data needs `allow_without_aad`.
    ///
    /// # Errors
    /// [`Cause::Misconfigured`].
    pub fn new(
        provider: Arc<dyn Provider>,
        deadline: Duration,
        allow_without_aad: bool,
    ) -> Result<Self, KekError> {
        if !provider.capabilities().aad && !allow_without_aad {
            return Err(KekError {
                provider: provider.name().to_owned(),
                operation: Operation::Login,
                cause: Cause::Misconfigured,
                detail: "its KMS does not bind a wrapped DEK to its volume; set allow_without_aad = true to accept that"
                    .into(),
            });
        }
        Ok(Self {
            provider,
            deadline,
            circuit: Circuit::default(),
        })
    }

    /// The provider's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.provider.name()
    }

    /// The provider's kind, `aws-kms`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.provider.kind().name()
    }

    /// What the provider can.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    /// What is to be expected of it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self.master() {
            Some(slot) if !slot.filled() => Readiness::Waiting,
            _ => self.circuit.readiness(),
        }
    }

    /// Where its master secret is or will be, if it lives by one.
    #[must_use]
    pub fn master(&self) -> Option<&MasterSlot> {
        self.provider.master()
    }

    /// It has its master secret now: failures before that say nothing any more.
    pub(super) fn given(&self) {
        self.circuit.note(&Ok(()));
    }

    /// Why it fails, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.circuit.failure()
    }

    /// The provider itself.
    #[must_use]
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// The DEK of a purpose, where the KEK determines it.
    pub(super) fn derive(&self, aad: &Aad) -> Option<Result<Dek, KekError>> {
        self.provider.derive(aad)
    }

    /// Wraps a DEK and proves that it comes back; what the provider derives needs no wrap.
    pub(super) async fn wrap(&self, dek: &Dek, aad: &Aad) -> Result<Wrap, RingError> {
        let made = |blob, version| Wrap {
            provider: self.name().to_owned(),
            blob,
            version,
        };
        if let Some(derived) = self.derive(aad)
            && derived? == *dek
        {
            return Ok(made(Vec::new(), None));
        }
        let call = self.provider.wrap(dek, aad);
        let wrapped = self.within(Operation::Wrap, call).await?;
        if self.unwrap(&wrapped.blob, aad).await? != *dek {
            return Err(RingError::Unproven(self.name().to_owned()));
        }
        Ok(made(wrapped.blob, wrapped.version))
    }

    /// Unwraps a DEK.
    pub(super) async fn unwrap(&self, blob: &[u8], aad: &Aad) -> Result<Dek, KekError> {
        let call = self.provider.unwrap(blob, aad);
        self.within(Operation::Unwrap, call).await
    }

    /// The newest version of the KEK, where it has versions.
    pub(super) async fn version(&self) -> Result<Option<String>, KekError> {
        let call = self.provider.current_version();
        self.within(Operation::Inspect, call).await
    }

    /// Makes a call of a stranger within the deadline: how it ends says nothing of this provider.
    pub(super) async fn within_stranger<T>(
        &self,
        call: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        let ended = tokio::time::timeout(self.deadline, call).await;
        ended.unwrap_or_else(|_| Err(self.late(Operation::Unwrap)))
    }

    fn late(&self, operation: Operation) -> KekError {
        KekError {
            provider: self.name().to_owned(),
            operation,
            cause: Cause::Deadline,
            detail: format!("{} ms", self.deadline.as_millis()),
        }
    }

    /// Makes a call within the deadline and takes note of its end.
    pub(super) async fn within<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        let ended = tokio::time::timeout(self.deadline, call).await;
        let outcome = ended.unwrap_or_else(|_| Err(self.late(operation)));
        self.circuit.note(&outcome);
        outcome
    }
}
