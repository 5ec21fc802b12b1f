//! The key socket over real sockets, with the systemd-cryptsetup of this machine at the other end. It must be installed
//! (Debian: systemd). Mapping anything needs device-mapper, and is done in a virtual machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dawnkey_agent::crypttab::{Crypttab, LIMIT, Places};
use dawnkey_agent::report::Event;
use dawnkey_dm::handing::{Handing, Offer};
use dawnkey_dm::header::Detached;
use dawnkey_dm::{DeviceNumber, Integrity, Layout, MappedName};
use dawnkey_secret::{SlotKey, VolumeKey};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const DISK: DeviceNumber = DeviceNumber {
    major: 259,
    minor: 77,
};

/// An agent that hands out the key of `state`, in directories of its own.
struct Agent {
    dir: TempDir,
    places: Places,
    events: Receiver<Event>,
    handing: JoinHandle<(Result<(), String>, Vec<u8>)>,
}

/// Whatever path is named is the volume's disk, but for one.
fn numbers(device: &Path) -> std::io::Result<DeviceNumber> {
    let other = device.ends_with("other");
    Ok(DeviceNumber {
        minor: DISK.minor + u32::from(other),
        ..DISK
    })
}

fn name() -> MappedName {
    MappedName::new("state").unwrap()
}

impl Agent {
    fn start(limit: Duration) -> Self {
        // The header goes to memory only; this is one on every Linux.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let places = Places::new(dir.path().join("run"), dir.path().join("cryptsetup-keys.d"));
        let places = places.with_numbers(numbers);
        let (sender, events) = channel();
        let handing = {
            let places = places.clone();
            std::thread::spawn(move || {
                let layout = Layout::for_disk(Integrity::HmacSha256, 64 << 20).unwrap();
                let key = VolumeKey::fill(96, |key| {
                    key.fill(9);
                    Ok::<_, ()>(())
                });
                let header = Detached::new(Uuid::from_u128(5), &layout, &key.unwrap()).unwrap();
                let report = Box::new(move |event: &Event| drop(sender.send(event.clone())));
                let mut crypttab = Crypttab::new(places, limit, report);
                let name = name();
                let offer = Offer {
                    name: &name,
                    disk: DISK,
                    header: &header.bytes,
                    key: &header.key,
                };
                (crypttab.hand(&offer), header.key.expose().to_vec())
            })
        };
        let agent = Self {
            dir,
            places,
            events,
            handing,
        };
        assert_eq!(agent.event(), Event::KeyOffered { name: name() });
        agent
    }

    fn event(&self) -> Event {
        let event = self.events.recv_timeout(Duration::from_secs(60));
        event.expect("the agent says something")
    }

    /// Why the last one who asked got nothing.
    fn refused(&self) -> String {
        match self.event() {
            Event::KeyNotHanded { why, .. } => why,
            other => panic!("{other}"),
        }
    }

    /// What a socket of this name reads.
    fn read_as(&self, peer: &str) -> Vec<u8> {
        let socket = SocketAddr::from_pathname(self.places.socket(&name())).unwrap();
        let mut stream = if peer.is_empty() {
            UnixStream::connect_addr(&socket).unwrap()
        } else {
            named(peer, &socket)
        };
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        read
    }

    /// The machine's own program with this disk and these options of its line.
    fn attach(&self, disk: &str, options: &str) -> Output {
        let disk = self.dir.path().join(disk);
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        let program = ["/usr/lib/systemd", "/lib/systemd", "/usr/bin"]
            .map(|place| Path::new(place).join("systemd-cryptsetup"))
            .into_iter()
            .find(|program| program.exists())
            .expect("this test needs systemd-cryptsetup");
        // It looks for keys in /run only: ours is that in a namespace of its own, which needs no root.
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["sh", "-c", "mount --bind \"$0\" /run && exec \"$@\""])
            .args([self.dir.path(), &program])
            .args(["attach", name().as_str()])
            .args([disk.as_os_str(), "-".as_ref(), options.as_ref()])
            .env("SYSTEMD_LOG_LEVEL", "debug")
            .env("SYSTEMD_LOG_TARGET", "console")
            .output()
            .unwrap()
    }

    fn right_options(&self) -> String {
        let header = self.places.header(&name());
        format!("header={},headless=1", header.display())
    }

    /// The outcome, the key, and that nothing is left behind.
    fn end(self) -> (Result<(), String>, Vec<u8>) {
        let ended = self.handing.join().unwrap();
        for gone in [self.places.header(&name()), self.places.socket(&name())] {
            assert!(!gone.exists(), "{} is left", gone.display());
        }
        ended
    }
}

