//! `dawnkey measure snp` and `tdx` with the real binary, on the smallest firmware that is one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use common::{Run, dawnkey};
use serde_json::Value;
use sha2::{Digest, Sha384};
use std::path::Path;

const SIZE: usize = 16 * 1024;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Firmware of four pages with metadata for SNP and TDX, as OVMF has it before its end.
fn firmware(dir: &Path) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let base = 0u32.wrapping_sub(SIZE as u32);
    put(0, b"variables");
    put(0x1000, b"code");
    let sev = [u32::from_le_bytes(*b"ASEV"), 28, 1, 1, 0x80_0000, 0x1000, 1];
    put(0x2000, &words(&sev));
    let head = [u32::from_le_bytes(*b"TDVF"), 112, 1, 3];
    let tdx: [&[u32]; 4] = [
        &head,
        &[0x1000, 0x3000, base + 0x1000, 0, 0x3000, 0, 0, 1],
        &[0, 0x1000, base, 0, 0x1000, 0, 1, 0],
        &[0, 0, 0x80_9000, 0, 0x2000, 0, 2, 0],
    ];
    put(0x2100, &words(&tdx.concat()));
    let mut table = Vec::new();
    for (value, guid) in [
        (SIZE as u32 - 0x2100, "35657ae44a989847865e4685a7bf8ec2"),
        (SIZE as u32 - 0x2000, "666588dc4a989847a75e5585a7bf67cc"),
        (0x80_b004, "de71f7007e1acb4f890e68c77e2fb44e"),
    ] {
        table.extend(words(&[value]));
        table.extend(22u16.to_le_bytes());
        table.extend(hex::decode(guid).unwrap());
    }
    table.extend((table.len() as u16 + 18).to_le_bytes());
    table.extend(hex::decode("de82b596b21ff745baeaa366c55a082d").unwrap());
    put(SIZE - 32 - table.len(), &table);
    std::fs::write(dir.join("ovmf.fd"), &bytes).unwrap();
    bytes
}

fn json(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.err);
    serde_json::from_str(&run.out).unwrap()
}

/// MRTD as the TDX module computes it, written apart from the tool.
fn mr_td(firmware: &[u8]) -> String {
    let buffer = |name: &[u8], gpa: u64| {
        let mut buffer = [0; 128];
        buffer[..name.len()].copy_from_slice(name);
        buffer[16..24].copy_from_slice(&gpa.to_le_bytes());
        buffer
    };
    let base = (1u64 << 32) - SIZE as u64;
    let mut digest = Sha384::new();
    for page in (0x1000..SIZE as u64).step_by(4096) {
        digest.update(buffer(b"MEM.PAGE.ADD", base + page));
        for at in (page..page + 4096).step_by(256) {
            digest.update(buffer(b"MR.EXTEND", base + at));
            digest.update(&firmware[at as usize..at as usize + 256]);
        }
    }
    for page in [base, 0x80_9000, 0x80_a000] {
        digest.update(buffer(b"MEM.PAGE.ADD", page));
    }
    hex::encode(digest.finalize())
}

#[test]
fn mrtd_is_what_the_tdx_module_computes() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = firmware(dir.path());
    let found = json(&dawnkey(
        dir.path(),
        &["measure", "tdx", "ovmf.fd", "--json"],
    ));
    assert_eq!(found["tdx"]["mr_td"], mr_td(&firmware).as_str());
    assert_eq!(found["tdx"].as_object().unwrap().len(), 1);
    assert!(
        found["covers"]
            .as_str()
            .unwrap()
            .starts_with("firmware only")
    );
    let notes = found["notes"].as_array().unwrap();
    assert_eq!(
        notes.len(),
        2,
        "why RTMR 0, and why RTMR 1 and 2 are absent"
    );
    let args = [
        "measure",
        "tdx",
        "ovmf.fd",
        "--json",
        "--page-order",
        "add-then-measure",
    ];
    let other = json(&dawnkey(dir.path(), &args));
    assert_ne!(other["tdx"]["mr_td"], found["tdx"]["mr_td"]);
}

#[test]
fn a_td_is_predicted_from_blobs_and_written_as_a_policy_fragment() {
    let dir = tempfile::tempdir().unwrap();
    firmware(dir.path());
    let mut kernel = vec![0; 1024];
    kernel[..2].copy_from_slice(b"MZ");
    kernel[0x3c] = 64;
    kernel[64..68].copy_from_slice(b"PE\0\0");
    kernel[68..70].copy_from_slice(&0x8664u16.to_le_bytes());
    kernel[84..86].copy_from_slice(&240u16.to_le_bytes());
    kernel[88..90].copy_from_slice(&0x20bu16.to_le_bytes());
    kernel[88 + 60..88 + 64].copy_from_slice(&0x200u32.to_le_bytes());
    kernel[88 + 108..88 + 112].copy_from_slice(&16u32.to_le_bytes());
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    kernel[0x300..0x306].copy_from_slice(b"6.12.0");
    std::fs::write(dir.path().join("vmlinuz"), kernel).unwrap();
    std::fs::write(dir.path().join("order"), [0, 0]).unwrap();
    let args = [
        "measure",
        "tdx",
        "ovmf.fd",
        "--kernel",
        "vmlinuz",
        "--cmdline",
        "quiet",
        "--memory",
        "2048",
        "--secure-boot",
        "off",
        "--blob",
        "BootOrder=order",
    ];
    let found = json(&dawnkey(dir.path(), &[&args[..], &["--json"]].concat()));
    let names: Vec<&String> = found["tdx"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["mr_td", "rtmr0", "rtmr1", "rtmr2"]);
    assert_eq!(found["notes"], Value::Array(vec![]));
    let events = found["events"].as_array().unwrap();
    assert!(
        events
            .iter()
            .any(|event| event["rtmr"] == 0 && event["description"] == "BootOrder")
    );
    let run = dawnkey(dir.path(), &[&args[..], &["--policy", "node-1"]].concat());
    let policy: toml::Table = run.out.parse().unwrap();
    let image = &policy["image"][0];
    assert_eq!(image["name"].as_str(), Some("node-1"));
    for name in names {
        assert_eq!(
            image["tdx"][name.as_str()].as_str(),
            found["tdx"][name].as_str()
        );
    }
}

