//! Many nodes that start together. Each goes the agent's way over real TLS: its client, its binder, its evidence, its
//! budget and back-off. Only the disk is missing: what would stand in the header is a number here.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod figures;

use super::world::World;
use super::world::guest::Host;
use dawnkey_agent::client::{Client, Connection};
use dawnkey_agent::config::{Pace, ServiceConfig};
use dawnkey_agent::error::{AskError, ProtocolError};
use dawnkey_agent::retry::Budget;
use dawnkey_agent::service::{KeyService, Session};
use dawnkey_attest::evidence::{Evidence, Exchange};
use dawnkey_proto::binding::{Bound, Role, binder};
use dawnkey_proto::message::{
    Answer, Ask, Confirm, ConfirmAnswer, EvidenceItem, Release, Request, SeenHeader,
};
use dawnkey_proto::seal::Recipient;
use figures::{Served, Storm};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// What the nodes are configured with: one attempt may wait for its turn, all together may last as long as a fleet needs.
pub const PACE: Pace = Pace {
    budget: Duration::from_secs(1800),
    attempt: Duration::from_secs(30),
};

/// A policy for SNP guests of this host.
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

/// Makes the volumes of so many nodes.
pub async fn create_volumes(world: &World, nodes: usize) {
    let ids: Vec<Uuid> = (0..nodes).map(volume).collect();
    world.create_volumes(&ids).await;
}

/// A number of 16 bits that differs from node to node and from call to call.
fn jitter() -> u16 {
    let [a, b, ..] = *Uuid::new_v4().as_bytes();
    u16::from_be_bytes([a, b])
}

/// One node with its volume; `generation` 0 before its disk is formatted.
pub struct Node {
    number: usize,
    host: Arc<Host>,
    service: ServiceConfig,
    launch: u8,
    generation: u64,
}

impl Node {
    fn seen(&self, generation: u64) -> SeenHeader {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&generation.to_be_bytes());
        digest[8..16].copy_from_slice(&(self.number as u64).to_be_bytes());
        SeenHeader {
            generation,
            epoch: 1,
            digest,
        }
    }

    fn evidence(&self, exchange: &Exchange) -> Evidence {
        // The firmware gives every launch of every guest a report id of its own.
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(self.number as u64).to_be_bytes());
        id[8] = self.launch;
        self.host.report(exchange, &id)
    }

    /// One attempt to get a key.
    async fn ask(
        &self,
        client: &mut Client,
        budget: &Budget,
    ) -> Result<(Release, Recipient, Connection), AskError> {
        let mut session = client.connect(budget.deadline()).await?;
        let recipient = Recipient::generate().unwrap();
        let ask = match self.generation {
            0 => Ask::Provision,
            known => Ask::Unlock(self.seen(known)),
        };
        let request = Request {
            ask,
            volume: volume(self.number),
            node_name: format!("node-{}", self.number),
            agent_version: "0.1.0".into(),
            hpke_public_key: recipient.public_key().try_into().unwrap(),
        };
        let body = request.encode();
        let (exporter, service_spki) = session.binding();
        let bound = Bound {
            role: Role::Node,
            exporter,
            service_spki,
            hpke_public_key: recipient.public_key(),
            request: &body,
        };
        let evidence = self.evidence(&Exchange(binder(&bound).0));
        let item = EvidenceItem {
            kind: evidence.kind().to_owned(),
            payload: evidence.encode(),
        };
        let answer = session.unlock(&body, vec![item], budget.deadline()).await?;
        match answer {
            Answer::Release(release) => Ok((release, recipient, session)),
            Answer::Provision(provision) => Ok((provision.release, recipient, session)),
            Answer::Refuse(refusal) => Err(AskError::Refused(refusal)),
            Answer::Challenge(_) => Err(ProtocolError::SecondChallenge.into()),
        }
    }

    /// From power-on to the confirmed generation.
    pub async fn start(&mut self) -> Served {
        let began = Instant::now();
        let mut client = Client::new(&self.service).unwrap();
        let mut budget = Budget::start(self.service.pace);
        let (release, recipient, session) = loop {
            budget.attempt();
            match self.ask(&mut client, &budget).await {
                Ok(released) => break released,
                Err(error) => wait(&mut budget, &error).await,
            }
        };
        let asked = budget.attempts();
        let purpose = release.purpose(volume(self.number));
        let (_dek, token) = recipient.open_release(&release.dek, &purpose).unwrap();
        let mut budget = Budget::start(self.service.pace);
        let mut session = Some(session);
        loop {
            budget.attempt();
            let confirm = Confirm {
                volume: volume(self.number),
                header: self.seen(release.generation),
                token: copy(&token),
                progress: None,
                hold: release.lease.hold,
            };
            let confirmed = match session.take() {
                Some(mut session) => session.confirm(confirm, budget.deadline()).await,
                None => match client.connect(budget.deadline()).await {
                    Ok(mut session) => session.confirm(confirm, budget.deadline()).await,
                    Err(error) => {
                        wait(&mut budget, &error.into()).await;
                        continue;
                    }
                },
            };
            match confirmed {
                Ok(ConfirmAnswer::Confirmed) => break,
                Ok(ConfirmAnswer::Refuse(no)) => wait(&mut budget, &AskError::Refused(no)).await,
                Err(error) => wait(&mut budget, &error.into()).await,
            }
        }
        self.generation = release.generation;
        Served {
            took: began.elapsed(),
            attempts: asked + budget.attempts() - 1,
        }
    }
}

fn copy(token: &dawnkey_secret::ConfirmToken) -> dawnkey_secret::ConfirmToken {
    dawnkey_secret::ConfirmToken::fill(|bytes| {
        bytes.copy_from_slice(token.expose());
        Ok::<_, AskError>(())
    })
    .unwrap()
}

async fn wait(budget: &mut Budget, error: &AskError) {
    match budget.wait(error.again(), &mut jitter) {
        Some(wait) => tokio::time::sleep(wait).await,
        None => panic!("attempt {}: not served: {error}", budget.attempts()),
    }
}

/// Nodes with blank disks.
pub fn fleet(world: &World, host: &Arc<Host>, nodes: usize) -> Vec<Node> {
    let service = ServiceConfig {
        pace: PACE,
        ..world.service_at(world.address())
    };
    let node = |number| Node {
        number,
        host: Arc::clone(host),
        service: service.clone(),
        launch: 0,
        generation: 0,
    };
    (0..nodes).map(node).collect()
}

/// Starts all of them at once and waits for the last.
pub async fn storm(nodes: &mut Vec<Node>) -> Storm {
    let began = Instant::now();
    let tasks: Vec<_> = nodes
        .drain(..)
        .map(|mut node| {
            tokio::spawn(async move {
                node.launch += 1;
                let served = node.start().await;
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
