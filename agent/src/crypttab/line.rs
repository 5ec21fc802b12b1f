//! What the program that asks for a key was told: `systemd-cryptsetup attach VOLUME DEVICE KEY-FILE OPTIONS`, which is
//! its line of `/etc/crypttab`.
//!
//! Whoever asks is a program of the measured image, running as root: nobody to be defended against, but it may have been told to
//! read its header from the disk, and then the key would open what a host has written there. So its own words must say
//! that it uses our header, for our disk, and nothing that gives the key another meaning.

use super::Places;
use dawnkey_dm::DeviceNumber;
use dawnkey_dm::handing::Offer;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Most bytes of a command line that are looked at.
const MAX: usize = 16 << 10;
/// Options without a say in what the key opens: those of systemd's units and of speed. Behind `=` may be anything.
const HARMLESS: &[&str] = &[
    "luks",
    "header",
    "headless",
    "nofail",
    "noauto",
    "_netdev",
    "noearly",
    "timeout",
    "tries",
    "discard",
    "no-read-workqueue",
    "no-write-workqueue",
    "same-cpu-crypt",
    "submit-from-crypt-cpus",
    "read-only",
    "readonly",
    "password-echo",
    "tpm2-measure-pcr",
    "tpm2-measure-bank",
    "tpm2-measure-keyslot-nvpcr",
    "fixate-volume-key",
    "link-volume-key",
];

/// A program's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    volume: String,
    device: String,
    key_file: String,
    options: String,
}

/// The program was told something else than to open this volume with our header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not `systemd-cryptsetup attach`.
    #[error("it is {found:?}, must be systemd-cryptsetup attach")]
    Program {
        /// The first word, cut.
        found: String,
    },
    /// It opens another volume.
    #[error("it opens {found:?}, must open {wanted}")]
    Volume {
        /// What it opens.
        found: String,
        /// This volume.
        wanted: String,
    },
    /// It opens another disk.
    #[error("its line names the disk {found}, the volume is on device {wanted}")]
    Device {
        /// What it names, with what that is.
        found: String,
        /// The volume's disk.
        wanted: DeviceNumber,
    },
    /// It takes its key from a file.
    #[error("its line names the key file {found:?}, must be `-`")]
    KeyFile {
        /// What it names.
        found: String,
    },
    /// It reads its header from the disk, or from elsewhere.
    #[error(
        "its line does not say header={wanted}: it would open whatever header the disk shows it"
    )]
    Header {
        /// What it must say.
        wanted: String,
    },
    /// It may ask people for a passphrase.
    #[error("its line does not say headless=1: it could ask at a console that is the host's")]
    Headless,
    /// An option that is not known to be harmless.
    #[error("its line has the option {found:?}, which is not taken beside a validated header")]
    Option {
        /// The option.
        found: String,
    },
}

impl Told {
    /// Reads words that end with NUL each, as `/proc/PID/cmdline` has them.
    pub fn parse(words: &[u8]) -> Result<Self, LineError> {
        let text = String::from_utf8_lossy(words.get(..MAX.min(words.len())).unwrap_or_default());
        let mut words = text.split_terminator('\0');
        let program = words.next().unwrap_or_default();
        let not = || LineError::Program {
            found: program.chars().take(64).collect(),
        };
        let name = Path::new(program).file_name().unwrap_or_default();
        let mut words = words.filter(|word| *word != "--");
        if name != "systemd-cryptsetup" || words.next() != Some("attach") {
            return Err(not());
        }
        let mut next = || words.next().map(str::to_owned);
        let (volume, device) = next().zip(next()).ok_or_else(not)?;
        let (key_file, options) = (next().unwrap_or_default(), next().unwrap_or_default());
        Ok(Self {
            volume,
            device,
            key_file,
            options,
        })
    }

    /// Whether these words open the volume of `offer` with our header and nothing else.
    pub fn check(&self, places: &Places, offer: &Offer<'_>) -> Result<(), LineError> {
        if self.volume != offer.name.as_str() {
            return Err(LineError::Volume {
                found: self.volume.clone(),
                wanted: offer.name.to_string(),
            });
        }
        let socket = places.socket(offer.name);
        let none = ["", "-", "none"].contains(&self.key_file.as_str());
        if !none && Path::new(&self.key_file) != socket {
            return Err(LineError::KeyFile {
                found: self.key_file.clone(),
            });
        }
        let header = places.header(offer.name).display().to_string();
        self.check_options(&header)?;
        let found = places.number(Path::new(&self.device));
        if found.as_ref().ok() == Some(&offer.disk) {
            return Ok(());
        }
        Err(LineError::Device {
            found: match found {
                Ok(number) => format!("{} ({number})", self.device),
                Err(error) => format!("{} ({error})", self.device),
            },
            wanted: offer.disk,
        })
    }

    fn check_options(&self, header: &str) -> Result<(), LineError> {
        let (mut ours, mut headless) = (false, false);
        for option in self.options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "header" => ours = value == header,
                "headless" => headless = ["", "1", "yes", "true", "on", "y", "t"].contains(&value),
                _ if HARMLESS.contains(&key) || key.starts_with("x-") => {}
                _ => {
                    return Err(LineError::Option {
                        found: option.to_owned(),
                    });
                }
            }
        }
        match (ours, headless) {
            (false, _) => Err(LineError::Header {
                wanted: header.to_owned(),
            }),
            (true, false) => Err(LineError::Headless),
            (true, true) => Ok(()),
        }
    }
}

