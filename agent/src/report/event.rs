//! Everything that the agent may say while it runs.

use dawnkey_attest::collect::Register;
use dawnkey_dm::{MappedName, Progress, Ready, Wanted};
use dawnkey_proto::recovery::KeyId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// Takes events.
pub type Sink<'a> = &'a mut dyn FnMut(&Event);

/// Everything that the agent may say while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It runs.
    Started {
        /// How many volumes are to be unlocked.
        volumes: usize,
        /// The node's name.
        node: String,
    },
    /// `TSS2_LOG` is not `all+none`: the TSS libraries may write to the console by themselves.
    TssMayLog,
    /// What kind of machine this is, where the configuration leaves that open.
    PlatformFound {
        /// Kind of evidence.
        kind: &'static str,
        /// Sign it was found by.
        sign: &'static str,
    },
    /// The next volume's turn: what follows is about it, up to `mapped`.
    Opening {
        /// Which.
        volume: Uuid,
        /// As what it will be mapped.
        name: MappedName,
    },
    /// The disk holds the volume.
    DiskFound {
        /// Generation that its header claims.
        generation: u64,
        /// Epoch that its header claims.
        epoch: u32,
    },
    /// The disk that may be formatted is blank.
    DiskBlank,
    /// The disk is not there; it may come.
    DiskAwaited {
        /// What was looked for.
        problem: String,
        /// How long it is waited for.
        wait: Duration,
    },
    /// The pinned service is at the other end.
    Connected {
        /// Where.
        endpoint: String,
        /// TCP and TLS together.
        elapsed: Duration,
    },
    /// There is evidence for this connection.
    EvidenceCollected {
        /// Of which kind.
        kind: &'static str,
        /// How long it took.
        elapsed: Duration,
    },
    /// The evidence lacks something that the service may have from elsewhere.
    EvidenceIncomplete {
        /// What, and why.
        problem: String,
    },
    /// The service wants to know that the quoting key lives in the endorsed TPM.
    Challenged,
    /// An attempt failed and there will be another.
    AttemptFailed {
        /// Its number, from 1.
        attempt: u32,
        /// How it failed.
        problem: String,
        /// How long until the next.
        wait: Duration,
    },
    /// The service's answer was a final no; only an operator can help now.
    ServiceGivenUp {
        /// What it said.
        problem: String,
    },
    /// No service has answered in time: it is tried on, and an operator can open the volume.
    RecoveryWaiting {
        /// Where the node listens; `None` takes grants from the console only.
        listen: Option<SocketAddr>,
        /// What it waits for.
        volume: Uuid,
    },
    /// The node cannot listen for an operator at present.
    RecoveryNotListening {
        /// Why.
        problem: String,
        /// How long until it tries again.
        wait: Duration,
    },
    /// The node's request with its evidence as text, for an operator who has only the console.
    RecoveryText {
        /// Its lines.
        text: String,
    },
    /// The same as QR codes.
    #[cfg(feature = "qr")]
    RecoveryCodes {
        /// A drawing each.
        codes: Vec<String>,
    },
    /// A line that was typed is none of a grant.
    RecoveryTyped {
        /// The line of the grant that is wanted next.
        next: usize,
        /// What is wrong with what was typed.
        problem: String,
    },
    /// Somebody has asked the node to prove itself, and it has.
    RecoveryAsked {
        /// Who.
        peer: SocketAddr,
    },
    /// A grant, or what should have been one, was refused. Nothing has changed.
    RecoveryRefused {
        /// From whom; `None` was typed at the console.
        peer: Option<SocketAddr>,
        /// Stable name of the reason.
        code: String,
        /// What was found and what would be right.
        detail: String,
    },
    /// A grant opens the header.
    RecoveryGranted {
        /// Of this volume.
        volume: Uuid,
        /// The key that has signed it.
        key: KeyId,
        /// Its id.
        grant: Uuid,
        /// From whom; `None` was typed at the console.
        peer: Option<SocketAddr>,
    },
    /// A new volume is being made.
    Formatting {
        /// `wipe`, `filesystem`, `map` or `commit`.
        step: &'static str,
        /// How much of it is done.
        percent: u64,
    },
    /// A validated header and its key are there for systemd-cryptsetup.
    KeyOffered {
        /// The volume's name.
        name: MappedName,
    },
    /// Somebody has asked for a key who gets none. The offer stands.
    KeyNotHanded {
        /// The volume's name.
        name: MappedName,
        /// Why not.
        why: String,
    },
    /// systemd-cryptsetup has the key.
    KeyHanded {
        /// The volume's name.
        name: MappedName,
    },
    /// The unit of a volume could not be told what became of it: it waits until it is stopped.
    UnitNotTold {
        /// The volume's name.
        name: MappedName,
        /// Why not.
        problem: String,
    },
    /// Who gave the key keeps nothing else of the volume.
    KeyWithoutState {
        /// Which.
        volume: Uuid,
    },
    /// The volume is mapped.
    Mapped {
        /// As what.
        device: PathBuf,
        /// Generation now in its header.
        generation: u64,
        /// How long it took.
        elapsed: Duration,
    },
    /// The boot's last register is extended and capped.
    BootClosed {
        /// Which one.
        register: Register,
    },
    /// There is no register to close the boot in, and that is accepted.
    BootNotClosed {
        /// Why there is none.
        why: &'static str,
    },
    /// The register was extended, and the log of measurements does not say so.
    ExtensionNotLogged {
        /// Why.
        problem: String,
    },
    /// What the boot was closed with could not be left in `/run`: no volume can be opened again.
    BootNotRecorded {
        /// Why.
        problem: String,
    },
    /// A device is swapped to, under a key of this boot.
    SwapOn {
        /// As what it is mapped.
        device: PathBuf,
    },
    /// A device is not swapped to; the node goes on without it.
    SwapFailed {
        /// The mapping's name.
        name: MappedName,
        /// Why.
        problem: String,
    },
    /// The boot goes no further, and this is done about it.
    FailureAction {
        /// What.
        action: &'static str,
        /// In how long.
        delay: Duration,
    },
    /// The service knows.
    Confirmed {
        /// Of which mapping.
        device: PathBuf,
    },
    /// A volume that is not required cannot be used; the node goes on without it.
    DoingWithout {
        /// Which.
        volume: Uuid,
        /// The step that failed.
        step: &'static str,
        /// What was attempted, what was found, what would be right.
        problem: String,
    },
    /// The lease is renewed: for the first time, or again after renewals that failed.
    LeaseHeld {
        /// The lease.
        fencing_token: u64,
        /// How long it lives.
        seconds: u32,
    },
    /// A renewal failed and there will be another.
    RenewalFailed {
        /// What is left of the lease.
        left: Duration,
        /// How it failed.
        problem: String,
    },
    /// The holder ends and the volume is in use: the lease stays.
    LeaseKept,
    /// The holder ends and so does the lease.
    LeaseEnded {
        /// Why the service could not be told; the lease runs out by itself.
        problem: Option<String>,
    },
    /// The lease is lost: another node may run the volume.
    LeaseLost {
        /// What is done about it.
        action: &'static str,
        /// How it was lost.
        problem: String,
    },
    /// What was to be done about a lost lease could not be done.
    LossNotActedOn {
        /// Why.
        problem: String,
    },
    /// The wipe behind a volume in use has come so far.
    Wiping {
        /// The mapping.
        name: MappedName,
        /// How much of the volume can be used.
        percent: u64,
    },
    /// All of a volume can be used.
    Wiped {
        /// The mapping.
        name: MappedName,
    },
    /// The device has become larger, its filesystem has not.
    NotGrown {
        /// The mapping.
        name: MappedName,
        /// Why, and what to do.
        why: String,
    },
    /// A mapping that must not be used is closed again.
    MappingClosed {
        /// Which.
        device: PathBuf,
    },
    /// A mapping that must not be used could not be closed.
    MappingLeft {
        /// Which.
        device: PathBuf,
        /// Why.
        problem: String,
    },
    /// A line of the diagnosis: why the key service cannot be had.
    Diagnosis {
        /// What the line is about.
        about: &'static str,
        /// What was found.
        found: String,
    },
    /// The end, without a volume.
    Failed {
        /// The step that failed.
        step: &'static str,
        /// The process's exit code.
        exit_code: u8,
        /// What was attempted, what was found, what would be right.
        problem: String,
    },
}

