//! A fleet that starts together is served to its last node, twice: with blank disks, and after a power cut of all. Half
//! of it are SNP guests, half are machines with virtual TPMs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_host_tests::storm;
use dawnkey_host_tests::storm::hardware::Cloud;
use dawnkey_host_tests::world::World;
use dawnkey_host_tests::world::guest::Host;
use std::sync::Arc;

/// `cargo xtask bench service` does the same with 10 000.
const NODES: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_storm_is_served_without_a_thunder_of_retries() {
    let (host, cloud) = (Arc::new(Host::new()), Arc::new(Cloud::new()));
    // Far fewer connections and places than nodes, so that most are told to come again.
    let limits = "[limits]\nconcurrent_unlocks = 2\nconnections = 64\nconnections_per_peer = 64\n\
                  per_peer_per_minute = 100000\nqueue = 16\nqueue_seconds = 2\n";
    let roots = [
        ("amd.pem", host.roots().into_bytes()),
        ("cloud.pem", cloud.root().into_bytes()),
    ];
    let world = World::with_limits(limits, &storm::policy_with(&cloud), &roots).await;
    let hardware = storm::hardware::mixed(&host, &cloud, NODES);
    let service = world.service_at(world.address());
    let mut nodes = storm::fleet(&world, &service, hardware).await;
    for wave in ["blank disks", "restart"] {
        let storm = storm::run(&mut nodes).await;
        println!("measured: {wave}: {storm}");
        assert_eq!(storm.served(), NODES);
        assert!(storm.most_attempts() <= 30, "{storm}");
    }
    let metrics = world.metrics().await;
    let released = "dawnkey_answers_total{answer=\"release\"} 300";
    assert!(metrics.lines().any(|line| line == released), "{metrics}");
}
