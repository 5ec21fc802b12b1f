//! Three key services over one store, as processes, each with a clock of its own.

use dawnkey_agent::config::ServiceConfig;
use dawnkey_agent::discover::{Endpoint, Places};
use dawnkey_host_tests::storm;
use dawnkey_host_tests::world::World;
use dawnkey_host_tests::world::guest::Host;
use dawnkey_host_tests::world::process::{Own, Process, Site};
use dawnkey_server_tests::ports;
use std::process::Command;

/// How far each clock is ahead, seconds; the bound is what a service over a shared store allows for by itself.
const AHEAD: [i64; 3] = [-60, 0, 60];
const NAMES: [&str; 3] = ["one", "two", "three"];
const LIMITS: &str =
    "[limits]\nper_peer_per_minute = 1000000\nconnections_per_peer = 1000\nshutdown_seconds = 60\n";

pub(super) struct Cluster {
    site: Site,
    store: String,
    ports: [u16; 3],
    /// For the operator's acts and nodes' pins.
    pub(super) worlds: Vec<World>,
    running: Vec<Option<Process>>,
}

impl Cluster {
    /// Over the store of this section `[store]`. Any node may have any volume.
    pub(super) async fn start(store: String, host: &Host) -> Self {
        let policy = storm::policy() + "owner = \"any\"\n";
        let roots = [("amd.pem", host.roots().into_bytes())];
        let mut cluster = Self {
            site: Site::new(&policy, &roots),
            store,
            ports: [ports::free(), ports::free(), ports::free()],
            worlds: Vec::new(),
            running: Vec::new(),
        };
        for replica in 0..3 {
            let (world, process) = cluster.begin(replica).await;
            cluster.worlds.push(world);
            cluster.running.push(Some(process));
        }
        cluster
    }

    async fn begin(&self, replica: usize) -> (World, Process) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dawnkey-test-replica"));
        command.arg(AHEAD[replica].to_string());
        let own = Own {
            name: NAMES[replica],
            port: self.ports[replica],
            store: Some(&self.store),
            kek: None,
            limits: LIMITS,
        };
        self.site.start(command, &own).await
    }

    /// Kills a replica in the middle of whatever it does.
    pub(super) fn kill(&mut self, replica: usize) {
        self.running[replica].take().unwrap().kill();
    }

    /// Stops a replica as an upgrade does; it must end well.
    pub(super) async fn stop(&mut self, replica: usize) {
        let status = self.running[replica].take().unwrap().stop().await;
        assert!(status.success(), "{}: {status}", NAMES[replica]);
    }

    /// Starts a replica that was stopped or killed, at the same address.
    pub(super) async fn start_again(&mut self, replica: usize) {
        let (world, process) = self.begin(replica).await;
        self.worlds[replica] = world;
        self.running[replica] = Some(process);
    }

    /// What a node is configured with: all three.
    pub(super) fn service(&self) -> ServiceConfig {
        let endpoint = |port: &u16| Endpoint {
            host: "127.0.0.1".into(),
            port: *port,
        };
        ServiceConfig {
            places: Places::listed(self.ports.iter().map(endpoint).collect()),
            ..self.worlds[0].service_at(self.worlds[0].address())
        }
    }

    /// What a node is configured with that knows of one only.
    pub(super) fn service_of(&self, replica: usize) -> ServiceConfig {
        self.worlds[replica].service_at(self.worlds[replica].address())
    }
}