impl Event {
    /// A volume's turn.
    #[must_use]
    pub fn opening(wanted: &Wanted) -> Self {
        Self::Opening {
            volume: wanted.volume,
            name: wanted.name.clone(),
        }
    }

    /// A step of making a volume.
    #[must_use]
    pub fn formatting(progress: Progress) -> Self {
        let (step, percent) = match progress {
            Progress::Wipe { done, total } => {
                let percent = u128::from(done) * 100 / u128::from(total.max(1));
                ("wipe", u64::try_from(percent).unwrap_or(100))
            }
            Progress::Filesystem => ("filesystem", 0),
            Progress::Map => ("map", 0),
            Progress::Commit => ("commit", 0),
        };
        Self::Formatting { step, percent }
    }

    /// How far a wipe has come.
    #[must_use]
    pub fn wiping(name: &MappedName, ready: Ready) -> Self {
        let percent = u128::from(ready.ready_bytes) * 100 / u128::from(ready.total_bytes.max(1));
        Self::Wiping {
            name: name.clone(),
            percent: u64::try_from(percent).unwrap_or(100),
        }
    }

    /// What long work this is about, and how many percent of it are done.
    pub(super) fn progress(&self) -> Option<(&str, u64)> {
        match self {
            Self::Formatting {
                step: step @ "wipe",
                percent,
            } => Some((step, *percent)),
            Self::Wiping { name, percent } => Some((name.as_str(), *percent)),
            _ => None,
        }
    }

