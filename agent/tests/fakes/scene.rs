//! A node with its disk and TPM, a service with its acts, and a run of the flow between them.

use super::Act;
use super::FakeService;
use super::disk::{Fails as DiskFails, FakeMapper, Holds};
use super::leases::FakeLeases;
use super::tpm::{Fails as TpmFails, FakeTpm};
use dawnkey_agent::config::Pace;
use dawnkey_agent::config::VolumeConfig;
use dawnkey_agent::error::{Stopped, UnlockError};
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Finished, Job, Ports, run};
use dawnkey_agent::unlock::Done;
use std::time::Duration;
use tokio::time::Instant;

/// The pace of runs that need no other.
pub const PACE: Pace = Pace {
    budget: Duration::from_secs(60),
    attempt: Duration::from_secs(10),
};
/// A disk with a volume of generation 4.
pub const HEADER: Holds = Holds::Header {
    epoch: 1,
    generation: 4,
};

/// A node with its disk and TPM, and a service with its acts.
pub struct Scene {
    pub service: FakeService,
    pub tpm: FakeTpm,
    pub disk: FakeMapper,
    pub volumes: Vec<VolumeConfig>,
    pub leases: FakeLeases,
    pub holder: bool,
    pub pace: Pace,
    pub events: Vec<Event>,
    pub spent: Duration,
}

impl Scene {
    pub fn new(holds: Holds, acts: &[Act]) -> Self {
        Self::with(&[holds], acts)
    }

    /// A node with one volume for each of `holds`.
    pub fn with(holds: &[Holds], acts: &[Act]) -> Self {
        let disk = FakeMapper::holding(holds);
        Self {
            service: FakeService::playing(acts),
            tpm: FakeTpm::that_fails_at(TpmFails::Nothing),
            volumes: disk.volumes(),
            disk,
            leases: FakeLeases::new(),
            holder: true,
            pace: PACE,
            events: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    /// Runs the flow for the only volume.
    pub async fn run(&mut self) -> Result<Done, UnlockError> {
        let ended = self.run_all().await;
        ended
            .map(|mut finished| finished.done.remove(0))
            .map_err(|stopped| stopped.error)
    }

    /// Runs the flow.
    pub async fn run_all(&mut self) -> Result<Finished, Box<Stopped>> {
        let began = Instant::now();
        let events = &mut self.events;
        let mut ports = Ports {
            service: &mut self.service,
            attester: &mut self.tpm,
            mapper: &mut self.disk,
            leases: &mut self.leases,
            jitter: &mut || u16::MAX,
            report: &mut |event: &Event| events.push(event.clone()),
        };
        let job = Job {
            volumes: &self.volumes,
            node_name: "node-1",
            pace: self.pace,
            holder: self.holder,
        };
        let ended = run(&job, &mut ports).await;
        self.spent = began.elapsed();
        let open = ended.as_ref().map_or(0, |finished| finished.done.len());
        if self.disk.fails != DiskFails::Close {
            assert_eq!(self.disk.mapped(), open);
        }
        ended
    }

    pub async fn fails(&mut self) -> UnlockError {
        self.run().await.expect_err("the flow must fail")
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}
