//! Why there was no unlock: one error per step, and one exit code per kind of failure.

use crate::connect::ConnectError;
use crate::lease::LeaseError;
use crate::retry::Again;
use crate::service::CallError;
use crate::unlock::Trace;
use dawnkey_attest::collect::CollectError;
use dawnkey_dm::MapError;
use dawnkey_proto::message::{Refusal, Retry};
use dawnkey_proto::seal::SealError;
use std::time::Duration;
use uuid::Uuid;

/// The service's verdict does not fit what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The disk holds a header, and the service grants a format.
    #[error("asked to unlock a volume, got a provisioning grant; nothing is formatted")]
    ProvisionForUnlock,
    /// The disk is blank, and the service releases the key of a volume.
    #[error("asked to provision a blank disk, got the key of a volume that is not there")]
    ReleaseForProvision,
    /// A challenge to enrol a key, and the evidence has none.
    #[error("evidence of kind {kind} has no key to enrol, got a challenge to enrol one")]
    NothingToEnrol {
        /// Kind of evidence sent.
        kind: &'static str,
    },
    /// A second challenge after the first was answered.
    #[error("answered a challenge and got another instead of a verdict")]
    SecondChallenge,
    /// The key is for another epoch.
    #[error(
        "the header is sealed under epoch {seen}, the service released a key of epoch {released}"
    )]
    Epoch {
        /// In the header.
        seen: u32,
        /// In the answer.
        released: u32,
    },
    /// The generation does not grow.
    #[error("the header has generation {seen}, the service released {released}; it must grow")]
    Generation {
        /// In the header.
        seen: u64,
        /// In the answer.
        released: u64,
    },
    /// The sealed DEK does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Why one attempt to get a verdict, or to confirm, failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There was no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There was no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There was no evidence.
    #[error("collect evidence: {0}")]
    Collect(#[from] CollectError),
    /// A lease that is to be held could not be left for its holder.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The answer was no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The disk is blank, and nobody gives a grant to format it.
    #[error(
        "provision the volume: its disk is blank, and a key broker does not know whether it ever was initialised; if this is \
         its first boot, let the measured file say `service.provision = true`"
    )]
    NoGrant,
    /// The answer was not one to what was asked.
    #[error("protocol violated by the service: {0}")]
    Protocol(#[from] ProtocolError),
}

impl AskError {
    /// Whether trying again can help.
    #[must_use]
    pub fn again(&self) -> Again {
        let transport = match self {
            Self::Connect(error) => error.is_transport(),
            Self::Call(CallError::Denied { status: 404, .. }) => false,
            Self::Call(CallError::Denied { .. }) => return Again::Few,
            Self::Call(error) => error.is_transport(),
            Self::Collect(_) | Self::Lease(_) | Self::Protocol(_) | Self::NoGrant => false,
            Self::Refused(refusal) => match refusal.retry {
                Retry::Never => false,
                Retry::After(seconds) => return Again::After(Duration::from_secs(seconds.into())),
            },
        };
        if transport { Again::Soon } else { Again::Never }
    }
}

/// An error of the mapper with its causes: each of them says only its own part.
pub(crate) fn chain(error: &MapError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// What became of the mappings that must not be used.
#[derive(Debug, Default)]
pub struct Undone {
    /// How many are closed.
    pub closed: usize,
    /// Why others could not be closed.
    pub left: Vec<MapError>,
}

/// To stand behind another text; nothing if there was no mapping.
impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.closed {
            0 => {}
            1 => f.write_str("; the mapping is closed again")?,
            more => write!(f, "; {more} mappings are closed again")?,
        }
        for error in &self.left {
            write!(f, "; a mapping could not be closed again: {}", chain(error))?;
        }
        Ok(())
    }
}

/// Why the node has none of its volumes: one that it needs failed, or its boot could not be closed.
#[derive(Debug, thiserror::Error)]
#[error("{error}{undone}")]
pub struct Stopped {
    /// The volume, if it was one.
    pub volume: Option<Uuid>,
    /// How it failed.
    pub error: UnlockError,
    /// What became of the volumes that were mapped.
    pub undone: Undone,
}

