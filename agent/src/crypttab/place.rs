//! What is put into `/run` for as long as a key is offered: the header and the socket.

use super::line;
use dawnkey_dm::handing::Offer;
use dawnkey_dm::{DeviceNumber, MappedName};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Says which block device a path is.
type Numbers = fn(&Path) -> io::Result<DeviceNumber>;

/// Where things are put.
#[derive(Debug, Clone)]
pub struct Places {
    run: PathBuf,
    keys: PathBuf,
    numbers: Numbers,
}

impl Places {
    /// Headers in `run`, sockets in `keys`; both are made if they are not there.
    #[must_use]
    pub fn new(run: PathBuf, keys: PathBuf) -> Self {
        Self {
            run,
            keys,
            numbers: line::number,
        }
    }

    /// Where the system looks: `/run/dawnkey` and `/run/cryptsetup-keys.d`.
    #[must_use]
    pub fn of_the_system() -> Self {
        Self::new(crate::lease::RUN.into(), "/run/cryptsetup-keys.d".into())
    }

    /// The same, with another way to tell devices.
    #[must_use]
    pub fn with_numbers(self, numbers: Numbers) -> Self {
        Self { numbers, ..self }
    }

    /// Where headers are, and how far volumes have come.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The header of a volume, as its line must name it.
    #[must_use]
    pub fn header(&self, name: &MappedName) -> PathBuf {
        self.run.join(format!("{name}.header"))
    }

    /// The socket of a volume's key.
    #[must_use]
    pub fn socket(&self, name: &MappedName) -> PathBuf {
        self.keys.join(format!("{name}.key"))
    }

    pub(super) fn number(&self, device: &Path) -> io::Result<DeviceNumber> {
        (self.numbers)(device)
    }
}

/// Something could not be put there.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct PlaceError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Header and socket of one offer; both go away with this.
#[derive(Debug)]
pub(super) struct Placed {
    header: PathBuf,
    socket: PathBuf,
    listener: Option<UnixListener>,
}

impl Placed {
    /// Puts both there, for our user only.
    pub(super) fn put(places: &Places, offer: &Offer<'_>) -> Result<Self, PlaceError> {
        let mut placed = Self {
            header: places.header(offer.name),
            socket: places.socket(offer.name),
            listener: None,
        };
        for directory in [&places.run, &places.keys] {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            made.map_err(at("create", directory))?;
        }
        // What an agent that was killed has left.
        placed.take_away();
        let header = &placed.header;
        write(&places.run, header, offer.header).map_err(at("write the header", header))?;
        let socket = &placed.socket;
        let listener = UnixListener::bind(socket).map_err(at("listen at", socket))?;
        fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(at("close", socket))?;
        placed.listener = Some(listener);
        Ok(placed)
    }

    /// The socket that the key is asked for at.
    pub(super) fn listener(&self) -> Option<&UnixListener> {
        self.listener.as_ref()
    }

    fn take_away(&self) {
        // What is not there need not go; what stays is worth nothing without the key, which dies with this process.
        for path in [&self.header, &self.socket] {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.take_away();
    }
}

/// Writes a file of this directory, which must be in memory: the header goes away with the machine.
fn write(directory: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = fstatfs(File::open(directory)?)?;
    if place.filesystem_type() != TMPFS_MAGIC {
        let why = format!("{} is not a tmpfs", directory.display());
        return Err(io::Error::other(why));
    }
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(file)?.write_all(bytes)
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError + use<> {
    let path = path.to_owned();
    move |source| PlaceError {
        doing,
        path,
        source,
    }
}
