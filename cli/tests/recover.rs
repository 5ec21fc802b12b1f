//! `dawnkey recover` with the real binary and real agents: through a key service, without one, as text, and a whole fleet.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
#[path = "common/waiting.rs"]
mod waiting;

use common::dawnkey;
use common::dawnkey_with;
use common::scene::{Scene, VOLUME};
use dawnkey_agent::unlock::Outcome;
use serde_json::Value;
use std::path::Path;
use waiting::{Boot, Chip, Guest, volumes};

/// Where no service is.
const NOWHERE: &str = "127.0.0.1:1";

/// A service, a chip, guests whose volumes it has unlocked once, and a grant key.
struct World {
    scene: Scene,
    guests: Vec<Guest>,
    public: String,
}

impl World {
    fn new(guests: u128) -> Self {
        Self::with(guests, |_| ())
    }

    fn with(guests: u128, change: impl FnOnce(&Path)) -> Self {
        let chip = Chip::new();
        let scene = Scene::start_with(|dir| {
            chip.write_policy(dir);
            change(dir);
        });
        let guests = volumes(guests).into_iter().map(|volume| {
            let id = volume.to_string();
            scene.json(&["volume", "create", "--policy", "state", "--id", &id]);
            let mut guest = Guest::new(&chip, volume);
            guest.unlock(&scene);
            guest
        });
        let guests = guests.collect();
        let files = ["--key", "grant.key", "--public", "grant.pub"];
        let made = scene.json(&[&["recovery-key", "new"], files.as_slice()].concat());
        Self {
            public: made["public"].as_str().unwrap().to_owned(),
            guests,
            scene,
        }
    }

    /// Boots a guest where it finds no service.
    fn boot(&mut self, guest: usize) -> Boot {
        self.boot_with(guest, "listen = \"127.0.0.1:0\"\n")
    }

    fn boot_with(&mut self, guest: usize, lines: &str) -> Boot {
        let ca = self.scene.dir.path().join("ca.pem");
        let lines = format!("keys = [\"{}\"]\n{lines}", self.public);
        self.guests[guest].launch(&ca, NOWHERE, Some(&lines))
    }
}

fn recover<'a>(node: &'a str, volume: &'a str) -> Vec<&'a str> {
    vec!["recover", node, "--volume", volume, "--key", "grant.key"]
}

fn audit(scene: &Scene, file: &str, event: &str) -> Value {
    let args = ["audit", "show", file, "--event", event, "--json"];
    dawnkey_json(scene.dir.path(), &args)
}

