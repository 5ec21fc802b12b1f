//! A key service that has its master secret from a peer: it shows evidence like any node, and its own nodes unlock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "join/sources.rs"]
mod sources;

use dawnkey_agent::boot;
use dawnkey_agent::client::Client;
use dawnkey_agent::error::UnlockError;
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Job, Ports};
use dawnkey_agent::secret::{take, take_again};
use dawnkey_agent::unlock::Outcome;
use dawnkey_host_tests::world::node::{Node, image};
use dawnkey_host_tests::world::{VOLUME, World};
use dawnkey_keyservice::master;
use dawnkey_proto::closing::Opened;
use dawnkey_proto::message::Reason;
use dawnkey_secret::{Dek, MasterSecret};
use std::io::{PipeReader, Write};
use std::os::fd::AsRawFd;
use uuid::Uuid;

const SECRET: Uuid = Uuid::from_u128(0x77aa_1f0e_33b6_4d6e_8f2a_5d1c_0a8f_0001);

/// The master secret as the service reads it from the pipe that the agent has filled.
fn read(pipe: PipeReader) -> MasterSecret {
    let fd = u32::try_from(pipe.as_raw_fd()).unwrap();
    master::from_fd(fd).unwrap()
}

/// Runs the agent in an open boot, or in one that was closed with these volumes.
async fn secret(
    node: &mut Node,
    peer: &World,
    closed_with: Option<&[Opened]>,
) -> Result<(MasterSecret, Vec<Opened>), UnlockError> {
    let service = peer.service_at(peer.address());
    let mut attester = node.attester();
    let job = Job {
        volumes: &[],
        node_name: "keyservice-2",
        pace: service.pace,
        holder: false,
    };
    let mut ports = Ports {
        service: &mut Client::new(&service).unwrap(),
        attester: &mut attester,
        mapper: &mut (),
        leases: &mut node.keyring,
        jitter: &mut || 0,
        report: &mut |_: &Event| {},
    };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let hand = |dek: &Dek| writer.write_all(dek.expose());
    let closed = match closed_with {
        None => {
            let taken = take(&job, SECRET, &mut ports, hand).await;
            let finished = taken.map_err(|stopped| stopped.error)?;
            // What the command leaves for a restart of the service.
            let scratch = tempfile::tempdir().unwrap();
            let record = scratch.path().join("boot.json");
            boot::leave(&record, &finished).unwrap();
            boot::read(&record).unwrap()
        }
        Some(closed_with) => {
            let again = take_again(&job, SECRET, closed_with, &mut ports, hand).await;
            again.map_err(|stopped| stopped.error)?;
            closed_with.to_vec()
        }
    };
    drop(writer);
    Ok((read(reader), closed))
}

async fn peer(rules: &str) -> World {
    let world = World::with_rules(&image("quiet"), rules, 60).await;
    world.create_secret(SECRET).await;
    world
}

fn reason(error: &UnlockError) -> Reason {
    error.refusal().expect("refused").reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_its_master_secret_from_a_peer_unlocks_nodes_with_nobody_and_no_file() {
    let peer = peer("adopted = true").await;
    let mut host = Node::new(&peer.tpm_ca);
    let (master, _) = secret(&mut host, &peer, None).await.unwrap();
    let mut joined = World::with_master(&image("quiet"), master).await;
    let mut node = Node::new(&joined.tpm_ca);
    let made = node.unlock(&joined).await.unwrap();
    assert_eq!(made.outcome, Outcome::Provisioned);
    joined.stop().await;
    // The service's machine is turned off and on: it has the same secret again, and the node its disk.
    host.boot("quiet");
    let (master, _) = secret(&mut host, &peer, None).await.unwrap();
    joined.start_again(master).await;
    node.boot("quiet");
    let opened = node.unlock(&joined).await.unwrap();
    assert_eq!(opened.outcome, Outcome::Unlocked);
    let (again, _) = {
        host.boot("quiet");
        secret(&mut host, &peer, None).await.unwrap()
    };
    sources::assert_clean(&joined, again.expose());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_got_once_in_a_boot_unless_policy_lets_it_be_got_again() {
    for (rules, again) in [
        ("adopted = true", Err(Reason::ReopenNotAllowed)),
        ("adopted = true\nreopen = \"allow\"", Ok(())),
    ] {
        let peer = peer(rules).await;
        let mut host = Node::new(&peer.tpm_ca);
        let (first, closed_with) = secret(&mut host, &peer, None).await.unwrap();
        let asked = secret(&mut host, &peer, None).await.unwrap_err();
        assert_eq!(reason(&asked), Reason::PcrMismatch);
        let asked = secret(&mut host, &peer, Some(&closed_with)).await;
        match (asked, again) {
            (Ok((second, _)), Ok(())) => assert_eq!(second.expose(), first.expose()),
            (Err(error), Err(expected)) => assert_eq!(reason(&error), expected),
            (other, _) => panic!("{rules}: {}", other.is_ok()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_another_image_gets_no_secret_and_a_secret_opens_no_disk() {
    let peer = peer("adopted = true").await;
    let mut host = Node::new(&peer.tpm_ca);
    host.boot("init=/bin/sh");
    assert!(secret(&mut host, &peer, None).await.is_err());
    host.boot("quiet");
    // A disk under the secret's id would need a header that the service has recorded.
    let service = peer.service_at(peer.address());
    let refused = host.unlock_at(&service, SECRET).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::AlreadyProvisioned);
    host.unlock(&peer).await.unwrap();
    assert_ne!(VOLUME, SECRET);
}