#[test]
fn a_launch_digest_says_whether_it_covers_the_image() {
    let dir = tempfile::tempdir().unwrap();
    firmware(dir.path());
    let args = [
        "measure",
        "snp",
        "ovmf.fd",
        "--vcpus",
        "2",
        "--vcpu-type",
        "EPYC-Milan-v2",
    ];
    let run = dawnkey(dir.path(), &[&args[..], &["--json"]].concat());
    let found = json(&run);
    assert_eq!(found["covers_image"], false);
    assert!(
        run.err.contains("whatever it boots has the same digest"),
        "{}",
        run.err
    );
    let measurement = found["snp"]["measurement"].as_str().unwrap();
    assert_eq!(measurement.len(), 96);
    let text = dawnkey(dir.path(), &args).out;
    assert!(
        text.contains(measurement) && text.contains("0x00a00f11"),
        "{text}"
    );
    let fragment = dawnkey(dir.path(), &[&args[..], &["--policy", "node-1"]].concat()).out;
    let policy: toml::Table = fragment.parse().unwrap();
    assert_eq!(
        policy["image"][0]["snp"]["measurement"].as_str(),
        Some(measurement)
    );
    let by_signature = [
        "measure",
        "snp",
        "ovmf.fd",
        "--vcpus",
        "2",
        "--vcpu-signature",
        "0xa00f11",
        "--json",
    ];
    assert_eq!(
        json(&dawnkey(dir.path(), &by_signature))["snp"],
        found["snp"]
    );
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    firmware(dir.path());
    std::fs::write(dir.path().join("noise"), [7; 8192]).unwrap();
    let snp = ["measure", "snp", "ovmf.fd", "--vcpus"];
    let tdx = ["measure", "tdx", "ovmf.fd"];
    for (args, code, named) in [
        ([&snp[..], &["1"]].concat(), 2, "--vcpu-type"),
        (
            [&snp[..], &["0", "--vcpu-type", "EPYC"]].concat(),
            2,
            "1 to 4096",
        ),
        (
            [&snp[..], &["1", "--vcpu-type", "Xeon"]].concat(),
            2,
            "EPYC-Genoa",
        ),
        (
            [&snp[..], &["1", "--vmm", "gce", "--vcpu-type", "EPYC"]].concat(),
            2,
            "EPYC-Milan",
        ),
        (
            [&snp[..], &["1", "--vcpu-type", "EPYC", "--kernel", "noise"]].concat(),
            5,
            "no SNP_KERNEL_HASHES",
        ),
        (
            ["measure", "snp", "noise", "--vcpus", "1", "--vmm", "ec2"].to_vec(),
            5,
            "table before its end",
        ),
        (
            ["measure", "tdx", "noise"].to_vec(),
            5,
            "table before its end",
        ),
        (
            [&tdx[..], &["--uki", "noise"]].concat(),
            2,
            "--no-partitions",
        ),
        (
            [&tdx[..], &["--uki", "noise", "--by-qemu"]].concat(),
            5,
            "not a 64-bit PE file",
        ),
        (
            [&tdx[..], &["--memory", "2048"]].concat(),
            2,
            "--secure-boot",
        ),
        (
            [&tdx[..], &["--memory", "2048", "--secure-boot", "off"]].concat(),
            2,
            "--blob",
        ),
        (
            [
                &tdx[..],
                &[
                    "--memory",
                    "1",
                    "--secure-boot",
                    "off",
                    "--blob",
                    "BootOrder=noise",
                ],
            ]
            .concat(),
            5,
            "64 MiB",
        ),
        ([&tdx[..], &["--blob", "a=noise"]].concat(), 2, "--memory"),
        ([&tdx[..], &["--recorded", "noise"]].concat(), 5, "CCEL"),
    ] {
        let run = dawnkey(dir.path(), &args);
        assert_eq!(run.code, code, "{args:?}: {}", run.err);
        assert!(run.err.contains(named), "{args:?}: {}", run.err);
        assert!(run.out.is_empty(), "{args:?}");
    }
}

#[test]
fn certificates_as_secure_boot_keys_need_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("node.efi"), b"no image").unwrap();
    std::fs::write(dir.path().join("pk.der"), [0x30, 0x82, 0, 0]).unwrap();
    std::fs::write(dir.path().join("pk.esl"), [1; 30]).unwrap();
    let base = ["measure", "uki", "node.efi", "--secure-boot", "on", "--pk"];
    let run = dawnkey(dir.path(), &[&base[..], &["pk.der"]].concat());
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("--owner"), "{}", run.err);
    let run = dawnkey(
        dir.path(),
        &[&base[..], &["pk.esl", "--owner", "x"]].concat(),
    );
    assert_eq!(run.code, 2, "{}", run.err);
    let run = dawnkey(
        dir.path(),
        &["measure", "uki", "node.efi", "--pk", "pk.esl"],
    );
    assert_eq!(run.code, 2, "{}", run.err);
}
