//! What the file may and may not say.
#![allow(clippy::unwrap_used)]
use crate::policy::testing::{FILE, parse};
use crate::policy::{PolicyError, Reopening};
use crate::release::Rollback;
use dawnkey_proto::message::OnLoss;

#[test]
fn reads_the_documented_file() {
    let policy = parse(FILE).unwrap();
    let state = &policy.volume_policies["state"];
    assert_eq!(state.images, ["node-2026-11"]);
    assert_eq!(state.rollback, Rollback::Refuse);
    assert_eq!(policy.images["node-2026-11"].values.len(), 3);
    assert_eq!(policy.roots.tpm_ek.len(), 1);
}

#[test]
fn leases_end_nothing_reopens_and_no_header_is_adopted_unless_the_file_says_so() {
    let policy = parse(FILE).unwrap();
    let state = &policy.volume_policies["state"];
    assert!(!state.hold && !state.adopted && state.on_loss.is_none());
    assert_eq!(state.reopen, Reopening::Refuse);
    let all = "hold = true\non_loss = \"suspend\"\nreopen = \"allow\"\nadopted = true";
    let uncached = parse(&FILE.replacen("instances = []", "cache_dek = false", 1)).unwrap();
    assert!(!uncached.volume_policies["state"].cache_dek);
    let policy = parse(&FILE.replacen("instances = []", all, 1)).unwrap();
    let state = &policy.volume_policies["state"];
    assert!(state.hold && state.adopted && state.cache_dek);
    assert_eq!(state.on_loss, Some(OnLoss::Suspend));
    assert_eq!(state.reopen, Reopening::Allow);
}

#[test]
fn refuses_an_action_on_loss_that_there_is_not_and_names_those_there_are() {
    let wrong = FILE.replacen("instances = []", "on_loss = \"panic\"", 1);
    let error = parse(&wrong).unwrap_err();
    assert!(
        matches!(&error, PolicyError::Value { key, .. } if key == "volume-policy.state.on_loss")
    );
    let all = "\"nothing\", \"warn\", \"suspend\", \"power-off\"";
    assert!(error.to_string().contains(all), "{error}");
}

#[test]
fn refuses_unknown_fields_everywhere() {
    for (at, extra) in [
        ("version = 1", "surprise = 1\nversion = 1"),
        ("[roots]", "[roots]\nsnp = []"),
        ("[roots]", "[platform.x]\nsev = {}\n[roots]"),
        ("[[image]]", "[[image]]\npcr = 4"),
        (
            "[image.pcrs.sha256]",
            "[image.pcrs.sha1]\n4 = \"00\"\n[image.pcrs.sha256]",
        ),
        ("enrol =", "enroll = \"never\"\nenrol ="),
    ] {
        let bent = FILE.replacen(at, extra, 1);
        assert!(
            matches!(parse(&bent), Err(PolicyError::Syntax { .. })),
            "{extra}"
        );
    }
}

#[test]
fn refuses_a_file_without_roots_and_trusts_nobody_who_is_not_named() {
    let none = FILE.replacen("[roots]\ntpm_ek = [\"ek-ca.pem\"]", "", 1);
    assert!(matches!(parse(&none), Err(PolicyError::Syntax { .. })));
    let empty = FILE.replacen("tpm_ek = [\"ek-ca.pem\"]", "", 1);
    assert!(parse(&empty).unwrap().roots.tpm_ek.is_empty());
}

#[test]
fn refuses_roots_that_cannot_be_read_or_hold_no_certificate() {
    let absent = FILE.replacen("ek-ca.pem", "absent.pem", 1);
    assert!(matches!(parse(&absent), Err(PolicyError::Read { .. })));
    let empty = FILE.replacen("ek-ca.pem", "empty.pem", 1);
    assert!(matches!(
        parse(&empty),
        Err(PolicyError::Value { key, .. }) if key == "roots.tpm_ek"
    ));
}

#[test]
fn refuses_missing_fields_without_guessing() {
    for line in FILE.lines().filter(|l| {
        [
            "trust_class",
            "images",
            "pcrs_pre_cap",
            "enrol",
            "rollback",
            "version",
        ]
        .iter()
        .any(|key| l.starts_with(key))
    }) {
        let bent = FILE.replacen(line, "", 1);
        let refused = parse(&bent).unwrap_err();
        let missing = matches!(&refused, PolicyError::Value { problem, .. } if problem.starts_with("is missing"));
        assert!(
            missing || matches!(refused, PolicyError::Syntax { .. }),
            "{line}"
        );
    }
}

#[test]
fn refuses_bad_hex_and_bad_pcr_numbers() {
    for (at, bent) in [
        ("4 = \"4444", "4 = \"zz44"),
        ("4 = \"4444", "4 = \"44"),
        ("\n4 = ", "\n24 = "),
        ("\n4 = ", "\n04 = "),
    ] {
        let text = FILE.replacen(at, bent, 1);
        assert!(
            matches!(parse(&text), Err(PolicyError::Value { key, .. }) if key.starts_with("image.node-2026-11.pcrs.sha256.")),
            "{bent}"
        );
    }
}

#[test]
fn refuses_duplicate_image() {
    let (_, image) = FILE.split_once("[[image]]").unwrap();
    let (image, _) = image.split_once("[volume-policy").unwrap();
    let twice = format!("{FILE}\n[[image]]{image}");
    assert!(matches!(
        parse(&twice),
        Err(PolicyError::DuplicateImage { name, .. }) if name == "node-2026-11"
    ));
}

#[test]
fn refuses_unknown_image_reference() {
    let bent = FILE.replacen("images = [\"node-2026-11\"]", "images = [\"node-2027\"]", 1);
    assert!(matches!(
        parse(&bent),
        Err(PolicyError::UnknownImage { image, .. }) if image == "node-2027"
    ));
}

#[test]
fn refuses_another_version() {
    let bent = FILE.replacen("version = 1", "version = 2", 1);
    assert!(matches!(
        parse(&bent),
        Err(PolicyError::Version { found: 2, .. })
    ));
}

#[test]
fn refuses_image_without_pcrs_bad_date_and_bad_instance() {
    let no_pcrs = FILE
        .lines()
        .filter(|l| !l.starts_with(|c: char| c.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(matches!(parse(&no_pcrs), Err(PolicyError::Value { .. })));
    let date = FILE.replacen("2027-11-01T00:00:00Z", "next year", 1);
    assert!(matches!(
        parse(&date),
        Err(PolicyError::Value { key, .. }) if key.ends_with("valid_until")
    ));
    let instance = FILE.replacen("instances = []", "instances = [\"12\"]", 1);
    assert!(matches!(
        parse(&instance),
        Err(PolicyError::Value { key, .. }) if key.ends_with("instances")
    ));
}
