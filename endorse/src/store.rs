//! The local store: one directory, one file per item, checked on every load.
//!
//! A file is trusted as little as an answer from the network: it is checked against the roots, and it must be the
//! item that its place says. Writes are atomic (a new file, then a rename, both synced) and made under a lock, so that
//! a service and a tool may share a store. An older statement never replaces a newer one. `docs/endorsements.md` has
//! the layout.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dawnkey_attest::snp::certs::rfc3339;
use dawnkey_attest::snp::product::Product;
use sha2::{Digest, Sha256};

use crate::check::{CheckError, Checked, Helpers, MAX_DOCUMENT, Trust, check, documents};
use crate::item::{Item, line};
use crate::pem;

/// Most issuer chains that are read.
const MAX_CHAINS: usize = 32;
/// Most files that a listing visits.
const MAX_FILES: usize = 200_000;
/// Name of the file under which something new is written.
const NEW: &str = ".new";
/// Where issuer chains lie.
const CHAINS: &str = "intel/chains";

/// Why the store does not give or take an item.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is not what a store may hold.
    #[error("endorsement {path} is refused: {source}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CheckError,
    },
    /// A file is genuine, but in the place of another item.
    #[error("endorsement {path} is refused: it is the {found}")]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: Item,
    },
    /// A file that belongs to no store.
    #[error("{path} is no place of an endorsement; remove the file, or import it")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// An older statement was to replace a newer one.
    #[error(
        "the {item} of {} (evaluation number {}) is not replaced by an older one of {} (evaluation number {})",
        rfc3339(*.have_issued), .have_number, rfc3339(*.offered_issued), .offered_number
    )]
    Older {
        /// What it is about.
        item: Item,
        /// Evaluation number of the one in the store.
        have_number: u32,
        /// Date of the one in the store.
        have_issued: u64,
        /// Evaluation number of the one that was refused.
        offered_number: u32,
        /// Date of the one that was refused.
        offered_issued: u64,
    },
}

/// What became of an item that was put into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none before.
    Added,
    /// It replaced an older one, or a file that was refused.
    Replaced,
    /// The store has one that is as new.
    Unchanged,
}

/// A file of the store, and what it is.
#[derive(Debug)]
pub struct Listed {
    /// Its path, relative to the store.
    pub path: PathBuf,
    /// The item, or why the file is refused.
    pub outcome: Result<Arc<Checked>, StoreError>,
}

/// Tells one state of a file from another.
type Stamp = (u64, u64, i64, i64);

struct Loaded {
    stamp: Stamp,
    checked: Arc<Checked>,
}

/// A store.
pub struct Store {
    directory: PathBuf,
    trust: RwLock<Arc<Trust>>,
    loaded: Mutex<HashMap<Item, Loaded>>,
}