    /// The event's name, the first word of its line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::TssMayLog => "tss-may-log",
            Self::PlatformFound { .. } => "platform-found",
            Self::Opening { .. } => "opening",
            Self::DiskFound { .. } => "disk-found",
            Self::DiskBlank => "disk-blank",
            Self::DiskAwaited { .. } => "disk-awaited",
            Self::Connected { .. } => "connected",
            Self::EvidenceCollected { .. } => "evidence-collected",
            Self::EvidenceIncomplete { .. } => "evidence-incomplete",
            Self::Challenged => "challenged",
            Self::AttemptFailed { .. } => "attempt-failed",
            Self::ServiceGivenUp { .. } => "service-given-up",
            Self::RecoveryWaiting { .. } => "recovery-waiting",
            Self::RecoveryNotListening { .. } => "recovery-not-listening",
            Self::RecoveryText { .. } => "recovery-text",
            #[cfg(feature = "qr")]
            Self::RecoveryCodes { .. } => "recovery-codes",
            Self::RecoveryTyped { .. } => "recovery-typed",
            Self::RecoveryAsked { .. } => "recovery-asked",
            Self::RecoveryRefused { .. } => "recovery-refused",
            Self::RecoveryGranted { .. } => "recovery-granted",
            Self::Formatting { .. } => "formatting",
            Self::KeyOffered { .. } => "key-offered",
            Self::KeyNotHanded { .. } => "key-not-handed",
            Self::KeyHanded { .. } => "key-handed",
            Self::UnitNotTold { .. } => "unit-not-told",
            Self::KeyWithoutState { .. } => "key-without-state",
            Self::Mapped { .. } => "mapped",
            Self::BootClosed { .. } => "boot-closed",
            Self::BootNotClosed { .. } => "boot-not-closed",
            Self::ExtensionNotLogged { .. } => "extension-not-logged",
            Self::BootNotRecorded { .. } => "boot-not-recorded",
            Self::SwapOn { .. } => "swap-on",
            Self::SwapFailed { .. } => "swap-failed",
            Self::FailureAction { .. } => "failure-action",
            Self::Confirmed { .. } => "confirmed",
            Self::DoingWithout { .. } => "doing-without",
            Self::LeaseHeld { .. } => "lease-held",
            Self::RenewalFailed { .. } => "renewal-failed",
            Self::LeaseKept => "lease-kept",
            Self::LeaseEnded { .. } => "lease-ended",
            Self::LeaseLost { .. } => "lease-lost",
            Self::LossNotActedOn { .. } => "loss-not-acted-on",
            Self::Wiping { .. } => "wiping",
            Self::Wiped { .. } => "wiped",
            Self::NotGrown { .. } => "not-grown",
            Self::MappingClosed { .. } => "mapping-closed",
            Self::MappingLeft { .. } => "mapping-left",
            Self::Diagnosis { .. } => "diagnosis",
            Self::Failed { .. } => "failed",
        }
    }
}
