//! `dawnkey measure` with the real binary, on the smallest image that is one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{dawnkey, dawnkey_init_with_roots};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

const FILE_ALIGNMENT: usize = 512;
const MAGIC: &[u8] = b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####";
const CMDLINE: &[u8] = b"console=ttyS0";

/// A PE32+ file with these sections and nothing to run.
fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; 64];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 64;
    out.extend(b"PE\0\0");
    out.extend(0x8664_u16.to_le_bytes());
    out.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    out.extend([0; 12]);
    out.extend(240_u16.to_le_bytes());
    out.extend(0x22_u16.to_le_bytes());
    let mut optional = vec![0; 240];
    optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
    optional[60..64].copy_from_slice(&u32::try_from(FILE_ALIGNMENT).unwrap().to_le_bytes());
    optional[108..112].copy_from_slice(&16_u32.to_le_bytes());
    out.extend(optional);
    let mut data = Vec::new();
    for (name, content) in sections {
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let at = u32::try_from(FILE_ALIGNMENT + data.len()).unwrap();
        let size = u32::try_from(content.len()).unwrap();
        for (field, value) in [(8, size), (12, at), (16, size), (20, at)] {
            header[field..field + 4].copy_from_slice(&value.to_le_bytes());
        }
        out.extend(header);
        data.extend_from_slice(content);
    }
    assert!(out.len() <= FILE_ALIGNMENT);
    out.resize(FILE_ALIGNMENT, 0);
    out.extend(data);
    out
}

fn uki(dir: &Path, cmdline: &[u8]) -> Vec<u8> {
    let linux = pe(&[(".text", b"kernel")]);
    let image = pe(&[
        (".sdmagic", MAGIC),
        (".cmdline", cmdline),
        (".linux", &linux),
        (".initrd", b"initrd"),
    ]);
    std::fs::write(dir.join("node.efi"), &image).unwrap();
    linux
}

/// PCR 11 as systemd-stub 252 extends it: name with NUL and content of every section, in its order.
fn pcr_11(sections: &[(&str, &[u8])]) -> String {
    let mut pcr = [0; 32];
    let mut extend = |bytes: &[u8]| {
        let digest = Sha256::digest(bytes);
        pcr = Sha256::new()
            .chain_update(pcr)
            .chain_update(digest)
            .finalize()
            .into();
    };
    for (name, content) in sections {
        extend(format!("{name}\0").as_bytes());
        extend(content);
    }
    hex::encode(pcr)
}

