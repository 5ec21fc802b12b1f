//! A storm against the key service as a process of its own: `service PROGRAM NODES`. See docs/operations.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../tests/storm/mod.rs"]
mod fleet;
#[path = "../tests/world/mod.rs"]
mod world;

use fleet::figures::usage;
use std::path::PathBuf;
use std::sync::Arc;
use world::guest::Host;
use world::process::Process;

/// Most memory that the service may ever have had, KiB.
const MEMORY_KIB: u64 = 512 << 10;
/// Most attempts of one node beyond its first.
const RETRIES: u32 = 60;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (Some(program), Some(nodes)) = (arguments.next(), arguments.next()) else {
        panic!("usage: service PROGRAM NODES");
    };
    let (program, count) = (PathBuf::from(program), nodes.parse().unwrap());
    let host = Arc::new(Host::new());
    let roots = [("amd.pem", host.roots().into_bytes())];
    let limits = fleet::limits(count);
    let (world, process) = Process::start(&program, &limits, &fleet::policy(), &roots).await;
    fleet::create_volumes(&world, count).await;
    let mut nodes = fleet::fleet(&world, &host, count);
    for wave in ["blank disks", "restart"] {
        let before = usage(process.id());
        let storm = fleet::storm(&mut nodes).await;
        let after = usage(process.id());
        let cpu = (after.cpu - before.cpu).as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // thousands
        let rate = count as f64 / cpu;
        println!("{wave}: {storm}");
        println!(
            "{wave}: service: {cpu:.1} CPU s ({rate:.0} nodes per CPU s), peak {} MiB",
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
