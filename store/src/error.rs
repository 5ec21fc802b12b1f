//! Why a store could not be opened.

use std::path::PathBuf;

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or made.
    #[error("open the store {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("open the store {0}: another process has it open; one key service at a time may")]
    InUse(PathBuf),
    /// It is not a store, or damaged.
    #[error("open the store {path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        problem: String,
    },
    /// The configuration of a store cannot be right.
    #[error("open the {kind} store: {problem}")]
    Config {
        /// The kind of store.
        kind: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The store cannot be reached, or does not keep its promises.
    #[error("open the {kind} store {place}: {problem}")]
    Broken {
        /// The kind of store.
        kind: &'static str,
        /// Bucket and prefix, or database and server.
        place: String,
        /// What it did, and what would be right.
        problem: String,
    },
    /// This build has no such store.
    #[error("open the store: this build has no `{0}`; build with the cargo feature of that name")]
    NotBuilt(&'static str),
}