impl Store {
    /// Opens a store, and makes its directory if there is none. One that is only read may be on a read-only medium.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be made.
    pub fn open(directory: &Path, trust: Arc<Trust>) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(at("make the directory", directory))?;
        Ok(Self {
            directory: directory.to_owned(),
            trust: RwLock::new(trust),
            loaded: Mutex::default(),
        })
    }

    /// Whether the store can be written.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is no lock file that can be opened for writing.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        self.lock_file().map(drop)
    }

    /// The roots in force.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other roots in force; what was loaded is checked again.
    pub fn set_trust(&self, trust: Arc<Trust>) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
        self.cache().clear();
    }

    /// Loads an item; `None` if the store has none. `now` is seconds since 1970.
    ///
    /// # Errors
    /// [`StoreError`] if there is a file and it cannot be read or is refused.
    pub fn get(&self, item: &Item, now: u64) -> Result<Option<Arc<Checked>>, StoreError> {
        let path = self.directory.join(item.path());
        let stamp = match fs::metadata(&path) {
            Ok(meta) => (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("read", &path)(error)),
        };
        let known = self
            .cache()
            .get(item)
            .map(|loaded| (loaded.stamp, Arc::clone(&loaded.checked)));
        if let Some((same, checked)) = &known
            && *same == stamp
        {
            return Ok(Some(Arc::clone(checked)));
        }
        let checked = Arc::new(self.load(item, &path, now)?);
        if let Some((_, before)) = known.filter(|(_, before)| checked.is_older_than(before)) {
            return Err(older(&before, &checked));
        }
        let loaded = Loaded {
            stamp,
            checked: Arc::clone(&checked),
        };
        self.cache().insert(item.clone(), loaded);
        Ok(Some(checked))
    }

    fn load(&self, item: &Item, path: &Path, now: u64) -> Result<Checked, StoreError> {
        let refused = |source| StoreError::Refused {
            path: item.path(),
            source,
        };
        let file = read(path)?;
        let mut found = documents(&file).map_err(refused)?;
        let (Some(document), true) = (found.pop(), found.is_empty()) else {
            return Err(refused(CheckError::Unknown("it must hold one certificate")));
        };
        let helpers = self.helpers(item)?;
        let vlek = matches!(item, Item::VlekCrl(_));
        let checked = check(&document, vlek, &self.trust(), &helpers, now).map_err(refused)?;
        if checked.item != *item {
            let path = item.path();
            let found = checked.item;
            return Err(StoreError::Misplaced { path, found });
        }
        Ok(checked)
    }

    /// What the check of an item needs beside it.
    fn helpers(&self, item: &Item) -> Result<Helpers, StoreError> {
        let mut helpers = Helpers::default();
        match item {
            Item::Vcek { product, .. } | Item::Vlek { product, .. } => {
                helpers.authorities = self.authorities(product);
            }
            Item::TcbInfo(_) | Item::QeIdentity | Item::PckCrl(_) => {
                helpers.chains = self.chains()?;
            }
            Item::TpmIntermediate(_) => helpers.tpm = self.tpm_intermediates()?,
            _ => {}
        }
        Ok(helpers)
    }

    /// ASK and ASVK of a line, DER, unchecked; a file that cannot be read is as good as none.
    pub(crate) fn authorities(&self, product: &Product) -> Vec<Vec<u8>> {
        [Item::Ask(product.clone()), Item::Asvk(product.clone())]
            .iter()
            .filter_map(|item| read(&self.directory.join(item.path())).ok())
            .filter_map(|file| documents(&file).ok())
            .flatten()
            .collect()
    }

    /// Everything that may stand between roots and items, unchecked.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn all_helpers(&self) -> Result<Helpers, StoreError> {
        let mut helpers = Helpers {
            authorities: Vec::new(),
            chains: self.chains()?,
            tpm: self.tpm_intermediates()?,
        };
        for name in names(&self.directory.join("amd"))? {
            if let Some(product) = crate::item::product(&name).filter(|p| line(p) == name) {
                helpers.authorities.extend(self.authorities(&product));
            }
        }
        Ok(helpers)
    }

    /// Issuer chains, PEM, unchecked.
    fn chains(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.files_in(CHAINS, ".pem", MAX_CHAINS)
    }

    /// Certificates of TPM vendors' CAs, DER, unchecked.
    fn tpm_intermediates(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.files_in("tpm", ".der", 1024)
    }

    fn files_in(&self, below: &str, end: &str, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let directory = self.directory.join(below);
        let names = names(&directory)?;
        let fitting = names.iter().filter(|name| name.ends_with(end)).take(most);
        fitting.map(|name| read(&directory.join(name))).collect()
    }

    /// Puts a checked item into its place.
    ///
    /// # Errors
    /// [`StoreError::Older`]; [`StoreError::Io`].
    pub fn put(&self, checked: &Checked, now: u64) -> Result<Put, StoreError> {
        let lock = self.lock_file()?;
        lock.lock().map_err(at("lock", &self.directory))?;
        let path = self.directory.join(checked.item.path());
        let before = match self.get(&checked.item, now) {
            Ok(None) => Put::Added,
            // A file that is refused protects nothing.
            Err(StoreError::Refused { .. } | StoreError::Misplaced { .. }) => Put::Replaced,
            Err(error) => return Err(error),
            Ok(Some(have)) if checked.is_older_than(&have) => return Err(older(&have, checked)),
            Ok(Some(have)) if have.is_older_than(checked) => Put::Replaced,
            Ok(Some(_)) => return Ok(Put::Unchanged),
        };
        if let Some(chain) = &checked.chain {
            let name = hex::encode(Sha256::digest(chain).get(..8).unwrap_or_default());
            let place = self.directory.join(CHAINS).join(format!("{name}.pem"));
            if !place.exists() {
                write(&place, chain)?;
            }
        }
        match checked.item {
            Item::Ark(_) | Item::Ask(_) | Item::Asvk(_) => {
                write(&path, pem::certificate(&checked.document).as_bytes())?;
            }
            _ => write(&path, &checked.document)?,
        }
        self.cache().remove(&checked.item);
        Ok(before)
    }

    /// Every file in the store, in the order of their paths.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a directory cannot be read.
    pub fn list(&self, now: u64) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for path in self.paths()? {
            let outcome = match Item::of_path(&path) {
                None => Err(StoreError::Foreign { path: path.clone() }),
                Some(item) => match self.get(&item, now) {
                    Ok(Some(checked)) => Ok(checked),
                    // Gone since the directory was read.
                    Ok(None) => continue,
                    Err(error) => Err(error),
                },
            };
            listed.push(Listed { path, outcome });
        }
        Ok(listed)
    }

    /// Paths of all files but chains and the lock.
    fn paths(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut found = Vec::new();
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            for name in names(&self.directory.join(&below))? {
                let path = below.join(&name);
                if name == "lock" || path == Path::new(CHAINS) || found.len() >= MAX_FILES {
                    continue;
                }
                // Links are not followed: they would lead out of the store.
                let whole = self.directory.join(&path);
                let meta = fs::symlink_metadata(&whole).map_err(at("read", &whole))?;
                if meta.is_dir() && path.components().count() < 5 {
                    open.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Files of an export: every item that is not refused, and the chains they need, by path.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn files(&self, now: u64) -> Result<Vec<(PathBuf, Vec<u8>)>, StoreError> {
        let mut files = Vec::new();
        let chains = self.directory.join(CHAINS);
        for name in names(&chains)? {
            files.push((Path::new(CHAINS).join(&name), read(&chains.join(&name))?));
        }
        for Listed { path, outcome } in self.list(now)? {
            if outcome.is_ok() {
                let bytes = read(&self.directory.join(&path))?;
                files.push((path, bytes));
            }
        }
        Ok(files)
    }

    fn lock_file(&self) -> Result<File, StoreError> {
        let path = self.directory.join("lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at("open", &path))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<Item, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn older(have: &Checked, offered: &Checked) -> StoreError {
    StoreError::Older {
        item: have.item.clone(),
        have_number: have.number,
        have_issued: have.issued,
        offered_number: offered.number,
        offered_issued: offered.issued,
    }
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// Names in a directory in order, without hidden ones; none if there is no directory.
fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(at("read", directory))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file that may be a document.
fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes))
        .map_err(at("read", path))?;
    Ok(bytes)
}

/// Writes a file so that readers, also after a crash, see all of the old or all of the new one. Under the lock.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(at("make the directory", directory))?;
    let new = directory.join(NEW);
    let mut file = File::create(&new).map_err(at("write", &new))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(at("write", path))
}

impl Store {
    /// Certificates for a TCB of any provider.
    #[must_use]
    pub fn vleks(&self, product: &Product, tcb: [u8; 8]) -> Vec<Item> {
        let below = Path::new("amd").join(line(product)).join("vlek");
        let providers = names(&self.directory.join(below)).unwrap_or_default();
        let item = |provider| Item::Vlek {
            product: product.clone(),
            provider,
            tcb,
        };
        providers.into_iter().take(64).map(item).collect()
    }

    /// CAs of TPM vendors.
    #[must_use]
    pub fn tpm(&self, now: u64) -> Vec<Arc<Checked>> {
        let names = names(&self.directory.join("tpm")).unwrap_or_default();
        names
            .iter()
            .filter_map(|name| Item::of_path(&Path::new("tpm").join(name)))
            .filter_map(|item| self.get(&item, now).ok().flatten())
            .collect()
    }
}
