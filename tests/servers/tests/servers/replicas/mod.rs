//! Several key services behind one store: whichever of them is killed or replaced, every node has its key, and no volume
//! has two keepers.
#![allow(clippy::indexing_slicing)]

mod cluster;

use crate::s3;
use cluster::Cluster;
use dawnkey_agent::error::AskError;
use dawnkey_host_tests::storm;
use dawnkey_host_tests::storm::hardware::Hardware;
use dawnkey_host_tests::storm::node::Node;
use dawnkey_host_tests::world::guest::Host;
use dawnkey_proto::message::Reason;
use dawnkey_server_tests::servers::aws;
use dawnkey_server_tests::servers::postgres::{Postgres, TOOL};
use dawnkey_server_tests::toolchain::{Tool, have};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinHandle;

fn section(server: &Postgres) -> String {
    format!(
        "[store]\nkind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"dawnkey\"\nuser = \"dawnkey\"\n\
         password = \"file:{}\"\ntls = \"off\"\n",
        server.port,
        server.password().display()
    )
}

/// Nodes that boot again and again until they are told to stop.
#[derive(Default)]
struct Fleet {
    stop: AtomicBool,
    booted: AtomicU32,
    /// Attempts that came to nothing.
    broken_off: AtomicU32,
}

impl Fleet {
    fn start(self: &Arc<Self>, nodes: Vec<Node>) -> Vec<JoinHandle<Node>> {
        let node = |mut node: Node| {
            let fleet = Arc::clone(self);
            tokio::spawn(async move {
                while !fleet.stop.load(Relaxed) {
                    let served = node.boot().await;
                    fleet.booted.fetch_add(1, Relaxed);
                    fleet.broken_off.fetch_add(served.attempts - 1, Relaxed);
                }
                node
            })
        };
        nodes.into_iter().map(node).collect()
    }

    /// Waits until so many more boots have ended well.
    async fn more(&self, boots: u32) {
        let end = self.booted.load(Relaxed) + boots;
        while self.booted.load(Relaxed) < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Kills each replica and then replaces each while so many nodes boot; no boot fails, each is one generation.
async fn hold_out(store: String, nodes: usize) {
    let host = Arc::new(Host::new());
    let mut cluster = Cluster::start(store, &host).await;
    let hardware = vec![Hardware::Snp(Arc::clone(&host)); nodes];
    let all = storm::fleet(&cluster.worlds[0], &cluster.service(), hardware).await;
    let fleet = Arc::new(Fleet::default());
    let tasks = fleet.start(all);
    fleet.more(nodes.try_into().unwrap()).await;
    for round in 0.. {
        let replica = round % 3;
        cluster.kill(replica);
        fleet.more(10).await;
        cluster.start_again(replica).await;
        fleet.more(10).await;
        // Three at least, and until one of them was killed in the middle of an unlock.
        if round >= 2 && fleet.broken_off.load(Relaxed) > 0 {
            break;
        }
    }
    for replica in 0..3 {
        cluster.stop(replica).await;
        fleet.more(10).await;
        cluster.start_again(replica).await;
        fleet.more(10).await;
    }
    fleet.stop.store(true, Relaxed);
    let mut boots = 0;
    for (number, task) in tasks.into_iter().enumerate() {
        let node = task.await.unwrap();
        let record = cluster.worlds[2].volume_of(storm::volume(number)).await;
        assert_eq!(record.state, "active");
        // Every boot is one generation (`Node::boot`), and the last of them is known to all.
        assert_eq!(
            (record.generation, record.pending_generation),
            (node.generation, 0)
        );
        boots += node.generation;
    }
    assert_eq!(boots, u64::from(fleet.booted.load(Relaxed)));
    #[allow(clippy::print_stdout)] // how hard it was, for who reads the tests' output
    {
        println!(
            "measured: {boots} boots, {} attempts broken off",
            fleet.broken_off.load(Relaxed)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_unlock_fails_while_replicas_of_one_database_are_killed_and_replaced() {
    if have("replicas", &[TOOL]) {
        let database = Postgres::start();
        hold_out(section(&database), 12).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_unlock_fails_while_replicas_of_one_bucket_are_killed_and_replaced() {
    if have("replicas", &[Tool::Python]) {
        let (cloud, scratch) = (aws::moto(), tempfile::tempdir().unwrap());
        s3::make_bucket(&cloud);
        let credentials = s3::credentials(&cloud.administrator, &scratch);
        let store = format!(
            "[store]\nkind = \"s3\"\nbucket = \"{}\"\nregion = \"{}\"\nendpoint = \"http://127.0.0.1:{}\"\n\
             credentials = \"file:{}\"\n",
            s3::BUCKET,
            s3::REGION,
            cloud.port,
            credentials.display()
        );
        hold_out(store, 4).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_machines_that_ask_two_replicas_at_once_one_gets_the_volume() {
    if !have("replicas", &[TOOL]) {
        return;
    }
    let (database, host) = (Postgres::start(), Arc::new(Host::new()));
    let cluster = Cluster::start(section(&database), &host).await;
    let volumes = [storm::volume(0)];
    cluster.worlds[0].create_volumes(&volumes, "state").await;
    let other = Arc::new(host.beside());
    let mut fencing = 0;
    for round in 0..12 {
        let generation = round as u64;
        let places = [round % 3, (round + 1 + round / 3 % 2) % 3];
        let mut rivals = [(&host, places[0]), (&other, places[1])].map(|(host, place)| {
            let mut node = Node::new(
                0,
                Hardware::Snp(Arc::clone(host)),
                cluster.service_of(place),
            );
            node.generation = generation;
            // A boot of its own each time.
            (0..=round).for_each(|_| node.launch());
            node
        });
        let (mut here, mut there) = (rivals[0].client(), rivals[1].client());
        let budget = rivals[0].budget();
        let both = tokio::join!(
            rivals[0].ask(&mut here, &budget),
            rivals[1].ask(&mut there, &budget)
        );
        let (winner, released, lost) = match both {
            (Ok(released), Err(lost)) => (0, released, lost),
            (Err(lost), Ok(released)) => (1, released, lost),
            (Ok(_), Ok(_)) => panic!("round {round}: both have the volume"),
            (Err(one), Err(other)) => panic!("round {round}: none has it: {one}, {other}"),
        };
        let AskError::Refused(refusal) = lost else {
            panic!("{lost}")
        };
        assert_eq!(refusal.reason, Reason::LeaseHeld);
        assert!(released.lease.fencing_token > fencing, "fencing grows");
        fencing = released.lease.fencing_token;
        assert_eq!(released.generation, generation + 1);
        let client = [&mut here, &mut there].into_iter().nth(winner).unwrap();
        rivals[winner].confirm(client, released).await;
    }
}
