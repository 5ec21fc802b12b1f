//! The audit log: append-only JSON lines, each chained to the one before by SHA-256.
//!
//! A line is `{"seq":…,"time":…,"event":…,"fields":{…},"prev":"…","hash":"…"}`. `prev` is the hash of the
//! line before (64 zeros for the first), and `hash` = SHA-256(`prev` as 32 bytes ‖ the line without its
//! `,"hash":"…"` part). Every byte of the file is covered, the line feeds included, since they alone separate
//! the lines. The end of the chain is not: whoever can cut the file can remove the newest records, unless
//! somebody keeps the head elsewhere (`dawnkey status` prints it).
//!
//! The chain goes on from file to file when they end by size or day (`files`). `docs/audit.md` lists the events and their
//! fields.

mod chain;
mod entry;
mod files;
mod log;
mod settings;
mod ship;
mod writer;

pub use chain::{AuditError, Head, Record, Summary, ZERO_HASH, read, verify};
pub use entry::Entry;
pub use files::{FileError, read_files};
pub use log::{AuditLog, LogError};
pub use settings::{Also, Settings};
