//! Where a credential for another system comes from: the configuration names a place, never the credential itself.

use crate::Credential;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// Where systemd puts the credentials of a unit.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A place that holds one credential, read anew at every login so that it may be replaced while the service runs.
///
/// Written `file:/path` (a regular file that only its owner may read: mode 0600 or 0400) or `systemd:NAME` (a credential of
/// the service's unit, `LoadCredential=` or `LoadCredentialEncrypted=`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CredentialSource {
    /// A file.
    File(PathBuf),
    /// A credential that systemd hands to the unit.
    Systemd(String),
}

/// A credential could not be had. No message shows what was found where a path was expected: it may be the secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The text names no place.
    #[error(
        "a credential is named `file:/absolute/path` or `systemd:NAME`; the secret itself never stands here"
    )]
    Form,
    /// The unit has no credentials.
    #[error(
        "read the credential `{0}` of the unit: {DIRECTORY} is not set; add LoadCredential={0}:… to the unit"
    )]
    NoDirectory(String),
    /// It cannot be read.
    #[error("read the credential {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("read the credential {0}: it must be a regular file")]
    NotAFile(PathBuf),
    /// Others may read it.
    #[error("read the credential {path}: mode {mode:04o} lets others read it; chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is empty or too large.
    #[error("read the credential {path}: {given} bytes; expected 1 to {most}", most = Credential::MAX)]
    Length {
        /// The file.
        path: PathBuf,
        /// How many, at most one more than allowed.
        given: usize,
    },
}

impl CredentialSource {
    /// Reads the credential; one line end after it is left out.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn read(&self) -> Result<Credential, CredentialError> {
        match self {
            Self::File(path) => read(path, true),
            Self::Systemd(name) => {
                let directory = std::env::var_os(DIRECTORY)
                    .ok_or_else(|| CredentialError::NoDirectory(name.clone()))?;
                // systemd guards that directory itself, with access lists that show as mode bits of the group.
                read(&Path::new(&directory).join(name), false)
            }
        }
    }
}

/// Reads a token that the platform keeps in a file for this process (a Kubernetes service account's, a workload identity's).
/// The platform chooses its mode, which is not looked at.
///
/// # Errors
/// [`CredentialError`].
pub fn platform_token(path: &Path) -> Result<Credential, CredentialError> {
    read(path, false)
}

fn read(path: &Path, private: bool) -> Result<Credential, CredentialError> {
    let failed = |source| CredentialError::Read {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: opening a pipe waits for whoever writes to it.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CredentialError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if private && mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(CredentialError::Mode { path, mode });
    }
    // As large as it can get, so that it never moves.
    let mut bytes = Zeroizing::new(Vec::with_capacity(Credential::MAX + 3));
    file.take(Credential::MAX as u64 + 2)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Credential::take(&mut bytes).map_err(|wrong| CredentialError::Length {
        path: path.to_owned(),
        given: wrong.given,
    })
}

impl FromStr for CredentialSource {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            Some(("systemd", name)) if is_name(name) => Ok(Self::Systemd(name.to_owned())),
            _ => Err(CredentialError::Form),
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

impl TryFrom<String> for CredentialSource {
    type Error = CredentialError;

    fn try_from(text: String) -> Result<Self, CredentialError> {
        // Whoever wrote the secret in its place has it in the configuration's buffer already, but no longer here.
        Zeroizing::new(text).parse()
    }
}

impl From<CredentialSource> for String {
    fn from(source: CredentialSource) -> Self {
        match source {
            CredentialSource::File(path) => format!("file:{}", path.display()),
            CredentialSource::Systemd(name) => format!("systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn file(mode: u32, content: &[u8]) -> (tempfile::TempDir, CredentialSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, CredentialSource::File(path))
    }

    #[test]
    fn reads_a_private_file_without_its_line_end() {
        for (mode, content) in [(0o600, b"s.abc\n".as_slice()), (0o400, b"s.abc\r\n")] {
            let (_directory, source) = file(mode, content);
            assert_eq!(source.read().unwrap().expose(), b"s.abc");
        }
    }

    #[test]
    fn refuses_a_file_that_others_may_read() {
        for mode in [0o640, 0o604, 0o644] {
            let (_directory, source) = file(mode, b"s.abc");
            let refused = source.read().unwrap_err();
            assert!(matches!(refused, CredentialError::Mode { mode: m, .. } if m == mode));
        }
    }

    #[test]
    fn a_token_of_the_platform_may_have_any_mode() {
        let (_directory, source) = file(0o644, b"ey");
        let CredentialSource::File(path) = source else {
            unreachable!()
        };
        assert_eq!(platform_token(&path).unwrap().expose(), b"ey");
    }

    #[test]
    fn refuses_what_is_empty_too_large_missing_or_no_file() {
        for content in [b"".as_slice(), b"\n", &[b'a'; Credential::MAX + 1]] {
            let (_directory, source) = file(0o600, content);
            let refused = source.read().unwrap_err();
            assert!(matches!(refused, CredentialError::Length { .. }));
        }
        let directory = tempfile::tempdir().unwrap();
        let missing = CredentialSource::File(directory.path().join("none"));
        let refused = missing.read().unwrap_err();
        assert!(matches!(refused, CredentialError::Read { .. }));
        let no_file = CredentialSource::File(directory.path().to_owned());
        assert!(matches!(
            no_file.read().unwrap_err(),
            CredentialError::NotAFile(_)
        ));
    }

    #[test]
    fn refuses_a_secret_in_place_of_its_place_and_does_not_show_it() {
        for wrong in [
            "hvs.topsecret",
            "file:topsecret",
            "systemd:../topsecret",
            "systemd:.topsecret",
            "systemd:",
            "",
        ] {
            let refused = wrong.parse::<CredentialSource>().unwrap_err();
            assert!(matches!(refused, CredentialError::Form));
            assert!(!refused.to_string().contains("topsecret"));
        }
    }

    #[test]
    fn is_written_as_it_was_read() {
        for text in ["file:/etc/dawnkey/token", "systemd:kms-token"] {
            let source: CredentialSource = text.parse().unwrap();
            assert_eq!(String::from(source), text);
        }
    }
}
