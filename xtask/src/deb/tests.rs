#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

/// Packages whose programs are `true`: what is in them beside the programs is the same.
fn packed(out: &Path) -> Vec<PathBuf> {
    let program = || PathBuf::from("/usr/bin/true");
    let binaries = Binaries {
        agent: program(),
        keyservice: program(),
        dawnkey: program(),
    };
    build(&Workspace::find().unwrap(), &binaries, out).unwrap()
}

fn said(arguments: &[&str], file: &Path) -> String {
    command::run(Command::new("dpkg-deb").args(arguments).arg(file)).unwrap()
}

/// Path and mode of everything but folders, as dpkg-deb lists it.
fn listed(file: &Path) -> Vec<(String, String)> {
    said(&["--contents"], file)
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| {
            assert!(line.contains(" root/root "), "{line}");
            let mut words = line.split_whitespace();
            let mode = words.next().unwrap_or_default().to_owned();
            (words.next_back().unwrap_or_default().to_owned(), mode)
        })
        .collect()
}

#[test]
fn same_inputs_give_the_same_packages() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (packed(first.path()), packed(second.path()));
    assert_eq!(first.len(), 3);
    for (one, other) in first.iter().zip(&second) {
        assert!(
            fs::read(one).unwrap() == fs::read(other).unwrap(),
            "{}",
            one.display()
        );
    }
}

#[test]
fn agent_brings_units_and_both_makers_of_initramfs_and_no_configuration() {
    let out = tempfile::tempdir().unwrap();
    let agent = &packed(out.path())[0];
    let listed = listed(agent);
    let mode = |path: &str| {
        let found = listed.iter().find(|(name, _)| name == path);
        found.map(|(_, mode)| mode.as_str())
    };
    for program in [
        "./usr/bin/dawnkey-agent",
        "./usr/lib/dawnkey/initramfs-list",
        "./usr/lib/dawnkey/clevis-jwe",
        "./usr/bin/clevis-encrypt-dawnkey",
        "./usr/bin/clevis-decrypt-dawnkey",
        "./usr/lib/dracut/modules.d/90dawnkey/module-setup.sh",
        "./usr/share/initramfs-tools/hooks/dawnkey",
        "./usr/share/initramfs-tools/scripts/local-top/dawnkey",
    ] {
        assert_eq!(mode(program), Some("-rwxr-xr-x"), "{program}");
    }
    for unit in ["unlock", "failed", "hold", "wipe"] {
        let unit = format!("./usr/lib/systemd/system/dawnkey-{unit}@.service");
        assert_eq!(mode(&unit), Some("-rw-r--r--"), "{unit}");
    }
    let waits = "./usr/lib/systemd/system/systemd-cryptsetup@.service.d/50-dawnkey.conf";
    assert_eq!(mode(waits), Some("-rw-r--r--"));
    assert_eq!(mode("./etc/dawnkey/agent.toml"), None);
    assert_eq!(listed.len(), 20, "{listed:#?}");
    let conffiles = said(&["--info"], agent);
    assert!(conffiles.contains("conffiles"), "{conffiles}");
    let info = command::run(
        Command::new("dpkg-deb")
            .arg("--info")
            .arg(agent)
            .arg("conffiles"),
    );
    assert_eq!(info.unwrap(), "/etc/dawnkey/initramfs.conf\n");
}

#[test]
fn control_names_libraries_and_what_is_loaded_by_name() {
    let out = tempfile::tempdir().unwrap();
    let files = packed(out.path());
    let field = |file: &Path, name: &str| {
        let mut dpkg = Command::new("dpkg-deb");
        let said = command::run(dpkg.arg("--field").arg(file).arg(name)).unwrap();
        said.trim().to_owned()
    };
    let depends = field(&files[0], "Depends");
    assert!(depends.starts_with("libc6 (>= 2."), "{depends}");
    assert!(depends.contains("libtss2-tcti-device0"), "{depends}");
    let names: Vec<String> = files.iter().map(|file| field(file, "Package")).collect();
    assert_eq!(names, ["dawnkey-agent", "dawnkey-keyservice", "dawnkey"]);
    for file in &files {
        assert_eq!(field(file, "Version"), VERSION);
        assert!(field(file, "Installed-Size").parse::<u32>().unwrap() > 0);
    }
}

#[test]
fn key_service_brings_its_user_and_keeps_what_was_stored() {
    let out = tempfile::tempdir().unwrap();
    let keyservice = &packed(out.path())[1];
    let paths: Vec<String> = listed(keyservice)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    for path in [
        "./usr/lib/sysusers.d/dawnkey-keyservice.conf",
        "./usr/lib/tmpfiles.d/dawnkey-keyservice.conf",
        "./usr/lib/systemd/system/dawnkey-keyservice.service",
    ] {
        assert!(paths.iter().any(|found| found == path), "{paths:#?}");
    }
    let mut dpkg = Command::new("dpkg-deb");
    let purge = command::run(dpkg.arg("--info").arg(keyservice).arg("postrm")).unwrap();
    assert!(!purge.contains("rm "), "{purge}");
}

#[test]
fn dpkg_unpacks_all_three_into_an_empty_root() {
    let dir = tempfile::tempdir().unwrap();
    let files = packed(&dir.path().join("out"));
    let root = dir.path().join("root");
    for place in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
    ] {
        fs::create_dir_all(root.join(place)).unwrap();
    }
    for database in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(database), "").unwrap();
    }
    let mut dpkg = Command::new("dpkg");
    // Not root: owners stay as they are. No libraries here: what the packages depend on is not asked.
    dpkg.args([
        "--force-not-root",
        "--force-bad-path",
        "--force-depends",
        "--no-triggers",
    ]);
    dpkg.arg(format!("--root={}", root.display()));
    dpkg.arg("--unpack").args(&files);
    command::run(&mut dpkg).unwrap();
    for program in ["dawnkey-agent", "dawnkey-keyservice", "dawnkey"] {
        assert!(root.join("usr/bin").join(program).exists(), "{program}");
    }
    let mut query = Command::new("dpkg-query");
    query.arg(format!(
        "--admindir={}",
        root.join("var/lib/dpkg").display()
    ));
    let known = command::run(query.args(["-W", "-f", "${Package} ${Status}\\n"])).unwrap();
    assert_eq!(
        known
            .lines()
            .filter(|line| line.ends_with(" unpacked"))
            .count(),
        3,
        "{known}"
    );
}