/// The number of a block device by any of its names.
///
/// # Errors
/// It is not there, or something else.
pub(super) fn number(device: &Path) -> io::Result<DeviceNumber> {
    let metadata = std::fs::metadata(device)?;
    if !metadata.file_type().is_block_device() {
        return Err(io::Error::other("not a block device"));
    }
    let part = |part: u64| u32::try_from(part).map_err(io::Error::other);
    Ok(DeviceNumber {
        major: part(nix::sys::stat::major(metadata.rdev()))?,
        minor: part(nix::sys::stat::minor(metadata.rdev()))?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_dm::MappedName;
    use dawnkey_secret::SlotKey;

    const DISK: DeviceNumber = DeviceNumber {
        major: 254,
        minor: 16,
    };

    fn judged(words: &[&str]) -> Result<(), LineError> {
        let words: String = words.iter().flat_map(|word| [*word, "\0"]).collect();
        let name = MappedName::new("state").unwrap();
        let places = Places::new("/run/dawnkey".into(), "/run/cryptsetup-keys.d".into());
        let places = places.with_numbers(|device| match device.to_str() {
            Some("/dev/vdb") => Ok(DISK),
            _ => Ok(DeviceNumber { minor: 32, ..DISK }),
        });
        let offer = Offer {
            name: &name,
            disk: DISK,
            header: &[],
            key: &SlotKey::take(&mut [7; 32]).unwrap(),
        };
        Told::parse(words.as_bytes())?.check(&places, &offer)
    }

    fn with(options: &str) -> Result<(), LineError> {
        let program = "/lib/systemd/systemd-cryptsetup";
        judged(&[program, "attach", "state", "/dev/vdb", "-", options])
    }

    const RIGHT: &str = "header=/run/dawnkey/state.header,headless=1";

    #[test]
    fn takes_the_line_that_the_manual_gives_and_options_of_units_and_speed() {
        for more in [
            "",
            ",luks,discard,x-initrd.attach,_netdev,timeout=30s",
            ",no-read-workqueue",
        ] {
            with(&format!("{RIGHT}{more}")).unwrap();
        }
        with("headless,header=/run/dawnkey/state.header").unwrap();
        let socket = "/run/cryptsetup-keys.d/state.key";
        judged(&[
            "systemd-cryptsetup",
            "attach",
            "--",
            "state",
            "/dev/vdb",
            socket,
            RIGHT,
        ])
        .unwrap();
    }

    #[test]
    fn refuses_a_line_without_our_header() {
        for options in [
            "headless=1",
            "",
            "luks,headless=1,header=/etc/other",
            "header=/run/dawnkey/other.header,headless=1",
            "header=/run/dawnkey/state.header,headless=1,header=/dev/vdb",
        ] {
            let refused = with(options);
            assert!(
                matches!(refused, Err(LineError::Header { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn refuses_a_line_that_may_ask_people() {
        let header = "header=/run/dawnkey/state.header";
        assert_eq!(with(header), Err(LineError::Headless));
        assert_eq!(
            with(&format!("{header},headless=0")),
            Err(LineError::Headless)
        );
    }

    #[test]
    fn refuses_options_that_give_the_key_another_meaning() {
        for option in [
            "plain",
            "swap",
            "tmp=ext4",
            "tcrypt",
            "bitlk",
            "tpm2-device=auto",
            "fido2-device=auto",
            "pkcs11-uri=auto",
            "offset=8",
            "skip=8",
            "cipher=null",
            "keyfile-offset=1",
            "keyfile-size=1",
            "try-empty-password=1",
            "key-slot=1",
            "unheard-of",
        ] {
            let found = option.to_owned();
            assert_eq!(
                with(&format!("{RIGHT},{option}")),
                Err(LineError::Option { found })
            );
        }
    }

    #[test]
    fn refuses_another_volume_disk_key_file_and_program() {
        let line = |words: [&str; 5]| judged(&[&words[..], &[RIGHT]].concat());
        let cryptsetup = "/usr/lib/systemd/systemd-cryptsetup";
        assert!(matches!(
            line([cryptsetup, "attach", "root", "/dev/vdb", "-"]),
            Err(LineError::Volume { .. })
        ));
        assert!(matches!(
            line([cryptsetup, "attach", "state", "/dev/vdc", "-"]),
            Err(LineError::Device { .. })
        ));
        assert!(matches!(
            line([cryptsetup, "attach", "state", "/dev/vdb", "/etc/key"]),
            Err(LineError::KeyFile { .. })
        ));
        for program in ["/usr/sbin/cryptsetup", "", "python3"] {
            assert!(matches!(
                line([program, "attach", "state", "/dev/vdb", "-"]),
                Err(LineError::Program { .. })
            ));
        }
        assert!(matches!(
            line([cryptsetup, "detach", "state", "/dev/vdb", "-"]),
            Err(LineError::Program { .. })
        ));
        assert!(matches!(Told::parse(b""), Err(LineError::Program { .. })));
    }
}