/// Why there was no unlock of a volume.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// No key pair for this boot.
    #[error(transparent)]
    Keys(SealError),
    /// The volume was not found, or cannot be used.
    #[error("{}", chain(.0))]
    Find(MapError),
    /// No verdict, or a bad one.
    #[error("ask the key service (attempt {attempts}, {} ms): {error}", spent.as_millis())]
    Ask {
        /// Attempts made.
        attempts: u32,
        /// Time they took.
        spent: Duration,
        /// How the last failed.
        error: Box<AskError>,
        /// What the attempts leave for the report.
        trace: Box<Trace>,
    },
    /// Policy wants the lease held, and nobody would.
    #[error(
        "hold the lease of the volume: policy wants that, and `hold.enabled` is false on this node; enable it and \
             run dawnkey-hold@, or let policy say `hold = false`"
    )]
    NoHolder,
    /// The volume has no disk.
    #[error("open the volume: it is a secret and has no disk")]
    NoDisk,
    /// The disk shows another header than the one that a grant was judged for.
    #[error(
        "open the volume with the operator's grant: its header has changed since the grant was judged"
    )]
    OtherHeader,
    /// Nobody has answered: no service, no operator.
    #[error("wait for the key service or an operator: neither came within {} s{}", waited.as_secs(), behind(before.as_deref()))]
    Abandoned {
        /// How long both were waited for.
        waited: Duration,
        /// How the service's budget had ended.
        before: Option<Box<UnlockError>>,
    },
    /// The key could not be handed on.
    #[error("hand the secret on: {0}")]
    Hand(std::io::Error),
    /// The volume could not be opened.
    #[error("{}", chain(.0))]
    Open(MapError),
    /// The volume could not be made.
    #[error("{}", chain(.0))]
    Format(MapError),
    /// This boot could ask again, so the volume must not be used.
    #[error("close this boot: {0}")]
    CloseBoot(CollectError),
    /// The service does not know that the volume is in use, so it must not be used.
    #[error("confirm the unlock (attempt {attempts}, {} ms): {error}", spent.as_millis())]
    Confirm {
        /// Attempts made.
        attempts: u32,
        /// Time they took.
        spent: Duration,
        /// How the last failed.
        error: Box<AskError>,
    },
}

/// How the service's budget had ended, to stand behind another text.
fn behind(before: Option<&UnlockError>) -> String {
    before.map_or_else(String::new, |before| format!("; before that: {before}"))
}

impl UnlockError {
    /// Whether no verdict was got of the service: an operator may help. A final refusal is a verdict.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        let Self::Ask { error, .. } = self else {
            return false;
        };
        match &**error {
            AskError::Connect(_) | AskError::Call(_) | AskError::Protocol(_) => true,
            AskError::Refused(refusal) => refusal.retry != Retry::Never,
            AskError::Collect(_) | AskError::Lease(_) | AskError::NoGrant => false,
        }
    }

    /// The process's exit code, one per kind of failure (docs/agent.md).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Keys(_) => 70,
            Self::Find(_) => 30,
            Self::Ask { error, .. } => match &**error {
                AskError::Collect(_) => 10,
                AskError::Connect(e) if e.is_transport() => 20,
                AskError::Call(e) if e.is_transport() => 20,
                AskError::Refused(_) | AskError::Call(CallError::Denied { .. }) => 21,
                AskError::NoGrant => 30,
                AskError::Lease(_) => 42,
                AskError::Connect(_) | AskError::Call(_) | AskError::Protocol(_) => 22,
            },
            Self::NoHolder => 42,
            Self::Open(_) | Self::Format(_) | Self::NoDisk | Self::OtherHeader | Self::Hand(_) => {
                31
            }
            Self::Abandoned { .. } => 20,
            Self::CloseBoot(_) => 40,
            Self::Confirm { error, .. } => match &**error {
                AskError::Lease(_) => 42,
                _ => 41,
            },
        }
    }

    /// The service's refusal, if that is what it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Ask { error, .. } | Self::Confirm { error, .. } => match &**error {
                AskError::Refused(refusal) => Some(refusal),
                _ => None,
            },
            _ => None,
        }
    }

    /// The step that failed, as the report names it.
    #[must_use]
    pub fn step(&self) -> &'static str {
        match self {
            Self::Keys(_) => "keys",
            Self::Find(_) => "find",
            Self::Ask { error, .. } => match &**error {
                AskError::Collect(_) => "collect",
                AskError::Connect(_) => "connect",
                AskError::Lease(_) => "hold",
                AskError::NoGrant => "find",
                AskError::Call(_) | AskError::Refused(_) | AskError::Protocol(_) => "ask",
            },
            Self::NoHolder => "hold",
            Self::Open(_) | Self::NoDisk | Self::OtherHeader => "open",
            Self::Abandoned { .. } => "recovery",
            Self::Hand(_) => "hand",
            Self::Format(_) => "format",
            Self::CloseBoot(_) => "close-boot",
            Self::Confirm { .. } => "confirm",
        }
    }
}
