//! Why the key service cannot be had: links, addresses, routes, DNS, clock, TCP and TLS in one block, and what to do.
//!
//! It looks once, changes nothing, waits for nothing beyond a deadline, and decides nothing: the pin is judged by the same
//! code as ever. What it says goes to the console, which the host reads; the host knows all of it.

mod machine;
mod probe;
mod tell;

pub use machine::{Link, LinkState, Machine, Route};
pub use probe::{Certificate, Probe, SourceFound};

use crate::config::ServiceConfig;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// Most time for all of it: half for finding addresses, half for trying them.
pub const BUDGET: Duration = Duration::from_secs(10);

/// What is broken: the first thing that has to be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing: the pinned service completes a handshake.
    None,
    /// Something else than the pinned service answers TLS.
    NotPinned,
    /// What answers does not speak the protocol's TLS.
    Protocol,
    /// TCP connects, TLS does not come about.
    Tls,
    /// No network link is up.
    Link,
    /// No link has an address.
    Address,
    /// No DNS server is known.
    NoResolver,
    /// DNS does not answer, or does not know the name.
    Dns,
    /// The metadata service names nothing.
    Metadata,
    /// There is no route.
    Route,
    /// The machine answers, and nothing listens there.
    Refused,
    /// Nothing answers.
    Silent,
}

/// Everything that was seen.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The machine.
    #[serde(flatten)]
    pub machine: Machine,
    /// What each source of addresses came to.
    pub sources: Vec<SourceFound>,
    /// What became of each address.
    pub addresses_tried: Vec<Probe>,
    /// What is broken.
    pub cause: Cause,
    /// What to do, in one line.
    pub advice: String,
}

/// Looks at everything, within [`BUDGET`].
pub async fn diagnose(service: &ServiceConfig, machine: Machine) -> Diagnosis {
    let began = Instant::now();
    let found = probe::sources(&service.places, began + BUDGET / 2).await;
    let (sources, addresses): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let addresses = addresses.into_iter().flatten().collect();
    let probes = probe::all(service, addresses, machine.clock, began + BUDGET).await;
    let cause = tell::cause(&machine, &sources, &probes);
    let advice = tell::advice(cause, &sources, &probes);
    Diagnosis {
        machine,
        sources,
        addresses_tried: probes,
        cause,
        advice,
    }
}
