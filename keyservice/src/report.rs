//! What the service logs: the events of this list and nothing else.
//!
//! Verdicts go to the audit log; here is what keeps the operator informed about the process. No event has room for
//! a secret.

use std::net::SocketAddr;
use std::path::Path;

/// Something worth a line in the log.
#[derive(Debug)]
pub enum Event<'a> {
    /// A listener is ready.
    Listening {
        /// `unlock`, `admin` or `metrics`.
        what: &'static str,
        /// Its actual address.
        address: SocketAddr,
    },
    /// The Kubernetes plugin is ready.
    PluginListening {
        /// Its socket.
        socket: &'a Path,
    },
    /// A policy is in force.
    PolicyLoaded {
        /// The file.
        path: &'a Path,
        /// Its SHA-256.
        digest: &'a str,
    },
    /// Endorsements are kept.
    Endorsements {
        /// The store's directory.
        path: &'a Path,
        /// Whether vendors' services are asked.
        online: bool,
    },
    /// The policy has a finding of `dawnkey policy lint`.
    PolicyFinding {
        /// The key.
        key: &'a str,
        /// What is the matter.
        problem: &'a str,
    },
    /// A changed policy is not usable; the one before stays in force.
    PolicyKept {
        /// Why.
        error: &'a dyn std::error::Error,
    },
    /// The TLS files were read again and are in force for new connections.
    TlsLoaded {
        /// The certificate.
        path: &'a Path,
    },
    /// Something that was to be read again is not usable; the one before stays in force.
    Kept {
        /// `configuration` or `tls`.
        what: &'static str,
        /// Why.
        error: &'a dyn std::error::Error,
    },
    /// A changed part of the configuration that is read at start only.
    NeedsRestart {
        /// The section, `store`.
        section: &'static str,
    },
    /// A provider gives no key before an operator has given it its master secret.
    MasterAwaited {
        /// Its name.
        provider: &'a str,
    },
    /// An operator has given a provider its master secret.
    MasterGiven {
        /// Its name.
        provider: &'a str,
    },
    /// An answer went out.
    Answered {
        /// `release`, `refuse`, …
        answer: &'a str,
        /// The reason of a refusal, or empty.
        reason: &'a str,
        /// The volume.
        volume: &'a str,
        /// Who asked.
        peer: SocketAddr,
    },
    /// A verdict could not be recorded: no key leaves before one can be.
    AuditFailed {
        /// Why.
        error: &'a dyn std::error::Error,
    },
    /// The store failed.
    StoreFailed {
        /// Why.
        error: &'a dyn std::error::Error,
    },
    /// Accepting a connection failed.
    AcceptFailed {
        /// Why.
        error: &'a std::io::Error,
    },
    /// The service finishes what it holds.
    Stopping {
        /// How long it waits at most.
        seconds: u32,
    },
    /// The deadline has passed with work left.
    StoppedLate,
    /// Everything is finished.
    Stopped,
}

/// Writes the event to the log.
pub fn emit(event: &Event<'_>) {
    use tracing::{error, info, warn};
    match event {
        Event::Listening { what, address } => info!(what, %address, "listening"),
        Event::PluginListening { socket } => {
            info!(socket = %socket.display(), "Kubernetes plugin listening");
        }
        Event::PolicyLoaded { path, digest } => {
            info!(path = %path.display(), digest, "policy in force");
        }
        Event::Endorsements { path, online } => {
            info!(path = %path.display(), online, "endorsements in use");
        }
        Event::PolicyFinding { key, problem } => warn!(key, problem, "policy finding"),
        Event::PolicyKept { error } => warn!(%error, "policy not usable, the one before stays"),
        Event::TlsLoaded { path } => info!(path = %path.display(), "TLS files in force"),
        Event::Kept { what, error } => warn!(what, %error, "not usable, the one before stays"),
        Event::NeedsRestart { section } => {
            warn!(section, "changed, and in force after a restart only");
        }
        Event::MasterAwaited { provider } => warn!(
            code = "kek-waiting",
            provider, "no key of this provider before `dawnkey master-secret give`"
        ),
        Event::MasterGiven { provider } => info!(provider, "master secret in memory"),
        Event::Answered {
            answer,
            reason,
            volume,
            peer,
        } => info!(answer, reason, volume, %peer, "answered"),
        Event::AuditFailed { error } => {
            error!(%error, "audit failed, no key is released");
        }
        Event::StoreFailed { error } => error!(%error, "store failed"),
        Event::AcceptFailed { error } => warn!(%error, "accept failed"),
        Event::Stopping { seconds } => info!(seconds, "stopping"),
        Event::StoppedLate => warn!("stopped with work left"),
        Event::Stopped => info!("stopped"),
    }
}
