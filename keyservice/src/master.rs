//! Reading the master secret: from an inherited file descriptor or a systemd credential, never from argv,
//! environment or the configuration. What an operator gives to the running service does not come by here.
//!
//! It may be written in hex (an optional line feed behind it) or be 16 to 64 raw bytes. Text that reads as hex of 16 to
//! 64 bytes is taken as hex.

use crate::config::{KekConfig, ProviderSection};
use dawnkey_kek::MasterSource;
use dawnkey_secret::MasterSecret;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest input that is read: 64 bytes in hex with a line end.
const MAX_INPUT: usize = 2 * MasterSecret::MAX + 2;

/// The master secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The configuration says `fd`, the command line names none.
    #[error(
        "read the master secret: a provider has master_secret = \"fd\"; start with --master-secret-fd N"
    )]
    NoFd,
    /// The command line names a file descriptor, the configuration another source.
    #[error(
        "read the master secret: --master-secret-fd is given, but no provider has master_secret = \"fd\""
    )]
    UnwantedFd,
    /// No systemd credentials here.
    #[error(
        "read the master secret: $CREDENTIALS_DIRECTORY is not set; start as a systemd unit with LoadCredentialEncrypted={0}"
    )]
    NoCredentials(String),
    /// The source cannot be read.
    #[error("read the master secret from {from}: {source}")]
    Read {
        /// The source.
        from: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two providers want the one file descriptor.
    #[error(
        "read the master secret: `{0}` and `{1}` both have master_secret = \"fd\"; one file descriptor is one secret"
    )]
    OneFd(String, String),
    /// It is too short, too long or odd.
    #[error(
        "read the master secret from {from}: {bytes} bytes are neither hex of 16 to 64 bytes nor 16 to 64 raw bytes; `dawnkey master-secret new` makes one"
    )]
    Form {
        /// The source.
        from: PathBuf,
        /// Bytes that were read.
        bytes: usize,
    },
}

/// The master secrets of `cluster` providers, by the providers' names.
#[derive(Debug, Default)]
pub struct Masters(BTreeMap<String, MasterSecret>);

impl Masters {
    /// The secret of the one provider that needs one.
    #[must_use]
    pub fn one(provider: &str, secret: MasterSecret) -> Self {
        Self(BTreeMap::from([(provider.to_owned(), secret)]))
    }

    /// Reads every secret that a configured provider needs from its source.
    ///
    /// `fd` is the value of `--master-secret-fd`, `credentials` that of `$CREDENTIALS_DIRECTORY`.
    pub fn read(
        kek: &KekConfig,
        fd: Option<u32>,
        credentials: Option<PathBuf>,
    ) -> Result<Self, MasterError> {
        let mut secrets = BTreeMap::new();
        let mut reader: Option<&str> = None;
        for section in &kek.providers {
            if section.config.master_source() == Some(&MasterSource::Fd)
                && let Some(other) = reader.replace(&section.name)
            {
                let (one, two) = (other.to_owned(), section.name.clone());
                return Err(MasterError::OneFd(one, two));
            }
            if let Some(secret) = of(section, fd, credentials.as_deref())? {
                secrets.insert(section.name.clone(), secret);
            }
        }
        match (fd, reader) {
            (Some(_), None) => Err(MasterError::UnwantedFd),
            _ => Ok(Self(secrets)),
        }
    }

    /// Takes out the secret of a provider.
    pub(crate) fn take(&mut self, provider: &str) -> Option<MasterSecret> {
        self.0.remove(provider)
    }
}

