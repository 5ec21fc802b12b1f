//! A node with its disk and TPM, a service with its acts, and a run of the flow between them.

use super::Act;
use super::FakeService;
use super::disk::{Fails as DiskFails, FakeMapper, Holds};
use super::tpm::{Fails as TpmFails, FakeTpm};
use dawnkey_agent::config::Pace;
use dawnkey_agent::error::UnlockError;
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Job, Ports, run};
use dawnkey_agent::unlock::Done;
use std::time::Duration;
use tokio::time::Instant;

/// The pace of all runs.
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
    pub events: Vec<Event>,
    pub spent: Duration,
}

impl Scene {
    pub fn new(holds: Holds, acts: &[Act]) -> Self {
        Self {
            service: FakeService::playing(acts),
            tpm: FakeTpm::that_fails_at(TpmFails::Nothing),
            disk: FakeMapper::holding(holds),
            events: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    pub async fn run(&mut self) -> Result<Done, UnlockError> {
        let began = Instant::now();
        let events = &mut self.events;
        let wanted = self.disk.wanted();
        let mut ports = Ports {
            service: &mut self.service,
            attester: &mut self.tpm,
            mapper: &mut self.disk,
            jitter: &mut || u16::MAX,
            report: &mut |event: &Event| events.push(event.clone()),
        };
        let job = Job {
            wanted: &wanted,
            node_name: "node-1",
            pace: PACE,
        };
        let ended = run(&job, &mut ports).await;
        self.spent = began.elapsed();
        let left = self.disk.fails == DiskFails::Close;
        assert_eq!(self.disk.is_mapped(), ended.is_ok() || left);
        ended
    }

    pub async fn fails(&mut self) -> UnlockError {
        self.run().await.expect_err("the flow must fail")
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}
