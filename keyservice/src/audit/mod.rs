//! The audit log: append-only JSON lines, each chained to the one before by SHA-256.
//!
//! A line is `{"seq":…,"time":…,"event":…,"fields":{…},"prev":"…","hash":"…"}`. `prev` is the hash of the
//! line before (64 zeros for the first), and `hash` = SHA-256(`prev` as 32 bytes ‖ the line without its
//! `,"hash":"…"` part). Every byte of the file is covered, the line feeds included, since they alone separate
//! the lines. The end of the chain is not: whoever can cut the file can remove the newest records, unless
//! somebody keeps the head elsewhere (`dawnkey status` prints it).
//!
//! `docs/audit.md` lists the events and their fields.

mod chain;
mod log;

pub use chain::{AuditError, Record, Summary, ZERO_HASH, read, verify};
pub use log::{AuditLog, Entry, Head, LogError};
