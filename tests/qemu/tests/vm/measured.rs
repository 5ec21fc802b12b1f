//! What a boot measured is what was computed from files, whether or not a policy asks for it.

use dawnkey_qemu_tests::lab::Lab;
use serde_json::Value;

use crate::story::story;

/// Debian's OVMF has Secure Boot; with a variable store without keys it is off.
#[test]
fn pcr_7_is_what_was_computed_from_the_state_of_secure_boot() {
    let lab = Lab::open().unwrap();
    let scene = lab.scene().unwrap();
    let uki = lab.image.uki.display().to_string();
    let arguments = ["measure", "uki", &uki, "--secure-boot", "off", "--json"];
    let text = scene.operator.dawnkey(&arguments).unwrap();
    let computed: Value = serde_json::from_str(&text).unwrap();
    let booted = story().first.results.step("pcr7").unwrap();
    assert_eq!(booted.exit, 0, "{booted:?}");
    let booted = booted.stdout.trim().to_lowercase();
    assert_eq!(computed["pcrs"]["sha256"]["7"], booted.as_str());
}
