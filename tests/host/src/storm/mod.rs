//! Many nodes that start together.

pub mod figures;
pub mod hardware;
pub mod node;

use crate::world::World;
use dawnkey_agent::config::{Pace, ServiceConfig};
use figures::Storm;
use hardware::{Cloud, Hardware};
use node::Node;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// What the nodes are configured with: one attempt may wait for its turn, all together may last as long as a fleet needs.
pub const PACE: Pace = Pace {
    budget: Duration::from_secs(1800),
    attempt: Duration::from_secs(30),
};

/// A policy for SNP guests of [`Host`]s.
///
/// [`Host`]: crate::world::guest::Host
pub fn policy() -> String {
    format!(
        r#"
version = 1
[roots]
amd = ["amd.pem"]
[platform.milan.snp]
products = ["Milan"]
[platform.milan.snp.tcb.Milan]
reported = {{ snp = 24 }}
launch = {{ snp = 24 }}
[[image]]
name = "node"
[image.snp]
measurement = "{}"
[volume-policy.state]
trust_class = "tee"
images = ["node"]
platforms = ["milan"]
rollback = "refuse"
"#,
        "3d".repeat(48)
    )
}

/// The same with rules for machines of this cloud.
pub fn policy_with(cloud: &Cloud) -> String {
    let roots = "amd = [\"amd.pem\"]\ntpm_ak = [\"cloud.pem\"]\n";
    let pcrs = cloud.pcrs();
    policy().replacen("amd = [\"amd.pem\"]\n", roots, 1)
        + &format!(
            r#"
[[image]]
name = "machine"
{pcrs}
[volume-policy.vtpm]
trust_class = "hypervisor"
images = ["machine"]
pcrs_pre_cap = [15]
enrol = "endorsed"
rollback = "refuse"
"#
        )
}

/// What an operator sets who expects so many nodes at once, all behind one address.
pub fn limits(nodes: usize) -> String {
    let connections = nodes.clamp(64, 2048);
    format!(
        "[limits]\nconnections = {connections}\nconnections_per_peer = {connections}\n\
         per_peer_per_minute = 1000000\nqueue = {}\nqueue_seconds = 10\nhandshake_seconds = 20\n",
        connections / 2
    )
}

/// The volume of a node.
pub fn volume(node: usize) -> Uuid {
    Uuid::from_u128(0x5b1d_1f0e_33b6_4d6e_8f2a_0000_0000_0000 + node as u128)
}

/// Makes the volume of each piece of hardware, and a node with a blank disk that finds its service as told. Of several
/// endpoints each begins with another one.
pub async fn fleet(world: &World, service: &ServiceConfig, all: Vec<Hardware>) -> Vec<Node> {
    for rules in ["state", "vtpm"] {
        let numbers = (0..all.len()).filter(|number| all[*number].rules() == rules);
        let ids: Vec<Uuid> = numbers.map(volume).collect();
        world.create_volumes(&ids, rules).await;
    }
    let node = |(number, hardware)| {
        let mut service = ServiceConfig {
            pace: PACE,
            ..service.clone()
        };
        let endpoints = &mut service.places.endpoints;
        let first = number % endpoints.len();
        endpoints.rotate_left(first);
        Node::new(number, hardware, service)
    };
    all.into_iter().enumerate().map(node).collect()
}

/// Starts all of them at once and waits for the last.
pub async fn run(nodes: &mut Vec<Node>) -> Storm {
    let began = Instant::now();
    let tasks: Vec<_> = nodes
        .drain(..)
        .map(|mut node| {
            tokio::spawn(async move {
                let served = node.boot().await;
                (node, served)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (node, served) = task.await.unwrap();
        nodes.push(node);
        all.push(served);
    }
    Storm::new(all, began.elapsed())
}
