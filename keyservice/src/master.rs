//! Reading the master secret: from an inherited file descriptor or a systemd credential, never from argv,
//! environment or the configuration.
//!
//! It may be written in hex (an optional line feed behind it) or be 16 to 64 raw bytes. Text that reads as hex of 16 to
//! 64 bytes is taken as hex.

use crate::config::MasterSource;
use dawnkey_secret::MasterSecret;
use std::io::Read;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Longest input that is read: 64 bytes in hex with a line end.
const MAX_INPUT: usize = 2 * MasterSecret::MAX + 2;

/// The master secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The configuration says `fd`, the command line names none.
    #[error(
        "read the master secret: kek.cluster.master_secret is \"fd\"; start with --master-secret-fd N"
    )]
    NoFd,
    /// The command line names a file descriptor, the configuration another source.
    #[error(
        "read the master secret: --master-secret-fd is given, but kek.cluster.master_secret is not \"fd\""
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

/// Reads the master secret from its configured source.
///
/// `credentials` is the value of `$CREDENTIALS_DIRECTORY`.
pub fn read(
    source: &MasterSource,
    fd: Option<u32>,
    credentials: Option<PathBuf>,
) -> Result<MasterSecret, MasterError> {
    let from = match (source, fd) {
        (MasterSource::Fd, Some(fd)) => PathBuf::from(format!("/proc/self/fd/{fd}")),
        (MasterSource::Fd, None) => return Err(MasterError::NoFd),
        (MasterSource::Credential(_), Some(_)) => return Err(MasterError::UnwantedFd),
        (MasterSource::Credential(name), None) => credentials
            .ok_or_else(|| MasterError::NoCredentials(name.clone()))?
            .join(name),
    };
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

/// Takes the secret out of `input` and wipes it.
fn parse(input: &mut [u8]) -> Option<MasterSecret> {
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

    fn given(content: &[u8]) -> Result<MasterSecret, MasterError> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("m"), content).unwrap();
        let source = MasterSource::Credential("m".into());
        read(&source, None, Some(scratch.path().to_owned()))
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
        let credential = MasterSource::Credential("m".into());
        assert!(matches!(
            read(&MasterSource::Fd, None, None),
            Err(MasterError::NoFd)
        ));
        assert!(matches!(
            read(&credential, Some(3), None),
            Err(MasterError::UnwantedFd)
        ));
        assert!(matches!(
            read(&credential, None, None),
            Err(MasterError::NoCredentials(_))
        ));
        assert!(matches!(
            read(&MasterSource::Fd, Some(4_000_000), None),
            Err(MasterError::Read { .. })
        ));
    }

    #[test]
    fn reads_from_a_pipe() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[9; 32]).unwrap();
        drop(writer);
        let fd = u32::try_from(reader.as_raw_fd()).unwrap();
        let secret = read(&MasterSource::Fd, Some(fd), None).unwrap();
        assert_eq!(secret.expose(), [9; 32]);
    }
}
