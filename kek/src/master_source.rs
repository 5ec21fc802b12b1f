//! Where the master secret of a `cluster` provider comes from, as the configuration says it.

use serde::Deserialize;
use std::path::PathBuf;

/// Where the master secret comes from. Who opens the provider reads it there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MasterSource {
    /// `fd`: an inherited file descriptor that the command line names.
    Fd,
    /// `credential:NAME`: a file of `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredentialEncrypted=`).
    Credential(String),
    /// `operator`: an operator hands it to the running service, once after each start.
    Operator,
    /// `wrapped:/path`: a file that another provider opens (`WrappedSecret`); the section's `unwrap_with` names it.
    Wrapped(PathBuf),
}

/// The text names no source of a master secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be \"fd\" (then start with --master-secret-fd N), \"credential:NAME\", \"wrapped:/path\" with unwrap_with, or \"operator\" (then `dawnkey master-secret give`); the secret itself never stands in a file like this"
)]
pub struct NotASource;

impl TryFrom<String> for MasterSource {
    type Error = NotASource;

    fn try_from(text: String) -> Result<Self, NotASource> {
        match text.as_str() {
            "fd" => return Ok(Self::Fd),
            "operator" => return Ok(Self::Operator),
            _ => {}
        }
        if let Some(file) = text.strip_prefix("wrapped:") {
            let absolute = file.starts_with('/');
            return absolute
                .then(|| Self::Wrapped(file.into()))
                .ok_or(NotASource);
        }
        let name = text.strip_prefix("credential:").ok_or(NotASource)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let good = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
        good.then(|| Self::Credential(name.to_owned()))
            .ok_or(NotASource)
    }
}
