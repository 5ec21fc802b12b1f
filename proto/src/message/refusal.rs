//! A refusal: a stable reason, what was found, the way out.

use super::{MessageError, Reason, field, printable};
use crate::wire;

/// When a refused request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before something has been changed.
    Never,
    /// After so many seconds.
    After(u32),
}

/// A refusal with its reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub reason: Reason,
    /// What was found and what was expected.
    pub detail: String,
    /// What would make it pass.
    pub remedy: String,
    /// Whether trying again can help.
    pub retry: Retry,
}

impl Refusal {
    /// The reason's stable name, `pcr-mismatch`.
    #[must_use]
    pub fn code(&self) -> String {
        reason_code(self.reason)
    }
}

/// A reason's stable name: `pcr-mismatch` for `REASON_PCR_MISMATCH`.
#[must_use]
pub fn reason_code(reason: Reason) -> String {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_")
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('_', "-")
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.detail)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl TryFrom<wire::Refuse> for Refusal {
    type Error = MessageError;

    fn try_from(given: wire::Refuse) -> Result<Self, MessageError> {
        let reason = Reason::try_from(given.reason).unwrap_or(Reason::Unspecified);
        if reason == Reason::Unspecified {
            return Err(field(
                "Refuse",
                "reason",
                format!("unknown code {}", given.reason),
            ));
        }
        Ok(Self {
            reason,
            detail: printable(&given.detail),
            remedy: printable(&given.remedy),
            retry: match given.retry_after_seconds {
                0 => Retry::Never,
                seconds => Retry::After(seconds),
            },
        })
    }
}

impl From<Refusal> for wire::Refuse {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.into(),
            detail: refusal.detail,
            remedy: refusal.remedy,
            retry_after_seconds: match refusal.retry {
                Retry::Never => 0,
                Retry::After(seconds) => seconds.max(1),
            },
        }
    }
}