fn measured(dir: &Path) -> Value {
    let run = dawnkey(dir, &["measure", "uki", "node.efi", "--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn predicts_pcr_11_from_the_file_as_computed_apart() {
    let dir = tempfile::tempdir().unwrap();
    let linux = uki(dir.path(), CMDLINE);
    let pcrs = &measured(dir.path())["pcrs"]["sha256"];
    let expected = pcr_11(&[
        (".linux", &linux),
        (".cmdline", CMDLINE),
        (".initrd", b"initrd"),
    ]);
    assert_eq!(pcrs["11"], expected.as_str());
    assert_eq!(pcrs["12"], "0".repeat(64).as_str());
    let text = dawnkey(dir.path(), &["measure", "uki", "node.efi"]).out;
    assert!(text.contains(&format!("\n11   {expected}\n")), "{text}");
    assert!(text.contains("content of .cmdline"), "{text}");
}

#[test]
fn one_changed_kernel_argument_changes_pcrs_4_and_11() {
    let dir = tempfile::tempdir().unwrap();
    uki(dir.path(), CMDLINE);
    let one = measured(dir.path());
    uki(dir.path(), b"console=ttyS1");
    let two = measured(dir.path());
    for pcr in ["4", "11"] {
        let value = |json: &Value| json["pcrs"]["sha256"][pcr].clone();
        assert_ne!(value(&one), value(&two), "PCR {pcr}");
    }
}

#[test]
fn its_json_is_what_add_image_reads_and_its_snippet_is_a_policys() {
    let dir = tempfile::tempdir().unwrap();
    dawnkey_init_with_roots(dir.path());
    uki(dir.path(), CMDLINE);
    let json = dawnkey(dir.path(), &["measure", "uki", "node.efi", "--json"]).out;
    std::fs::write(dir.path().join("node.json"), json).unwrap();
    let add = [
        "policy",
        "add-image",
        "policy.toml",
        "--name",
        "n1",
        "--from",
        "node.json",
        "--volume-policy",
        "state",
    ];
    let run = dawnkey(dir.path(), &add);
    assert_eq!(run.code, 0, "{}", run.err);
    let snippet = dawnkey(
        dir.path(),
        &["measure", "uki", "node.efi", "--policy", "n2"],
    )
    .out;
    let path = dir.path().join("policy.toml");
    let policy = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{policy}{snippet}")).unwrap();
    let run = dawnkey(dir.path(), &["policy", "lint", "policy.toml"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(
        run.out.contains("has the values of image n1"),
        "{}",
        run.out
    );
}

#[test]
fn what_is_no_unified_kernel_image_ends_with_code_5_and_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, named) in [
        (b"no image".to_vec(), "is not a 64-bit PE file"),
        (pe(&[(".text", b"x")]), "no systemd-stub"),
        (pe(&[(".sdmagic", MAGIC)]), "no .linux section"),
        (
            pe(&[(".sdmagic", b"#### LoaderInfo: systemd-stub 199 ####")]),
            "is not known here",
        ),
    ] {
        std::fs::write(dir.path().join("node.efi"), bytes).unwrap();
        let run = dawnkey(dir.path(), &["measure", "uki", "node.efi"]);
        assert_eq!(run.code, 5, "{}", run.err);
        assert!(run.err.contains(named), "{}", run.err);
        assert!(run.out.is_empty(), "{}", run.out);
    }
}

/// A record as the agent writes it.
fn record(event: &[u8]) -> Vec<u8> {
    let digest = hex::encode(Sha256::digest(event));
    let data = hex::encode(event);
    format!(
        "\x1e{{\"pcr\":15,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{digest}\"}}],\
         \"content_type\":\"dawnkey\",\"content\":{{\"string\":\"\u{202e}x\",\"data\":\"{data}\"}}}}\n"
    )
    .into_bytes()
}

#[test]
fn replays_the_log_of_a_node_and_compares_it() {
    let dir = tempfile::tempdir().unwrap();
    let event = [
        b"dawnkey/v1/unlocked".as_slice(),
        &[9; 16],
        &[7; 16],
        &[0; 7],
        &[2],
    ]
    .concat();
    let log = [record(&event), record(b"something"), record(&[0; 4])].concat();
    std::fs::write(dir.path().join("log"), log).unwrap();
    let extend = |value: Vec<u8>, event: &[u8]| {
        Sha256::digest([value, Sha256::digest(event).to_vec()].concat()).to_vec()
    };
    let events = [event.as_slice(), b"something", &[0; 4]];
    let value = hex::encode(events.into_iter().fold(vec![0; 32], extend));
    let run = dawnkey(dir.path(), &["measure", "log", "log", "--expect", &value]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains(&value), "{}", run.out);
    let generation = "volume=07070707-0707-0707-0707-070707070707:generation=2";
    assert!(run.out.contains(generation), "{}", run.out);
    assert!(!run.out.contains('\u{202e}'), "{}", run.out);
    let run = dawnkey(dir.path(), &["measure", "log", "log", "--json"]);
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    let standing = |n: usize| shown["records"][n]["standing"].as_str().unwrap();
    assert_eq!([0, 1, 2].map(standing), ["proven", "said", "proven"]);
    assert_eq!(shown["registers"][0]["value"], value);
    let other = "00".repeat(32);
    let run = dawnkey(dir.path(), &["measure", "log", "log", "--expect", &other]);
    assert_eq!(run.code, 1, "{}", run.err);
    let run = dawnkey(dir.path(), &["measure", "log", "log", "--expect", "00"]);
    assert_eq!(run.code, 2, "{}", run.err);
    std::fs::write(dir.path().join("log"), "no log").unwrap();
    let run = dawnkey(dir.path(), &["measure", "log", "log"]);
    assert_eq!(run.code, 5, "{}", run.err);
}