impl FromIterator<(String, MasterSecret)> for Masters {
    fn from_iter<T: IntoIterator<Item = (String, MasterSecret)>>(secrets: T) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// Reads the secret of one provider from its source; `None` where it needs none, or gets it later: by another provider
/// that opens it, or by an operator.
///
/// # Errors
/// [`MasterError`].
pub fn of(
    section: &ProviderSection,
    fd: Option<u32>,
    credentials: Option<&Path>,
) -> Result<Option<MasterSecret>, MasterError> {
    match section.config.master_source() {
        None | Some(MasterSource::Wrapped(_) | MasterSource::Operator) => Ok(None),
        Some(MasterSource::Fd) => from_fd(fd.ok_or(MasterError::NoFd)?).map(Some),
        Some(MasterSource::Credential(name)) => {
            let none = || MasterError::NoCredentials(name.clone());
            from_file(credentials.ok_or_else(none)?.join(name)).map(Some)
        }
    }
}

/// Reads a master secret from an inherited file descriptor.
///
/// # Errors
/// [`MasterError::Read`], [`MasterError::Form`].
pub fn from_fd(fd: u32) -> Result<MasterSecret, MasterError> {
    from_file(PathBuf::from(format!("/proc/self/fd/{fd}")))
}

fn from_file(from: PathBuf) -> Result<MasterSecret, MasterError> {
    let mut input = Zeroizing::new([0; MAX_INPUT + 1]);
    let got = fill(&from, input.as_mut_slice()).map_err(|source| MasterError::Read {
        from: from.clone(),
        source,
    })?;
    let bytes = input.get_mut(..got).unwrap_or_default();
    parse(bytes).ok_or(MasterError::Form { from, bytes: got })
}

fn fill(from: &PathBuf, into: &mut [u8]) -> std::io::Result<usize> {
    let mut file = std::fs::File::open(from)?;
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Takes the secret out of `input`, in hex or as it is, and wipes it. `None`: it is neither.
#[must_use]
pub fn parse(input: &mut [u8]) -> Option<MasterSecret> {
    let text = input
        .strip_suffix(b"\n")
        .map_or(&*input, |text| text.strip_suffix(b"\r").unwrap_or(text));
    let mut decoded = Zeroizing::new([0; MasterSecret::MAX]);
    let length = text.len() / 2;
    if let Some(room) = decoded.get_mut(..length)
        && length >= MasterSecret::MIN
        && hex::decode_to_slice(text, room).is_ok()
    {
        let secret = MasterSecret::take(room).ok();
        zeroize::Zeroize::zeroize(input);
        return secret;
    }
    MasterSecret::take(input).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(sources: &[&str]) -> KekConfig {
        let mut text = String::new();
        for (at, source) in sources.iter().enumerate() {
            let salt = "00".repeat(32);
            text += &format!(
                "[[provider]]\nname = \"p{at}\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"{source}\"\n"
            );
        }
        KekConfig::for_test(&format!("active = \"p0\"\n{text}"))
    }

    fn given(content: &[u8]) -> Result<MasterSecret, MasterError> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("m"), content).unwrap();
        let config = config(&["credential:m"]);
        let mut masters = Masters::read(&config, None, Some(scratch.path().to_owned()))?;
        Ok(masters.take("p0").unwrap())
    }

    #[test]
    fn reads_hex_with_and_without_line_end() {
        let hex = "07".repeat(32);
        for end in ["", "\n", "\r\n"] {
            let secret = given(format!("{hex}{end}").as_bytes()).unwrap();
            assert_eq!(secret.expose(), [7; 32]);
        }
    }

    #[test]
    fn reads_raw_bytes_as_they_are() {
        let raw: Vec<u8> = (200..=231).collect();
        assert_eq!(given(&raw).unwrap().expose(), raw);
        let mut ends_in_line_feed = raw.clone();
        ends_in_line_feed[31] = b'\n';
        let secret = given(&ends_in_line_feed).unwrap();
        assert_eq!(secret.expose(), ends_in_line_feed);
    }

    #[test]
    fn refuses_secret_that_is_too_short_or_too_long() {
        for content in [
            vec![],
            vec![200; 15],
            vec![200; 65],
            vec![b'a'; 129],
            vec![200; 4096],
        ] {
            assert!(matches!(given(&content), Err(MasterError::Form { .. })));
        }
    }

    #[test]
    fn parsing_wipes_its_input() {
        let mut input = "07".repeat(32).into_bytes();
        parse(&mut input).unwrap();
        assert_eq!(input, [0; 64]);
    }

    #[test]
    fn refuses_absent_or_contradicting_sources() {
        let read = |sources: &[&str], fd| Masters::read(&config(sources), fd, None);
        let refused = read(&["fd"], None).unwrap_err();
        assert!(matches!(refused, MasterError::NoFd));
        let refused = read(&["credential:m"], None).unwrap_err();
        assert!(matches!(refused, MasterError::NoCredentials(_)));
        let refused = read(&["fd"], Some(4_000_000)).unwrap_err();
        assert!(matches!(refused, MasterError::Read { .. }));
    }

    #[test]
    fn refuses_one_file_descriptor_for_two_secrets_or_for_none() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("m"), [9; 32]).unwrap();
        let at = Some(scratch.path().to_owned());
        let refused = Masters::read(&config(&["credential:m"]), Some(3), at).unwrap_err();
        assert!(matches!(refused, MasterError::UnwantedFd));
        let (fd, _writer) = pipe();
        let refused = Masters::read(&config(&["fd", "fd"]), Some(fd), None).unwrap_err();
        assert!(matches!(refused, MasterError::OneFd(..)));
    }

    fn pipe() -> (u32, std::io::PipeReader) {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[9; 32]).unwrap();
        (u32::try_from(reader.as_raw_fd()).unwrap(), reader)
    }

    #[test]
    fn reads_from_a_pipe() {
        let (fd, _reader) = pipe();
        let mut masters = Masters::read(&config(&["fd"]), Some(fd), None).unwrap();
        assert_eq!(masters.take("p0").unwrap().expose(), &[9; 32]);
        assert!(masters.take("p0").is_none());
    }
}
