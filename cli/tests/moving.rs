//! A volume moves to another service and store with the same KEK, and its disk opens there: real headers on a disk image,
//! the real agent's flow, the real binary, and a TPM as the KEK that both services use.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Run, dawnkey};
use dawnkey_agent::unlock::{Giver, Outcome};
use dawnkey_attest::fake::Swtpm;
use dawnkey_host_tests::world::node::{KIND, Node, image};
use dawnkey_host_tests::world::{VOLUME, World};
use dawnkey_proto::message::{Reason, Retry};
use std::path::Path;
use uuid::Uuid;

const NEW: Uuid = Uuid::from_u128(0xb000_0000_0000_4000_8000_0000_0000_0002);
const STRANGE: Uuid = Uuid::from_u128(0xb000_0000_0000_4000_8000_0000_0000_0003);

fn provider(tpm: &Swtpm) -> String {
    let tcti = tpm.tcti();
    format!("[[kek.provider]]\nname = \"host\"\nkind = \"tpm\"\ntcti = \"{tcti}\"\n")
}

fn run(world: &World, args: &[&str]) -> Run {
    dawnkey(world.path(), args)
}

fn succeeds(world: &World, args: &[&str]) -> String {
    let run = run(world, args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.err);
    run.out
}

/// The key of the volume on this disk, as the service and the disk's header give it.
fn volume_key(world: &World, disk: &Path) -> Vec<u8> {
    let (id, header) = (VOLUME.to_string(), disk.to_str().unwrap());
    let args = ["volume", "export-key", &id, "--header", header];
    succeeds(
        world,
        &[&args[..], &["--out", "volume.key", "--yes"]].concat(),
    );
    let out = world.path().join("volume.key");
    let key = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    assert_eq!(key.len(), 96);
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_opens_at_the_service_that_took_its_volume_over_and_nowhere_else() {
    let ca = dawnkey_attest::fake::SwtpmCa::new();
    let (kek, other) = (Swtpm::start(&ca, KIND), Swtpm::start(&ca, KIND));
    let old = World::with_provider(&image("quiet"), &provider(&kek)).await;
    let new = old.beside(NEW, &provider(&kek)).await;
    let strange = old.beside(STRANGE, &provider(&other)).await;
    for world in [&old, &new, &strange] {
        world.write_profile();
    }
    let mut node = Node::new(&old.tpm_ca);
    let done = node.unlock(&old).await.unwrap();
    assert_eq!(done.outcome, Outcome::Provisioned);
    let key = volume_key(&old, &node.disk);

    // A KEK that is another one opens nothing, and nothing is taken.
    let copy = strange.path().join("copy.jsonl");
    let copy = copy.to_str().unwrap();
    succeeds(&old, &["store", "export", "--out", copy]);
    let before = strange.store();
    let refused = run(&strange, &["store", "import", copy, "--restore"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains(&VOLUME.to_string()), "{}", refused.err);
    assert!(strange.store() == before, "the store has changed");

    let id = NEW.to_string();
    let moved = new.path().join("move.jsonl");
    let moved = moved.to_str().unwrap();
    let export = ["store", "export", "--hand-over-to", &id, "--out", moved];
    succeeds(&old, &[&export[..], &["--yes"]].concat());
    node.boot("quiet");
    let refusal = node.refused(&old).await;
    assert_eq!(
        (refusal.reason, refusal.retry),
        (Reason::VolumeMoved, Retry::After(30))
    );
    assert_eq!(node.refused(&new).await.reason, Reason::UnknownVolume);
    let before = new.store();
    succeeds(&new, &["store", "import", moved, "--dry-run"]);
    assert!(new.store() == before, "the store has changed");
    succeeds(&new, &["store", "import", moved]);

    let done = node.unlock(&new).await.unwrap();
    assert_eq!(done.outcome, Outcome::Unlocked);
    assert_eq!(done.mapping.seen.generation, 2);
    assert_eq!(done.giver, Giver::Service(NEW));
    assert!(!node.was_challenged(), "the machine moved with its volume");
    assert!(
        volume_key(&new, &node.disk) == key,
        "the disk has another key"
    );
    node.boot("quiet");
    assert_eq!(node.refused(&old).await.reason, Reason::VolumeMoved);
}
