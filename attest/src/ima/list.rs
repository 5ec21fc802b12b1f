//! A parsed list.

use std::borrow::Cow;

use super::{
    ascii, binary,
    template::{OLD_DIGEST, Order, Template, Value},
};
use crate::{
    reader::{ReadError, Reader},
    tpm::hash::Hash,
};

/// Bounds of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole list.
    pub bytes: usize,
    /// Entries.
    pub entries: usize,
}

impl Default for Limits {
    /// 64 MiB and half a million entries: a server up for a year under a policy that measures every executed file.
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            entries: 500_000,
        }
    }
}

/// Why bytes are not a measurement list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImaError {
    /// No entry at all.
    #[error("the measurement list is empty; a kernel's begins with boot_aggregate")]
    Empty,
    /// More bytes than allowed.
    #[error("the measurement list has {found} bytes, at most {most} are accepted")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Limit.
        most: usize,
    },
    /// More entries than allowed.
    #[error("the measurement list has more than {most} entries")]
    TooManyEntries {
        /// Limit.
        most: usize,
    },
    /// An entry of the binary form is malformed.
    #[error("entry {entry} of the measurement list is malformed: {source}")]
    Malformed {
        /// Number of the entry, the first is 0.
        entry: usize,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A line of the ASCII form is malformed.
    #[error("line {line} of the measurement list is malformed: {problem}")]
    Line {
        /// Number of the line, the first is 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The form a list was given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `ascii_runtime_measurements`.
    Ascii,
    /// `binary_runtime_measurements`.
    Binary,
}

impl Form {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Binary => "binary",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// PCR it was extended into, 10 unless the policy says otherwise.
    pub pcr: u8,
    /// Template digest, as listed; all zeros mark a violation.
    pub digest: Vec<u8>,
    /// Name of the template.
    pub template_name: Cow<'a, str>,
    /// What the name stands for.
    pub template: Template,
    /// Template data as it is hashed; `None` where an ASCII entry's template is not known here.
    pub data: Option<Cow<'a, [u8]>>,
    pub(super) hash: Hash,
    pub(super) order: Order,
}

impl Entry<'_> {
    /// Whether the kernel recorded that it could not measure (a file open for writing was read, or the reverse).
    pub fn is_violation(&self) -> bool {
        self.digest.len() == self.hash.size() && self.digest.iter().all(|byte| *byte == 0)
    }

    /// Whether the template digest is that of the data; `None` for violations and where there is nothing to hash.
    pub fn digest_fits(&self) -> Option<bool> {
        if self.digest.len() != self.hash.size() {
            return Some(false);
        }
        let data = self.data.as_deref().filter(|_| !self.is_violation())?;
        Some(self.hash.digest(&[data]) == self.digest)
    }

    /// The decoded fields, in order; `None` where the template is unknown or the data do not have its form.
    pub fn fields(&self) -> Option<Vec<(&'static str, Value)>> {
        let data = self.data.as_deref()?;
        match &self.template {
            Template::Unknown => None,
            Template::Old => {
                let (digest, name) = data.split_at_checked(OLD_DIGEST)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let digest = Value::Digest {
                    kind: None,
                    algorithm: None,
                    bytes: digest.to_vec(),
                };
                let name = String::from_utf8_lossy(name).into_owned();
                Some(vec![("d", digest), ("n", Value::Text(name))])
            }
            Template::Fields(fields) => {
                let mut reader = Reader::new(data);
                let mut decoded = Vec::with_capacity(fields.len());
                for field in fields {
                    let size = self.order.u32(&mut reader, field.id).ok()?;
                    let bytes = reader.take(field.id, usize::try_from(size).ok()?).ok()?;
                    decoded.push((field.id, field.decode(bytes, self.order)?));
                }
                reader.is_empty().then_some(decoded)
            }
        }
    }
}

/// A list, in the order of measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<'a> {
    /// Form it was given in.
    pub form: Form,
    /// Algorithm of the template digests.
    pub hash: Hash,
    /// Entries.
    pub entries: Vec<Entry<'a>>,
}

impl<'a> List<'a> {
    /// Parses a list of either form: ASCII unless its first four bytes, a number in the binary form, have a zero.
    ///
    /// `hash` is the algorithm of the template digests, which neither form tells: SHA-1, or what the name of the list
    /// ends in where the kernel keeps one for each algorithm (Linux 6.10: `ascii_runtime_measurements_sha256`).
    pub fn parse(bytes: &'a [u8], hash: Hash, limits: Limits) -> Result<Self, ImaError> {
        if bytes.is_empty() {
            return Err(ImaError::Empty);
        }
        if bytes.len() > limits.bytes {
            return Err(ImaError::TooLarge {
                found: bytes.len(),
                most: limits.bytes,
            });
        }
        let (form, entries) = if bytes.get(..4).is_some_and(|head| head.contains(&0)) {
            (Form::Binary, binary::parse(bytes, hash, limits)?)
        } else {
            (Form::Ascii, ascii::parse(bytes, hash, limits)?)
        };
        Ok(Self {
            form,
            hash,
            entries,
        })
    }

    /// Entries whose template digest is not that of their data.
    pub fn template_hash_mismatches(&self) -> usize {
        let differs = |entry: &&Entry<'_>| entry.digest_fits() == Some(false);
        self.entries.iter().filter(differs).count()
    }

    /// Entries that record a violation.
    pub fn violations(&self) -> usize {
        self.entries.iter().filter(|e| e.is_violation()).count()
    }

    /// Entries without data to check their digest against, violations left out.
    pub fn unchecked(&self) -> usize {
        let unchecked = |entry: &&Entry<'_>| !entry.is_violation() && entry.digest_fits().is_none();
        self.entries.iter().filter(unchecked).count()
    }
}
