//! Changing a record and writing it down, so that neither stands without the other.

use super::Desk;
use crate::audit::{Entry, LogError};
use crate::records::Versioned;
use crate::report::{self, Event};
use crate::volume::VolumeRecord;
use dawnkey_proto::message::{Reason, Refusal, Retry};
use dawnkey_store::StoreError;

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the record first: decide again.
    #[error("the record was changed by somebody else")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The audit log failed; the change was taken back.
    #[error(transparent)]
    Audit(LogError),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict,
            other => Self::Store(other),
        }
    }
}

/// A refusal because the store does not work.
pub(super) fn store_refusal(error: &StoreError) -> Refusal {
    report::emit(&Event::StoreFailed { error });
    Refusal {
        reason: Reason::StoreUnavailable,
        detail: "the key service's store does not work".into(),
        remedy: "see the key service's log".into(),
        retry: Retry::After(5),
    }
}

/// A refusal because the audit log does not work.
pub(super) fn audit_refusal(error: &LogError) -> Refusal {
    report::emit(&Event::AuditFailed { error });
    Refusal {
        reason: Reason::Internal,
        detail: "the key service cannot record its verdicts, so it gives none".into(),
        remedy: "see the key service's log".into(),
        retry: Retry::After(30),
    }
}

impl Desk {
    /// Swaps a volume's record and appends the audit record. When that fails, the old record is put back.
    pub(super) async fn commit(
        &self,
        before: &Versioned<VolumeRecord>,
        after: &VolumeRecord,
        entry: Entry,
    ) -> Result<(), CommitError> {
        if self.audit.head().is_none() {
            return Err(CommitError::Audit(LogError::Closed));
        }
        let version = self.records.swap_volume(before.version, after).await?;
        if let Err(error) = self.audit.append(entry).await {
            let back = self.records.swap_volume(version, &before.record).await;
            if let Err(error) = back {
                report::emit(&Event::StoreFailed { error: &error });
            }
            return Err(CommitError::Audit(error));
        }
        Ok(())
    }
}
