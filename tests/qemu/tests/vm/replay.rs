//! Every write that a real kernel and the agent make to a disk is recorded, from the first request of a format to the
//! end of the second opening, and replayed on the host: every prefix, and between two flushes every selection of the
//! writes to header and superblock. Each outcome is blank (the format begins anew), the volume as it was, or the
//! volume as it is to be.
//!
//! Writes behind the superblock are journal, tags and blocks; which of them are there changes nothing about what the
//! header is taken for, so that states that differ in them only are judged once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::layout::{BLOCK, HEADER};
use dawnkey_qemu_tests::nbd::{Backend, Cache, Event, Kind};
use serde_json::Value;

use crate::guest::FUNCTIONS;

const BYTES: u64 = 36 << 20;
const ID: &str = "5a1d7c36-0d2f-4b0a-8a3e-7c4f3b2a0f01";
/// More writes than these between two flushes are not replayed in every selection.
const MOST: usize = 10;

const SCRIPT: &str = r#"
tee_begin
unlock format state
close
tee_launch
unlock open state
close
"#;

/// What the header and the superblock of a disk are.
type Region = BTreeMap<u64, Vec<u8>>;

fn put(region: &mut Region, offset: u64, data: &[u8]) {
    for (number, page) in data.chunks(BLOCK as usize).enumerate() {
        region.insert(offset + number as u64 * BLOCK, page.to_vec());
    }
}

/// The states that a power cut can leave, each once, in the order of the log; and how many were looked at.
fn states(log: &[Event]) -> (Vec<(bool, Region)>, usize) {
    let (mut durable, mut waiting) = (Region::new(), Vec::<&Event>::new());
    let (mut seen, mut states, mut all) = (BTreeSet::new(), Vec::new(), 0);
    let end = Event {
        kind: Kind::Flush,
        offset: 0,
        length: 0,
        rule: None,
        data: None,
    };
    let mut header_durable = false;
    for event in log.iter().chain([&end]) {
        match event.kind {
            Kind::Write if event.data.is_some() => waiting.push(event),
            Kind::Write => all += 1,
            Kind::Flush => {
                assert!(waiting.len() <= MOST, "{} writes", waiting.len());
                for selection in 0_u32..1 << waiting.len() {
                    let mut region = durable.clone();
                    for (_, write) in (0..).zip(&waiting).filter(|(n, _)| selection >> n & 1 == 1) {
                        put(&mut region, write.offset, write.data.as_deref().unwrap());
                    }
                    all += 1;
                    if seen.insert(region.clone()) {
                        states.push((header_durable, region));
                    }
                }
                for write in waiting.drain(..) {
                    put(&mut durable, write.offset, write.data.as_deref().unwrap());
                    header_durable |= write.offset < HEADER;
                }
            }
            Kind::Read | Kind::Trim => {}
        }
    }
    (states, all)
}

/// `blank`, or the generation of the volume that opens with the service's key.
fn outcome(scene: &Scene<'_>, region: &Region) -> Result<String, VmError> {
    let image = scene.path("replayed.disk");
    let file = File::create(&image).unwrap();
    file.set_len(BYTES).unwrap();
    for (offset, page) in region {
        file.write_all_at(page, *offset).unwrap();
    }
    let path = image.display().to_string();
    let shown = scene
        .operator
        .dawnkey(&["volume", "header", "show", "--disk", &path, "--json"])?;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    if shown["state"] == "blank" {
        return Ok("blank".to_owned());
    }
    // Opens the seal, and compares the superblock.
    scene
        .operator
        .dawnkey(&["volume", "rescue", ID, "--disk", &path, "--check"])?;
    Ok(format!("generation {}", shown["generation"]))
}

#[test]
fn every_recorded_prefix_and_selection_is_blank_or_the_old_or_the_new_volume() {
    let lab = Lab::open().unwrap();
    let scene = lab.tee_scene().unwrap();
    scene.operator.create_volume(ID).unwrap();
    let disk = scene.blank("recorded.disk", BYTES).unwrap();
    let backend = Backend::serve(&disk, Cache::Through).unwrap();
    let script = format!("{FUNCTIONS}\nconfigure /dev/vda {ID} state\n{SCRIPT}");
    let boot = scene.direct().backend(&backend).script(&script).boot();
    let boot = boot.unwrap();
    for name in ["format", "open"] {
        let step = boot.results.step(name).unwrap();
        assert_eq!(step.exit, 0, "{step:#?}");
    }
    let log = backend.log();
    let (states, all) = states(&log);
    let mut counted = BTreeMap::<String, usize>::new();
    for (header_durable, region) in &states {
        let outcome = outcome(&scene, region).unwrap();
        // Once a header is durable there is a volume, whatever is cut.
        assert!(!header_durable || outcome != "blank");
        *counted.entry(outcome).or_default() += 1;
    }
    println!(
        "measured: {} requests recorded, {all} prefixes and selections, {} distinct: {counted:?}",
        log.len(),
        states.len()
    );
    let outcomes: Vec<&str> = counted.keys().map(String::as_str).collect();
    assert_eq!(outcomes, ["blank", "generation 1", "generation 2"]);
}
