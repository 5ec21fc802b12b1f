//! What Dawnkey adds to an initramfs that dracut or initramfs-tools makes.

use std::collections::BTreeSet;
use std::fs;

use dawnkey_qemu_tests::lab::Lab;

/// Paths in the list of an initramfs.
fn listed(lab: &Lab, name: &str) -> BTreeSet<String> {
    let path = lab.debian.dir.join(format!("{name}.list"));
    let text = fs::read_to_string(path).unwrap();
    let paths = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(8))
        .map(|path| path.trim_start_matches("./").to_owned());
    paths.collect()
}

/// Paths that are there because of Dawnkey, and a line about their number and size.
fn added(name: &str) -> (BTreeSet<String>, String) {
    let lab = Lab::open().unwrap();
    let (plain, full) = (listed(&lab, &format!("{name}.plain")), listed(&lab, name));
    let bytes = [format!("{name}.plain"), name.to_owned()].map(|name| {
        let path = lab.debian.dir.join(format!("{name}.initrd"));
        fs::metadata(path).unwrap().len()
    });
    let added: BTreeSet<String> = full.difference(&plain).cloned().collect();
    let modules = |path: &&String| path.contains("lib/modules/");
    let told = format!(
        "measured: {name}: {} files more, {} of them kernel modules; {:.1} MB without Dawnkey, {:.1} MB more with it",
        added.len(),
        added.iter().filter(modules).count(),
        bytes[0] as f64 / 1e6,
        (bytes[1] - bytes[0]) as f64 / 1e6,
    );
    (added, told)
}

/// Those of them that are named after the project.
fn ours(added: &BTreeSet<String>) -> Vec<&str> {
    let named = added.iter().filter(|path| path.contains("dawnkey"));
    named.map(String::as_str).collect()
}

/// A shell, a login or a way in that was not there before.
fn no_way_in(added: &BTreeSet<String>) {
    for program in [
        "sh", "bash", "dash", "busybox", "sulogin", "login", "agetty", "sshd",
    ] {
        let found = added
            .iter()
            .find(|path| path.rsplit('/').next() == Some(program));
        assert_eq!(found, None);
    }
}

#[test]
fn dracut_takes_these_files_of_ours_and_no_other() {
    let (added, told) = added("dracut");
    println!("{told}");
    assert_eq!(
        ours(&added),
        [
            "etc/cmdline.d/90-dawnkey.conf",
            "etc/dawnkey",
            "etc/dawnkey/agent.toml",
            "etc/dawnkey/ca.pem",
            "etc/modules-load.d/dawnkey.conf",
            "etc/systemd/network/zz-dawnkey.network",
            "etc/systemd/system/cryptsetup.target.wants/dawnkey-unlock@agent.service",
            "etc/systemd/system/dracut-emergency.service.d/90-dawnkey.conf",
            "etc/systemd/system/emergency.service.d/90-dawnkey.conf",
            "etc/systemd/system/initrd.target.wants/dawnkey-unlock@agent.service",
            "etc/systemd/system/rescue.service.d/90-dawnkey.conf",
            "etc/systemd/system/systemd-networkd-wait-online.service.d/90-dawnkey.conf",
            "usr/bin/dawnkey-agent",
            "usr/lib/systemd/system/dawnkey-failed@.service",
            "usr/lib/systemd/system/dawnkey-unlock@.service",
        ]
    );
    no_way_in(&added);
}

#[test]
fn initramfs_tools_take_these_files_of_ours_and_no_other() {
    let (added, told) = added("initramfs-tools");
    println!("{told}");
    assert_eq!(
        ours(&added),
        [
            "conf/conf.d/dawnkey",
            "etc/dawnkey",
            "etc/dawnkey/agent.toml",
            "etc/dawnkey/ca.pem",
            "etc/dawnkey/configs",
            "scripts/local-top/dawnkey",
            "usr/bin/dawnkey-agent",
        ]
    );
    no_way_in(&added);
}

#[test]
fn makers_of_initramfs_take_what_the_agent_loads_by_name() {
    for name in ["dracut", "initramfs-tools"] {
        let (added, _) = added(name);
        for part in [
            "libtss2-tcti-device.so.0",
            "dm-crypt.ko",
            "dm-integrity.ko",
            "mke2fs",
        ] {
            let found = added.iter().any(|path| path.contains(part));
            assert!(found, "{name} has no {part}: {added:#?}");
        }
    }
}
