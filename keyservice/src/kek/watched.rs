//! A provider under watch: each call has a deadline, a record in the audit log, a count and a time.
//!
//! The record of a call is handed to the log before the call's result is given out, and stands before every record that
//! is appended later. So the verdict's own record, which is waited for, is on disk only if this one is.

use crate::audit::{AuditLog, Entry};
use crate::metrics::Metrics;
use dawnkey_kek::{
    Aad, Capabilities, Cause, Deferred, KekError, Kind, MasterSlot, Operation, Probe, Provider,
    Wrapped,
};
use dawnkey_secret::{DataKey, Dek};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is told of calls.
#[derive(Clone, Default)]
pub struct Watch {
    audit: Option<Arc<AuditLog>>,
    metrics: Arc<Metrics>,
}

impl Watch {
    /// Every call is recorded and counted.
    #[must_use]
    pub const fn new(audit: Arc<AuditLog>, metrics: Arc<Metrics>) -> Self {
        Self {
            audit: Some(audit),
            metrics,
        }
    }

    /// Nobody is told: for calls that have to do with no volume.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }
}

/// A provider whose calls are watched.
pub struct Watched {
    inner: Arc<dyn Provider>,
    deadline: Duration,
    watch: Watch,
}

impl Watched {
    /// Gives every call of `inner` this long and tells `watch` of it.
    #[must_use]
    pub fn new(inner: Arc<dyn Provider>, deadline: Duration, watch: Watch) -> Self {
        Self {
            inner,
            deadline,
            watch,
        }
    }

    fn error(&self, operation: Operation, cause: Cause, detail: &str) -> KekError {
        KekError {
            provider: self.inner.name().to_owned(),
            operation,
            cause,
            detail: detail.to_owned(),
        }
    }

    /// Waits for a call, but not beyond the deadline, and tells of its end.
    async fn call<T>(
        &self,
        operation: Operation,
        aad: Option<&Aad>,
        call: impl Future<Output = Result<T, KekError>>,
    ) -> Result<T, KekError> {
        let mut begun = Begun {
            watched: self,
            operation,
            aad,
            at: Instant::now(),
            told: false,
        };
        let ended = tokio::time::timeout(self.deadline, call).await;
        let seconds = self.deadline.as_secs_f64();
        let result = ended.unwrap_or_else(|_| {
            let detail = format!("deadline_seconds = {seconds}");
            Err(self.error(operation, Cause::Deadline, &detail))
        });
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) => error.cause.code(),
        };
        if !begun.tell(outcome) {
            let detail = "the audit log takes no record, so the result is withheld";
            return Err(self.error(operation, Cause::Unrecorded, detail));
        }
        result
    }
}

/// A call under way. Dropped before its end, it counts as cancelled: another provider was first.
struct Begun<'a> {
    watched: &'a Watched,
    operation: Operation,
    aad: Option<&'a Aad>,
    at: Instant,
    told: bool,
}

impl Begun<'_> {
    /// Whether the record was taken.
    fn tell(&mut self, outcome: &str) -> bool {
        self.told = true;
        let Watched { inner, watch, .. } = self.watched;
        let (operation, event) = match self.operation {
            Operation::Wrap => ("wrap", "kek-wrap"),
            Operation::Unwrap => ("unwrap", "kek-unwrap"),
            Operation::Inspect => ("inspect", ""),
            Operation::Login => ("login", ""),
        };
        let took = self.at.elapsed();
        watch
            .metrics
            .kek_called(inner.name(), operation, outcome, took);
        let (Some(audit), Some(aad)) = (&watch.audit, self.aad) else {
            return true;
        };
        let entry = Entry::new(event)
            .with("provider", inner.name())
            .with("kind", inner.kind().name())
            .with("volume", aad.volume.to_string())
            .with("epoch", aad.epoch)
            .with("outcome", outcome);
        audit.note(entry).is_ok()
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.tell("cancelled");
        }
    }
}

impl Provider for Watched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn derive(&self, aad: &Aad) -> Option<Result<Dek, KekError>> {
        self.inner.derive(aad)
    }

    fn derive_named(&self, name: &str, length: usize) -> Option<Result<DataKey, KekError>> {
        self.inner.derive_named(name, length)
    }

    fn master(&self) -> Option<&MasterSlot> {
        self.inner.master()
    }

    fn wrap<'a>(&'a self, dek: &'a Dek, aad: &'a Aad) -> Deferred<'a, Result<Wrapped, KekError>> {
        Box::pin(self.call(Operation::Wrap, Some(aad), self.inner.wrap(dek, aad)))
    }

    fn unwrap<'a>(&'a self, blob: &'a [u8], aad: &'a Aad) -> Deferred<'a, Result<Dek, KekError>> {
        Box::pin(self.call(Operation::Unwrap, Some(aad), self.inner.unwrap(blob, aad)))
    }

    fn current_version(&self) -> Deferred<'_, Result<Option<String>, KekError>> {
        Box::pin(self.call(Operation::Inspect, None, self.inner.current_version()))
    }

    fn probe(&self) -> Deferred<'_, Result<Probe, KekError>> {
        Box::pin(self.call(Operation::Inspect, None, self.inner.probe()))
    }

    fn with_wrong_key(&self) -> Option<Box<dyn Provider>> {
        self.inner.with_wrong_key()
    }
}

#[cfg(test)]
mod tests;
