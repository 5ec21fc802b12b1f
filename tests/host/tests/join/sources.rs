//! Wherever the master secret comes from, it is in no file that the service makes or reads.

use base64::Engine;
use dawnkey_agent::unlock::{Done, Outcome};
use dawnkey_host_tests::world::node::{Node, image};
use dawnkey_host_tests::world::{CONFIG, VOLUME, World, scan};
use dawnkey_kek::WrappedSecret;
use dawnkey_kek::cluster::Cluster;
use dawnkey_keyservice::config::Config;
use dawnkey_keyservice::master::{self, Masters};
use dawnkey_secret::MasterSecret;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What nothing else in a file looks like.
const SECRET: [u8; 32] = [
    0x8e, 0x31, 0xf7, 0x5c, 0x02, 0xd9, 0x6b, 0xa4, 0x13, 0xce, 0x70, 0x95, 0x2a, 0xe8, 0x4d, 0xb6,
    0x0f, 0x9b, 0xc3, 0x58, 0x7e, 0x21, 0xd4, 0x86, 0x39, 0xfa, 0x65, 0xb2, 0x1c, 0xe7, 0x40, 0x93,
];

fn secret() -> MasterSecret {
    MasterSecret::take(&mut SECRET.to_vec()).unwrap()
}

/// The configuration with another source, and further providers.
fn config(source: &str, more: &str) -> String {
    let from = "master_secret = \"fd\"\n";
    assert!(CONFIG.contains(from));
    let provider = format!("master_secret = \"{source}\"\n{more}");
    CONFIG.replacen(from, &provider, 1)
}

/// A file descriptor with the secret behind it, as `--master-secret-fd` names it.
fn from_pipe() -> MasterSecret {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&SECRET).unwrap();
    drop(writer);
    master::from_fd(u32::try_from(reader.as_raw_fd()).unwrap()).unwrap()
}

/// The secret as a credential of a unit: its directory is a file system in memory that belongs to systemd.
fn from_credential(config: &str) -> Masters {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("master"), hex::encode(SECRET)).unwrap();
    let config = Config::parse(Path::new("/nowhere/keyservice.toml"), config).unwrap();
    let directory = Some(credentials.path().to_owned());
    Masters::read(&config.kek, None, directory).unwrap()
}

/// A volume is made and opened, the service stops and starts, the volume opens again; then every file is read.
async fn life(
    config: &str,
    masters: impl Fn() -> Masters,
    given: bool,
    prepare: &[(&str, Vec<u8>)],
) {
    let mut world = World::with_source(&image("quiet"), config, masters(), prepare).await;
    if given {
        world.give_master("cluster", &secret()).await;
    }
    world.create_volume(VOLUME).await;
    let mut node = Node::new(&world.tpm_ca);
    assert_eq!(
        outcome(node.unlock(&world).await.unwrap()),
        Outcome::Provisioned
    );
    world.stop().await;
    world.start_again_with(config, masters()).await;
    if given {
        world.give_master("cluster", &secret()).await;
    }
    node.boot("quiet");
    assert_eq!(
        outcome(node.unlock(&world).await.unwrap()),
        Outcome::Unlocked
    );
    assert_clean(&world, &SECRET);
    world.stop().await;
    assert_clean(&world, &SECRET);
}

fn outcome(done: Done) -> Outcome {
    done.outcome
}

/// Nothing of the secret is in any file of this service, and the files are those that were to be looked at.
pub fn assert_clean(world: &World, secret: &[u8]) {
    let names: Vec<String> = scan::files(world.path())
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for expected in [
        "keyservice.toml",
        "policy.toml",
        "dawnkey.redb",
        "audit.log",
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    assert_eq!(
        scan::found(world.path(), secret),
        [],
        "the secret is in a file"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_from_a_descriptor_or_a_credential_is_in_no_file() {
    let fd = config("fd", "");
    life(&fd, || Masters::one("cluster", from_pipe()), false, &[]).await;
    let credential = config("credential:master", "");
    life(&credential, || from_credential(&credential), false, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_another_provider_opens_is_in_no_file() {
    let outer = || MasterSecret::take(&mut [0x3d; 32]).unwrap();
    let salt = "22".repeat(32);
    let more = format!(
        "unwrap_with = \"outer\"\n[[kek.provider]]\nname = \"outer\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"fd\"\n"
    );
    let opener = Cluster::new("outer", outer(), [0x22; 32]);
    let wrapped = WrappedSecret::wrap(&opener, &secret())
        .await
        .unwrap()
        .text();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("master.json");
    std::fs::write(&file, &wrapped).unwrap();
    let text = config(&format!("wrapped:{}", file.display()), &more);
    let text = text.replacen(
        "[[kek.provider]]",
        "[kek]\nactive = \"cluster\"\n[[kek.provider]]",
        1,
    );
    let masters = || Masters::one("outer", outer());
    life(
        &text,
        masters,
        false,
        &[("master.json", wrapped.into_bytes())],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_an_operator_gave_is_in_no_file() {
    let operator = config("operator", "");
    life(&operator, Masters::default, true, &[]).await;
}

#[test]
fn the_scan_finds_a_secret_in_every_form_whole_or_cut_wherever_it_was_planted() {
    let hex = hex::encode(SECRET);
    let base64 = base64::prelude::BASE64_STANDARD;
    let embedded = |before: &str| base64.encode([before.as_bytes(), &SECRET, b"zz"].concat());
    let planted: [(&str, Vec<u8>); 9] = [
        ("raw", [b"head".as_slice(), &SECRET, b"tail"].concat()),
        ("raw", SECRET[16..].to_vec()),
        ("hex", format!("key = \"{hex}\"").into_bytes()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.as_bytes()[..32].to_vec()),
        ("base64", embedded("").into_bytes()),
        ("base64", embedded("a").into_bytes()),
        ("base64", embedded("ab").into_bytes()),
        (
            "base64",
            base64::prelude::BASE64_URL_SAFE.encode(SECRET).into_bytes(),
        ),
    ];
    for (form, content) in planted {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("state/more");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(scratch.path().join("clean"), b"nothing here").unwrap();
        assert_eq!(scan::found(scratch.path(), &SECRET), []);
        std::fs::write(deep.join("file"), &content).unwrap();
        let found = scan::found(scratch.path(), &SECRET);
        let right = |(file, as_form): &(std::path::PathBuf, &str)| {
            *file == deep.join("file") && *as_form == form
        };
        assert!(found.iter().any(right), "{form}: {found:?}");
    }
}
