//! A good volume, the means to write its header anew as somebody with the disk would, and a judge of what comes of it.

use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dawnkey_dm::fake::FakeMapper;
use dawnkey_dm::header::{HEADER_COPY_BYTES, REGION_BYTES};
use dawnkey_dm::{
    Found, Grant, HeaderError, Integrity, MapError, MappedName, Mapper, SealError, Wanted, Wipe,
};
use dawnkey_secret::Dek;
use sha2::{Digest, Sha256, Sha512};
use uuid::Uuid;

pub const VOLUME: Uuid = Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100);
pub const DISK_BYTES: u64 = 40 << 20;
/// Where the JSON part of a copy begins.
pub const JSON: usize = 4096;
/// The JSON member that a copy's salt follows from.
const NONCE: &str = "/tokens/0/nonce";

pub fn dek(byte: u8) -> Dek {
    Dek::take(&mut [byte; 32]).unwrap()
}

/// One presented header, and what must come of it.
pub struct Mutation {
    pub class: &'static str,
    pub label: String,
    pub region: Vec<u8>,
    /// Names of the reasons, one of which must be given: `Altered.Value tokens.0.nonce`, `Seal`, …
    pub expect: Vec<String>,
}

impl Mutation {
    pub fn new(
        class: &'static str,
        label: impl Into<String>,
        region: Vec<u8>,
        expect: &[&str],
    ) -> Self {
        Self {
            class,
            label: label.into(),
            region,
            expect: expect.iter().map(|&reason| reason.to_owned()).collect(),
        }
    }
}

/// What kind of volume a lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub integrity: Integrity,
    pub journal_mac: bool,
    pub wipe: Wipe,
}

impl Shape {
    /// All of it ready, the journal without a MAC.
    pub fn plain(integrity: Integrity) -> Self {
        Self {
            integrity,
            journal_mac: false,
            wipe: Wipe::UpFront,
        }
    }

    /// Every kind of integrity, one volume whose journal has a MAC, one that is not ready.
    pub fn all() -> Vec<Self> {
        let plain = Self::plain(Integrity::HmacSha256);
        let kinds = Integrity::ALL.into_iter().map(Self::plain);
        let others = [
            Self {
                journal_mac: true,
                ..plain
            },
            Self {
                wipe: Wipe::Behind {
                    prefix_bytes: Wipe::LEAST_PREFIX_BYTES,
                },
                ..plain
            },
        ];
        kinds.chain(others).collect()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mac = if self.journal_mac { " journal-mac" } else { "" };
        let behind = match self.wipe {
            Wipe::UpFront => "",
            Wipe::Behind { .. } => " not-ready",
        };
        write!(f, "{}{mac}{behind}", self.integrity)
    }
}

/// A machine with one disk on which the volume was formatted.
pub struct Lab {
    _dir: tempfile::TempDir,
    disk: PathBuf,
    file: std::fs::File,
    pub shape: Shape,
    pub good: Vec<u8>,
    slowest: RefCell<Duration>,
}

impl Lab {
    pub fn new(shape: Shape) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = std::fs::File::create_new(&disk).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&disk)
            .unwrap();
        let mut lab = Self {
            _dir: dir,
            disk,
            file,
            shape,
            good: Vec::new(),
            slowest: RefCell::default(),
        };
        lab.good = lab.volume(VOLUME, 7, 1);
        lab
    }

    /// Formats the disk and takes the header that this leaves.
    pub fn volume(&self, volume: Uuid, key: u8, epoch: u32) -> Vec<u8> {
        self.file.write_all_at(&vec![0; REGION_BYTES], 0).unwrap();
        let mut mapper = FakeMapper::new(vec![self.disk.clone()]);
        let wanted = Wanted {
            volume,
            ..self.wanted()
        };
        let Found::Blank(blank) = mapper.find(&wanted).unwrap() else {
            panic!("not blank");
        };
        let grant = Grant {
            epoch,
            generation: 1,
        };
        mapper.format(blank, &dek(key), grant, &mut |_| {}).unwrap();
        self.region()
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            volume: VOLUME,
            name: MappedName::new("state").unwrap(),
            device: Some(self.disk.clone()),
            integrity: self.shape.integrity,
            journal_mac: self.shape.journal_mac,
            filesystem: None,
            wipe: self.shape.wipe,
            grow: false,
            opener: dawnkey_dm::Opener::Ours,
        }
    }

    fn region(&self) -> Vec<u8> {
        let mut region = vec![0; REGION_BYTES];
        self.file.read_exact_at(&mut region, 0).unwrap();
        region
    }

    /// Presents a header to a node that has the volume's DEK and a grant for the next generation. `None` if it opened;
    /// otherwise the reason. A refusal must have asked the kernel for nothing and changed no byte.
    pub fn refusal(&self, region: &[u8]) -> Option<String> {
        self.file.write_all_at(region, 0).unwrap();
        let mut mapper = FakeMapper::new(vec![self.disk.clone()]);
        let grant = Grant {
            epoch: 1,
            generation: 2,
        };
        let begun = Instant::now();
        let opened = mapper.find(&self.wanted()).and_then(|found| match found {
            Found::Volume(volume) => mapper.open(volume, &dek(7), grant, None).map(drop),
            Found::Blank(_) => panic!("a header was taken for a blank disk"),
        });
        let slowest = self.slowest.borrow().max(begun.elapsed());
        self.slowest.replace(slowest);
        let reason = reason(&opened.err()?);
        assert_eq!(mapper.kernel_calls(), 0, "kernel asked before {reason}");
        assert!(self.region() == region, "disk changed by {reason}");
        Some(reason)
    }

    pub fn slowest(&self) -> Duration {
        *self.slowest.borrow()
    }
}

