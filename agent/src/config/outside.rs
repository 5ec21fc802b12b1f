//! What may be said outside of the measured file: on the kernel command line and in system credentials.
//!
//! Both reach a machine in ways that are measured and in ways that are not, and a program in it cannot tell which. So
//! neither is trusted: [`Outside`] has places for addresses, for a hint, and for names that the file has left open, and
//! none for a pin, a policy, a key or for what is required. A parameter of ours that is in no line of [`TAKEN`] is refused by
//! name. `docs/agent.md` says what is measured where.

mod luks;
mod read;

pub use read::Texts;

use super::{ConfigError, Origin, Row, node_name};
use crate::discover::metadata::{Cloud, Metadata};
use crate::discover::resolver::MAX_SERVERS;
use crate::discover::{Endpoint, MAX_ENDPOINTS, Places, message::Name, system};
use luks::Luks;

/// What a parameter decides, and so what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decides {
    /// Where to look: endpoints are put before those of the file, anything else takes the place of the file's.
    Address,
    /// What the file has left open; never what it says.
    Open,
    /// Which of the image's files is read. Only on the command line, and read before anything else.
    File,
}

/// A parameter: `rd.dawnkey.NAME=` on the command line, the credential `dawnkey.NAME`.
struct Taken {
    name: &'static str,
    key: &'static str,
    decides: Decides,
    right: &'static str,
}

/// Everything that is taken from outside. What is not here comes from the measured file only.
const TAKEN: [Taken; 6] = [
    Taken {
        name: "endpoint",
        key: "service.endpoints",
        decides: Decides::Address,
        right: "HOST:PORT, several parted by commas",
    },
    Taken {
        name: "domain",
        key: "service.domain",
        decides: Decides::Address,
        right: "a DNS domain",
    },
    Taken {
        name: "metadata",
        key: "service.metadata",
        decides: Decides::Address,
        right: "aws, azure, gcp or openstack",
    },
    Taken {
        name: "resolver",
        key: "service.resolvers",
        decides: Decides::Address,
        right: "1 to 3 addresses of DNS servers, parted by commas",
    },
    Taken {
        name: "node_name",
        key: "node_name",
        decides: Decides::Open,
        right: "1 to 64 printable characters, and only if the file has no node_name",
    },
    Taken {
        name: "config",
        key: "the file",
        decides: Decides::File,
        right: "the name of a file in /etc/dawnkey without .toml, on the kernel command line",
    },
];

/// What was said outside of the file.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    places: Places,
    node_name: Option<(String, Origin)>,
    pub(super) luks: Luks,
    rows: Vec<Row>,
}

impl Outside {
    /// Reads what a machine was told. The command line comes second: what both say, it says last.
    ///
    /// # Errors
    /// A parameter of ours that is not taken, or has a value that cannot be used.
    pub fn of(texts: &Texts) -> Result<Self, ConfigError> {
        let mut outside = Self::default();
        for (name, value) in &texts.credentials {
            outside.parameter(Origin::Credential, name, value)?;
        }
        for (name, value) in texts.words() {
            if let Some(ours) = name.strip_prefix("rd.dawnkey.") {
                outside.parameter(Origin::CommandLine, ours, &value)?;
            } else {
                outside.luks.parameter(&name, &value);
            }
        }
        Ok(outside)
    }

    fn parameter(&mut self, origin: Origin, name: &str, value: &str) -> Result<(), ConfigError> {
        let found = TAKEN.iter().find(|taken| taken.name == name);
        let Some(taken) = found.filter(|t| t.decides != Decides::File || origin.is_words()) else {
            let taken: Vec<_> = TAKEN.iter().map(|taken| taken.name).collect();
            return Err(ConfigError::NotFromThere {
                origin,
                parameter: format!("{}{name}", origin.prefix()),
                taken: taken.join(", "),
            });
        };
        let bad = || ConfigError::Outside {
            origin,
            parameter: format!("{}{name}", origin.prefix()),
            found: format!("{value:?}"),
            right: taken.right,
        };
        let places = &mut self.places;
        match name {
            "endpoint" => {
                let new = many(value, str::parse::<Endpoint>, MAX_ENDPOINTS).ok_or_else(bad)?;
                places.endpoints.extend(new);
                places.endpoints.truncate(MAX_ENDPOINTS);
            }
            "domain" => places.domain = Some(Name::new(value).ok_or_else(bad)?),
            "metadata" => {
                let cloud = Cloud::named(value).ok_or_else(bad)?;
                places.metadata = Some(Metadata::of(cloud));
            }
            "resolver" => {
                let read = |text: &str| system::server(text).ok_or(());
                places.resolvers = many(value, read, MAX_SERVERS).ok_or_else(bad)?;
            }
            "node_name" => {
                self.node_name = Some((node_name(value).ok_or_else(bad)?, origin));
            }
            // Which file: it is being read by now.
            _ if read::is_file(value) => return Ok(()),
            _ => return Err(bad()),
        }
        // Of what is said twice the last counts, but for endpoints.
        self.rows
            .retain(|row| row.key != taken.key || name == "endpoint");
        self.rows
            .push(Row::new(taken.key, format!("{value:?}"), origin));
        Ok(())
    }

    /// Adds the addresses to those of the file.
    pub(super) fn add_places(&self, file: &mut Places) {
        let Places {
            endpoints,
            domain,
            resolvers,
            metadata,
        } = self.places.clone();
        file.endpoints.splice(0..0, endpoints);
        file.domain = domain.or(file.domain.take());
        file.metadata = metadata.or(file.metadata.take());
        if !resolvers.is_empty() {
            file.resolvers = resolvers;
        }
    }

    /// The node's name, where the file has none.
    pub(super) fn node_name(&self, file: Option<String>) -> Result<Option<String>, ConfigError> {
        match (file, &self.node_name) {
            (Some(file), Some((said, origin))) if file != *said => Err(ConfigError::Closed {
                origin: *origin,
                parameter: format!("{}node_name", origin.prefix()),
                said: said.clone(),
                file,
            }),
            (Some(file), _) => Ok(Some(file)),
            (None, said) => Ok(said.as_ref().map(|(name, _)| name.clone())),
        }
    }

    /// What of it has come into the configuration, for `config show`.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.iter().cloned()
    }
}

/// The values of a list, parted by commas or blanks: at least one, at most `most`, all of them good.
fn many<T>(text: &str, read: impl Fn(&str) -> Result<T, ()>, most: usize) -> Option<Vec<T>> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let fits = (1..=most).contains(&words.len());
    fits.then(|| words.into_iter().map(read).collect::<Result<_, _>>().ok())?
}