/// A connected socket with an abstract name, which std gives to listeners and datagram sockets only.
fn named(peer: &str, to: &SocketAddr) -> UnixStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
    use std::os::fd::AsRawFd as _;
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::empty(),
        None,
    );
    let socket = socket.unwrap();
    let address = UnixAddr::new_abstract(peer.as_bytes()).unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    let to = UnixAddr::new(to.as_pathname().unwrap()).unwrap();
    connect(socket.as_raw_fd(), &to).unwrap();
    socket.into()
}

#[test]
fn systemd_cryptsetup_gets_the_key_and_opens_the_header_with_it() {
    let agent = Agent::start(LIMIT);
    for path in [agent.places.header(&name()), agent.places.socket(&name())] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let dir = tempfile::tempdir().unwrap();
    let header = dir.path().join("header");
    fs::copy(agent.places.header(&name()), &header).unwrap();
    let output = agent.attach("disk", &agent.right_options());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(agent.event(), Event::KeyHanded { name: name() }, "{said}");
    let (ended, key) = agent.end();
    ended.unwrap();
    // It came as far as a disk without data lets it, and took our header for one.
    assert!(said.contains("is too small"), "{said}");
    // What it read is what opens the header: the same bytes, as a key file.
    let file = dir.path().join("key");
    fs::write(&file, key).unwrap();
    let opened = Command::new("cryptsetup")
        .args(["open", "--test-passphrase", "--key-file"])
        .args([&file, &header])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status();
    assert!(opened.unwrap().success());
}

#[test]
fn others_read_no_byte_and_the_offer_stands() {
    let agent = Agent::start(LIMIT);
    for (peer, why) in [
        ("", "no abstract name"),
        (
            "5cfe84d0f5c7cd7e/cryptsetup-tpm2/state",
            "nothing for tokens",
        ),
        (
            "5cfe84d0f5c7cd7e/cryptsetup-fido2/state",
            "nothing for tokens",
        ),
        ("5cfe84d0f5c7cd7e/cryptsetup/root", "asks for the key of"),
        (
            "5cfe84d0f5c7cd7e/home/state",
            "must be RANDOM/cryptsetup/VOLUME",
        ),
        // The right name, and a program that is not systemd-cryptsetup.
        (
            "5cfe84d0f5c7cd7e/cryptsetup/state",
            "must be systemd-cryptsetup",
        ),
    ] {
        assert_eq!(agent.read_as(peer), b"");
        let said = agent.refused();
        assert!(said.contains(why), "{said}");
    }
    agent.attach("disk", &agent.right_options());
    assert_eq!(agent.event(), Event::KeyHanded { name: name() });
    agent.end().0.unwrap();
}

#[test]
fn a_line_without_our_header_or_with_another_disk_gets_no_key() {
    let agent = Agent::start(LIMIT);
    for (disk, options, why) in [
        ("disk", "headless=1".to_owned(), "does not say header="),
        (
            "disk",
            "headless=1,header=/etc/hostname".into(),
            "does not say header=",
        ),
        (
            "disk",
            format!("{},tries=1,plain", agent.right_options()),
            "the option \"plain\"",
        ),
        ("other", agent.right_options(), "259:78"),
    ] {
        let output = agent.attach(disk, &options);
        assert!(!output.status.success());
        let said = agent.refused();
        assert!(said.contains(why), "{said}");
    }
    agent.attach("disk", &agent.right_options());
    assert_eq!(agent.event(), Event::KeyHanded { name: name() });
    agent.end().0.unwrap();
}

#[test]
fn nobody_comes_and_the_offer_ends_with_nothing_left_behind() {
    let agent = Agent::start(Duration::from_millis(50));
    let (ended, _) = agent.end();
    assert!(ended.unwrap_err().contains("/etc/crypttab"));
}

#[test]
fn a_header_goes_to_memory_only() {
    // Wherever the build is, it is on a disk.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let places = Places::new(dir.path().join("run"), dir.path().join("keys"));
    let name = name();
    let offer = Offer {
        name: &name,
        disk: DISK,
        header: b"header",
        key: &SlotKey::take(&mut [7; 32]).unwrap(),
    };
    let mut crypttab = Crypttab::new(places.clone(), LIMIT, Box::new(|_| {}));
    let refused = crypttab.hand(&offer).unwrap_err();
    assert!(refused.contains("is not a tmpfs"), "{refused}");
    assert!(!places.header(&name).exists());
}
