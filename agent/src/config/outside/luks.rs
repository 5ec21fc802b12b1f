//! `rd.luks.name`, `rd.luks.uuid` and `rd.luks.options`, which systemd and dracut taught people; without `rd.` too.
//!
//! They may name what the file has left open, and may say again what it says. What they cannot do is change how one of
//! our volumes is opened: that is refused by name. Volumes that the file does not list are none of our business.

use crate::config::{ConfigError, Origin, Row, VolumeConfig};
use dawnkey_dm::MappedName;
use uuid::Uuid;

/// Options that change nothing about how a volume of ours is opened.
const HARMLESS: [&str; 8] = [
    "luks",
    "headless",
    "headless=1",
    "headless=yes",
    "headless=true",
    "x-initrd.attach",
    "_netdev",
    "initramfs",
];

/// What was said about LUKS volumes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Luks {
    names: Vec<(Uuid, String)>,
    wanted: Vec<Uuid>,
    /// Options, with the volume if they are for one.
    options: Vec<(Option<Uuid>, String)>,
    /// Parameters that name a key, a header or other data of one volume.
    foreign: Vec<(Uuid, String)>,
}

impl Luks {
    /// Takes a word of the command line; what is not about LUKS is passed over.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let short = name.strip_prefix("rd.").unwrap_or(name);
        let (id, rest) = match value.split_once('=') {
            Some((id, rest)) => (uuid(id), rest),
            None => (None, value),
        };
        match (short, id) {
            ("luks.name", Some(id)) => self.names.push((id, rest.to_owned())),
            ("luks.uuid", _) => self.wanted.extend(uuid(value)),
            ("luks.options", Some(id)) => self.options.push((Some(id), rest.to_owned())),
            ("luks.options", None) => self.options.push((None, value.to_owned())),
            ("luks.key" | "luks.data" | "luks.header", Some(id)) => {
                self.foreign.push((id, name.to_owned()));
            }
            _ => {}
        }
    }

    /// The name of a volume: the file's, or where it has none that of the command line.
    ///
    /// # Errors
    /// The two differ; the name is none.
    pub(crate) fn name(
        &self,
        volume: Uuid,
        file: Option<MappedName>,
    ) -> Result<Option<MappedName>, ConfigError> {
        let Some((_, said)) = self.names.iter().rev().find(|(id, _)| *id == volume) else {
            let wanted = self.wanted.contains(&volume);
            let default = || MappedName::new(&format!("luks-{volume}")).ok();
            return Ok(file.or_else(|| default().filter(|_| wanted)));
        };
        match (MappedName::new(said), file) {
            (Ok(said), Some(file)) if said != file => Err(ConfigError::Closed {
                origin: Origin::CommandLine,
                parameter: format!("rd.luks.name={volume}"),
                said: said.to_string(),
                file: file.to_string(),
            }),
            (Ok(said), _) => Ok(Some(said)),
            (Err(_), _) => Err(ConfigError::Outside {
                origin: Origin::CommandLine,
                parameter: format!("rd.luks.name={volume}"),
                found: format!("{said:?}"),
                right: "1 to 64 letters, digits, `_`, `.`, `+` or `-`, the first a letter or digit",
            }),
        }
    }

    /// Refuses what would change how one of the volumes is opened.
    pub(crate) fn refuse(&self, volumes: &[VolumeConfig]) -> Result<(), ConfigError> {
        let ours = |id: Uuid| volumes.iter().any(|volume| volume.wanted.volume == id);
        if let Some((id, name)) = self.foreign.iter().find(|(id, _)| ours(*id)) {
            return Err(refused(
                format!("{name}={id}"),
                "given",
                "nothing: the volume is opened from its own disk, with a key of the key service",
            ));
        }
        let of_ours = self.options.iter().filter(|(id, _)| id.is_none_or(ours));
        for (id, options) in of_ours {
            let mut each = options.split(',').filter(|option| !option.is_empty());
            if let Some(option) = each.find(|option| !harmless(option)) {
                let of = id.map(|id| format!("={id}")).unwrap_or_default();
                let right = "headless, x-initrd.attach, _netdev, timeout=, tries= and x-systemd.*, which change nothing; \
                             for a volume that is not ours name it: rd.luks.options=UUID=…";
                return Err(refused(format!("rd.luks.options{of}"), option, right));
            }
        }
        Ok(())
    }

    /// The names that the file has left open, for `config show`; numbered as the file's volumes are.
    pub(crate) fn row(&self, number: usize, name: &MappedName) -> Row {
        let key = format!("volume[{number}].name");
        Row::new(&key, format!("{:?}", name.as_str()), Origin::CommandLine)
    }
}

fn refused(parameter: String, found: &str, right: &'static str) -> ConfigError {
    ConfigError::Outside {
        origin: Origin::CommandLine,
        parameter,
        found: format!("{found:?}"),
        right,
    }
}

fn harmless(option: &str) -> bool {
    let begins = ["timeout=", "tries=", "x-systemd."];
    HARMLESS.contains(&option) || begins.iter().any(|begin| option.starts_with(begin))
}

/// A UUID, as dracut writes it too.
fn uuid(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text.strip_prefix("luks-").unwrap_or(text)).ok()
}
