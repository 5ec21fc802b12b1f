//! The key service as a process of its own: `service PROGRAM NODES`. See docs/operations.md.
//!
//! 1. Verdicts on one processor, by kind of evidence.
//! 2. A storm of all nodes, half SNP guests, half machines with virtual TPMs.
//! 3. Unlocks with a KMS that answers after 20 ms, with and without the cache of DEKs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use dawnkey_host_tests::kms::Kms;
use dawnkey_host_tests::storm::hardware::{self, Cloud, Hardware};
use dawnkey_host_tests::storm::node::Node;
use dawnkey_host_tests::storm::{self, figures::usage};
use dawnkey_host_tests::world::World;
use dawnkey_host_tests::world::guest::Host;
use dawnkey_host_tests::world::process::{Own, Process, Site};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most memory that the service may ever have had, KiB.
const MEMORY_KIB: u64 = 512 << 10;
/// Most attempts of one node beyond its first.
const RETRIES: u32 = 60;
/// Nodes of each kind whose verdicts are counted.
const COUNTED: usize = 1000;
/// How long the KMS takes.
const LATENCY: Duration = Duration::from_millis(20);
/// Boots with it, one after the other.
const BOOTS: usize = 100;

/// What all services of a run have in common.
struct Bench {
    program: PathBuf,
    host: Arc<Host>,
    cloud: Arc<Cloud>,
}

impl Bench {
    fn site(&self) -> Site {
        let roots = [
            ("amd.pem", self.host.roots().into_bytes()),
            ("cloud.pem", self.cloud.root().into_bytes()),
        ];
        Site::new(&storm::policy_with(&self.cloud), &roots)
    }

    async fn start(&self, site: &Site, kek: Option<&str>, limits: &str) -> (World, Process) {
        let own = Own {
            name: "keyservice",
            port: 0,
            store: None,
            kek,
            limits,
        };
        site.start(Command::new(&self.program), &own).await
    }

    /// Two waves of a fleet against one service, which may have this processor only.
    async fn waves(&self, what: &str, all: Vec<Hardware>, processor: Option<usize>) {
        let count = all.len();
        let limits = storm::limits(count);
        let (world, process) = self.start(&self.site(), None, &limits).await;
        if let Some(processor) = processor {
            pin(process.id(), processor);
        }
        let service = world.service_at(world.address());
        let mut nodes = storm::fleet(&world, &service, all).await;
        for wave in ["blank disks", "restart"] {
            let before = usage(process.id());
            let storm = storm::run(&mut nodes).await;
            let after = usage(process.id());
            let cpu = (after.cpu - before.cpu).as_secs_f64();
            #[allow(clippy::cast_precision_loss)] // thousands
            let rate = count as f64 / cpu;
            println!("{what}, {wave}: {storm}");
            println!(
                "{what}, {wave}: service: {cpu:.1} CPU s ({rate:.0} unlocks with their confirmation per CPU s), peak {} MiB",
                after.peak_kib >> 10
            );
            assert_eq!(storm.served(), count);
            assert!(storm.most_attempts() <= RETRIES, "a node asked too often");
            assert!(
                after.peak_kib <= MEMORY_KIB,
                "the service took too much memory"
            );
        }
    }

    /// A node and its service, which asks the KMS or remembers for so long.
    async fn with_kms(&self, cache_seconds: u32) -> Side {
        let (site, kms) = (self.site(), Kms::start(LATENCY).await);
        let kek = kms.section(site.path(), cache_seconds);
        let limits = storm::limits(1);
        let (world, process) = self.start(&site, Some(&kek), &limits).await;
        let service = world.service_at(world.address());
        let all = hardware::snp(&self.host, 1);
        let mut node = storm::fleet(&world, &service, all).await.remove(0);
        node.boot().await;
        // What the first unlock leaves in the cache.
        node.boot().await;
        Side {
            cache_seconds,
            before: kms.decrypted(),
            kms,
            node,
            took: Vec::new(),
            _process: process,
        }
    }

    /// Boots in turn of a node whose service asks the KMS each time, and of one whose service remembers.
    async fn latency(&self) {
        let mut sides = [self.with_kms(0).await, self.with_kms(300).await];
        for _ in 0..BOOTS {
            for side in &mut sides {
                let began = Instant::now();
                side.node.boot().await;
                side.took.push(began.elapsed());
            }
        }
        for side in sides {
            side.report();
        }
    }
}

/// A node whose service has a slow KMS.
struct Side {
    cache_seconds: u32,
    kms: Kms,
    before: u64,
    node: Node,
    took: Vec<Duration>,
    _process: Process,
}

impl Side {
    fn report(mut self) {
        let (cache_seconds, calls) = (self.cache_seconds, self.kms.decrypted() - self.before);
        self.took.sort();
        let ms = |percent: usize| self.took[BOOTS * percent / 100].as_secs_f64() * 1e3;
        println!(
            "KMS of {} ms, cache_seconds = {cache_seconds}: {BOOTS} unlocks, p10 {:.1} ms, p50 {:.1} ms, p90 {:.1} ms, {calls} DEKs unwrapped at the KMS",
            LATENCY.as_millis(),
            ms(10),
            ms(50),
            ms(90),
        );
        let expected = if cache_seconds > 0 { 0 } else { BOOTS as u64 };
        assert_eq!(calls, expected);
    }
}

/// Lets a process run on one processor only.
fn pin(process: u32, processor: usize) {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid"]);
    taskset.args([processor.to_string(), process.to_string()]);
    assert!(taskset.output().unwrap().status.success());
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(program), Some(nodes)) = (arguments.next(), arguments.next()) else {
        panic!("usage: service PROGRAM NODES");
    };
    let (program, count) = (Path::new(&program).to_owned(), nodes.parse().unwrap());
    let bench = Bench {
        program,
        host: Arc::new(Host::new()),
        cloud: Arc::new(Cloud::new()),
    };
    let snp = hardware::snp(&bench.host, COUNTED.min(count));
    bench.waves("one processor, SNP", snp, Some(0)).await;
    let vtpm = hardware::vtpm(&bench.cloud, COUNTED.min(count));
    bench.waves("one processor, TPM", vtpm, Some(0)).await;
    let mixed = hardware::mixed(&bench.host, &bench.cloud, count);
    bench.waves("storm, SNP and TPM", mixed, None).await;
    bench.latency().await;
}
