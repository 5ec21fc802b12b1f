//! The key depends on what was booted, and expected measurements come from the image's file.

use std::collections::BTreeSet;

use dawnkey_qemu_tests::image::Image;
use dawnkey_qemu_tests::lab::{Lab, Scene};

use crate::story::{UNLOCK, failure, record};

/// SHA-256 values that `dawnkey measure` computes from an image's file.
fn computed(scene: &Scene<'_>, image: &Image) -> BTreeSet<String> {
    let uki = image.uki.display().to_string();
    digests(
        &scene
            .operator
            .dawnkey(&["measure", "uki", &uki, "--json"])
            .unwrap(),
    )
}

fn digests(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    words
        .filter(|word| word.len() == 64)
        .map(str::to_owned)
        .collect()
}

#[test]
fn changed_kernel_argument_is_refused_naming_the_pcr_and_both_values() {
    let lab = Lab::open().unwrap();
    let scene = lab.scene().unwrap();
    let disk = scene.volume().unwrap();
    let (before, digest) = (record(&scene).unwrap(), disk.digest().unwrap());
    let machine = scene.machine_with(&lab.changed, &scene.tpm).disk(&disk);
    let boot = machine
        .script(&format!("step unlock {UNLOCK}"))
        .boot()
        .unwrap();
    let (exit, reason, message) = failure(boot.results.step("unlock").unwrap());
    assert_eq!(exit, 21, "{message}");
    assert_eq!(reason, "image-unknown", "{message}");
    assert!(message.contains("PCR "), "{message}");
    let (expected, found) = (computed(&scene, &lab.image), computed(&scene, &lab.changed));
    let named = digests(&message);
    assert!(
        named
            .iter()
            .any(|d| expected.contains(d) && !found.contains(d)),
        "{message}"
    );
    assert!(
        named
            .iter()
            .any(|d| found.contains(d) && !expected.contains(d)),
        "{message}"
    );
    assert_eq!(disk.digest().unwrap(), digest);
    assert_eq!(record(&scene).unwrap(), before);
}