fn dawnkey_json(dir: &Path, args: &[&str]) -> Value {
    let run = dawnkey(dir, args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.err);
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn opens_a_volume_through_the_service_after_the_id_was_typed_and_leaves_a_record() {
    let mut world = World::new(1);
    let before = world.guests[0].disk_bytes();
    let boot = world.boot(0);
    let (at, id) = (boot.address(), VOLUME.to_string());
    let dir = world.scene.dir.path();
    let typed = dawnkey_with(dir, &recover(&at, &id), "yes\n");
    assert_eq!(typed.code, 2, "{}", typed.err);
    assert!(typed.err.contains("image         node"), "{}", typed.err);
    let looked = world
        .scene
        .json(&[recover(&at, &id).as_slice(), &["--look"]].concat());
    assert_eq!(looked["outcome"], "passed");
    let run = dawnkey_with(dir, &recover(&at, &id), &format!("{id}\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("opened"), "{}", run.out);
    let done = boot.ended().unwrap().done.remove(0);
    assert_eq!(done.outcome, Outcome::Recovered);
    assert!(world.guests[0].disk_bytes() == before);
    let looked = audit(&world.scene, "audit.log", "recover-looked");
    assert_eq!(looked[0]["fields"]["image"], "node");
    assert_eq!(looked[0]["fields"]["grant"], Value::Null);
    let records = audit(&world.scene, "audit.log", "recover");
    let record = &records.as_array().unwrap()[0]["fields"];
    assert_eq!(record["volume"], id.as_str());
    assert_eq!(
        (&record["image"], &record["node_name"]),
        (&"node".into(), &"guest-1".into())
    );
    // The next boot goes on where the header stands.
    world.guests[0].unlock(&world.scene);
}

#[test]
fn refuses_nodes_that_policy_refuses_and_the_node_goes_on_listening() {
    let mut world = World::new(1);
    world.guests[0].bend = |spec| spec.bent.push((0x90, 0));
    let boot = world.boot(0);
    let (at, id) = (boot.address(), VOLUME.to_string());
    let args = [recover(&at, &id).as_slice(), &["--yes"]].concat();
    for _ in 0..2 {
        let run = world.scene.run(&args);
        assert_eq!(run.code, 4, "{}", run.err);
        assert!(run.err.contains("image-unknown"), "{}", run.err);
    }
    let refused = audit(&world.scene, "audit.log", "recover-refused");
    assert_eq!(refused.as_array().unwrap().len(), 2);
}

#[test]
fn a_grant_of_another_key_is_refused_by_the_node_and_the_right_one_opens_it() {
    let mut world = World::new(1);
    let boot = world.boot(0);
    let (at, id) = (boot.address(), VOLUME.to_string());
    let files = ["--key", "other.key", "--public", "other.pub"];
    world
        .scene
        .json(&[&["recovery-key", "new"], files.as_slice()].concat());
    let mut args = recover(&at, &id);
    args.push("--yes");
    let mut other = args.clone();
    other[5] = "other.key";
    let run = world.scene.run(&other);
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("unknown-key"), "{}", run.err);
    assert_eq!(world.scene.json(&args)["outcome"], "opened");
    boot.ended().unwrap();
}

#[test]
fn an_older_copy_of_the_disk_is_refused_and_a_volume_that_the_node_does_not_wait_for() {
    let mut world = World::new(1);
    let old = world.guests[0].whole_disk();
    world.guests[0].unlock(&world.scene);
    world.guests[0].put_back(&old);
    let boot = world.boot(0);
    let (at, id) = (boot.address(), VOLUME.to_string());
    let run = world
        .scene
        .run(&[recover(&at, &id).as_slice(), &["--yes"]].concat());
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("stale-generation"), "{}", run.err);
    let other = volumes(2)[1].to_string();
    world
        .scene
        .json(&["volume", "create", "--policy", "state", "--id", &other]);
    let run = world
        .scene
        .run(&[recover(&at, &other).as_slice(), &["--yes"]].concat());
    assert_eq!(run.code, 4, "{}", run.err);
    assert!(run.err.contains("does not wait for"), "{}", run.err);
}

#[test]
fn opens_a_volume_without_any_service_and_keeps_a_log_of_its_own() {
    // The offline recovery key is the one that `init` makes.
    let mut world = World::new(1);
    world
        .scene
        .json(&["store", "export", "--out", "records.jsonl"]);
    let boot = world.boot(0);
    let (at, id) = (boot.address(), VOLUME.to_string());
    let World { scene, .. } = world;
    let dir = scene.stop();
    let offline = [
        "--offline-export",
        "records.jsonl",
        "--policy",
        "policy.toml",
        "--recovery-key",
        "offline/recovery.key",
    ];
    let args = [recover(&at, &id).as_slice(), &offline, &["--yes", "--json"]].concat();
    let shown = dawnkey_json(dir.path(), &args);
    assert_eq!(shown["outcome"], "opened");
    assert_eq!(boot.ended().unwrap().done[0].outcome, Outcome::Recovered);
    let verified = dawnkey(dir.path(), &["audit", "verify", "recovery.log"]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    let records = dawnkey_json(dir.path(), &["audit", "show", "recovery.log", "--json"]);
    assert_eq!(records[0]["event"], "recover-looked");
    let record = &records[1];
    assert_eq!(record["event"], "recover");
    assert_eq!(record["fields"]["grant"], shown["grant"]);
}

#[test]
fn opens_a_fleet_counts_the_failures_and_goes_on_where_it_was() {
    let mut world = World::new(5);
    let mut boots: Vec<_> = (0..5).map(|guest| world.boot(guest)).collect();
    let mut nodes: Vec<_> = boots.iter().map(Boot::address).collect();
    let last = nodes.pop().unwrap();
    // The last one is not where the inventory says at first.
    nodes.push(NOWHERE.to_owned());
    let write = |nodes: &[String], world: &World| {
        let sections = nodes.iter().zip(&world.guests).map(|(address, guest)| {
            format!(
                "[[node]]\naddress = \"{address}\"\nvolumes = [\"{}\"]\n",
                guest.volume
            )
        });
        let text: String = sections.collect();
        std::fs::write(world.scene.dir.path().join("nodes.toml"), text).unwrap();
    };
    write(&nodes, &world);
    let args = [
        "recover",
        "--all",
        "--inventory",
        "nodes.toml",
        "--key",
        "grant.key",
        "--yes",
        "--json",
    ];
    let run = world.scene.run(&args);
    assert_eq!(run.code, 11, "{}", run.err);
    let summary: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&summary["opened"], &summary["failed"]),
        (&4.into(), &1.into())
    );
    assert!(run.err.contains("5 of 5"), "{}", run.err);
    nodes[4] = last;
    write(&nodes, &world);
    let run = world.scene.run(&args);
    assert_eq!(run.code, 0, "{}", run.err);
    let summary: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (&summary["opened"], &summary["before"]),
        (&1.into(), &4.into())
    );
    for boot in boots.drain(..) {
        assert_eq!(boot.ended().unwrap().done[0].outcome, Outcome::Recovered);
    }
}

#[test]
fn a_request_copied_from_the_console_gets_a_grant_that_is_typed_there() {
    let mut world = World::new(1);
    let boot = world.boot_with(0, "console = true\n");
    let dir = world.scene.dir.path();
    std::fs::write(dir.join("request.txt"), format!("login:\n{}", boot.text())).unwrap();
    let id = VOLUME.to_string();
    let args = [
        "recover",
        "--request",
        "request.txt",
        "--volume",
        &id,
        "--key",
        "grant.key",
        "--yes",
    ];
    let run = world.scene.run(&args);
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(run.out.lines().count(), 17);
    // Drawn as well, the text stays what it is (another grant: each has its own number).
    let drawn = world.scene.run(&[&args[..], &["--qr"]].concat());
    assert_eq!(drawn.code, 0, "{}", drawn.err);
    let is_code = |line: &&str| line.contains(['█', '▀', '▄']);
    let (codes, text): (Vec<_>, Vec<_>) = drawn.out.lines().partition(is_code);
    assert!(codes.len() > 17, "{}", drawn.out);
    assert_eq!(text.iter().filter(|line| !line.is_empty()).count(), 17);
    for line in run.out.lines() {
        boot.typing.blocking_send(line.to_uppercase()).unwrap();
    }
    assert_eq!(boot.ended().unwrap().done[0].outcome, Outcome::Recovered);
}