/// A refusal by its name: the error variants, and for members of the JSON the path.
pub fn reason(error: &MapError) -> String {
    match error {
        MapError::Header { source, .. } => header_reason(source),
        MapError::Seal(SealError::Open) => "Seal".into(),
        other => variant(other),
    }
}

fn header_reason(error: &HeaderError) -> String {
    use dawnkey_dm::header::CopyError as C;
    let HeaderError::Altered { source, .. } = error else {
        return variant(error);
    };
    let name = variant(source);
    match source {
        C::Missing { field }
        | C::Unknown { field }
        | C::Type { field, .. }
        | C::Value { field } => {
            format!("Altered.{name} {field}")
        }
        C::FixedField { field } | C::NotCanonical { field, .. } => {
            format!("Altered.{name} {field}")
        }
        _ => format!("Altered.{name}"),
    }
}

/// The variant's name, which is the first word of its debug text.
fn variant(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let end = text.find([' ', '(', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// The text of a copy.
pub fn text(region: &[u8]) -> String {
    let area = &region[JSON..HEADER_COPY_BYTES];
    let end = area.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(area[..end].to_vec()).unwrap()
}

/// Which copies a mutation touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    Both,
    Primary,
    Secondary,
}

impl Copies {
    pub const ALL: [Self; 3] = [Self::Both, Self::Primary, Self::Secondary];

    /// Changes these copies, then mends their salts and checksums, as an attacker would.
    pub fn change(self, good: &[u8], mut change: impl FnMut(&mut [u8])) -> Vec<u8> {
        let mut region = good.to_vec();
        let (primary, secondary) = region.split_at_mut(HEADER_COPY_BYTES);
        for (copy, other) in [(primary, Self::Secondary), (secondary, Self::Primary)] {
            if self != other {
                change(copy);
                mend(copy);
            }
        }
        region
    }

    /// Puts another text into these copies.
    pub fn rewrite(self, good: &[u8], text: &[u8]) -> Vec<u8> {
        self.change(good, |copy| {
            copy[JSON..].fill(0);
            copy[JSON..][..text.len()].copy_from_slice(text);
            mend_salt(copy);
        })
    }
}

/// Writes the checksum over a changed copy.
pub fn mend(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&sum);
}

/// Writes the salt that follows from a copy's nonce, if it has one.
fn mend_salt(copy: &mut [u8]) {
    use base64::Engine as _;
    let end = copy[JSON..].iter().position(|byte| *byte == 0);
    let text = &copy[JSON..JSON + end.unwrap_or(0)];
    let document = serde_json::from_slice::<serde_json::Value>(text).unwrap_or_default();
    let nonce = document.pointer(NONCE).and_then(|nonce| nonce.as_str());
    let nonce = nonce.map(|nonce| base64::engine::general_purpose::STANDARD.decode(nonce));
    if let Some(Ok(nonce)) = nonce {
        let mut salt = Sha512::new();
        salt.update(b"dawnkey header salt v1");
        salt.update(&copy[..6]);
        salt.update(nonce);
        copy[104..168].copy_from_slice(&salt.finalize());
    }
}
