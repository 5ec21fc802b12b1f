//! From a sealed header to the volume key: the DEK from the key service, or one that it handed over earlier.

use super::{disk, subject};
use crate::admin::Admin;
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::header::SealedHeader;
use dawnkey_proto::seal::{Purpose, Recipient, Sealed};
use dawnkey_proto::wire;
use dawnkey_secret::{Dek, VolumeKey};
use std::path::{Path, PathBuf};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Most bytes of a DEK that is handed over: hex with a line's end.
const MAX_HANDED_OVER: u64 = 2 * Dek::LEN as u64 + 2;

/// Where the DEK comes from.
#[derive(Debug, Args)]
pub(super) struct DekArgs {
    /// Read the DEK from this file descriptor (0: standard input) instead of asking the key service: 64 hex digits, as
    /// `dawnkey volume export-key --dek` writes them, or 32 bytes
    #[arg(long, value_name = "N")]
    dek_fd: Option<u32>,
}

impl DekArgs {
    /// The DEK of `volume` and `epoch`.
    pub(super) fn dek(
        &self,
        profile: &ProfileArgs,
        volume: Uuid,
        epoch: u32,
    ) -> Result<Dek, Failure> {
        match self.dek_fd {
            Some(fd) => handed_over(fd),
            None => ask(profile, volume, epoch).map(|(dek, _)| dek),
        }
    }
}

/// Reads a DEK from a file descriptor of this process.
fn handed_over(fd: u32) -> Result<Dek, Failure> {
    let place = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let bytes = files::read(&place, "the DEK", MAX_HANDED_OVER).map(Zeroizing::new)?;
    dek_of(&bytes).ok_or_else(|| {
        Failure::local(
            format!(
                "read the DEK: {} bytes that are neither a key nor its hex",
                bytes.len()
            ),
            format!("file descriptor {fd}"),
            "64 hex digits as `dawnkey volume export-key --dek` writes them, or 32 bytes",
        )
    })
}

/// 32 bytes are the key itself, more are its hex.
fn dek_of(bytes: &[u8]) -> Option<Dek> {
    Dek::fill(|key| {
        if bytes.len() == Dek::LEN {
            key.copy_from_slice(bytes);
            return Ok(());
        }
        hex::decode_to_slice(bytes.trim_ascii(), key).map_err(drop)
    })
    .ok()
}

/// Asks the service for a DEK, sealed to a key of this run. Epoch 0 is the current one; the epoch comes back.
pub(super) fn ask(profile: &ProfileArgs, volume: Uuid, epoch: u32) -> Result<(Dek, u32), Failure> {
    let recipient = Recipient::generate()
        .map_err(|e| Failure::local(e, "this machine", "a working random generator"))?;
    let request = wire::ExportDekRequest {
        volume_id: volume.as_bytes().to_vec(),
        epoch,
        hpke_public_key: recipient.public_key().to_vec(),
    };
    let mut admin = Admin::connect(profile.load()?)?;
    let answer = admin.call("export a key", &subject(volume), async |client| {
        client.export_dek(request).await
    })?;
    let sealed = Sealed {
        encapsulated_key: answer.encapsulated_key,
        ciphertext: answer.ciphertext,
    };
    let epoch = if epoch == 0 { answer.epoch } else { epoch };
    let purpose = Purpose {
        volume,
        epoch,
        generation: 0,
    };
    let dek = recipient.open_export(&sealed, &purpose).map_err(|e| {
        Failure::new(
            Exit::Refused,
            e,
            subject(volume),
            format!("a key of epoch {epoch}, sealed for this call"),
        )
    })?;
    Ok((dek, epoch))
}

/// Reads the header of `volume` on a disk, an image or in a file.
pub(super) fn header(path: &Path, volume: Uuid) -> Result<SealedHeader, Failure> {
    let region = disk::region(&disk::open(path)?)?;
    disk::parse(&region, path, volume).map(|parsed| parsed.header)
}

/// Opens the seal.
pub(super) fn volume_key(
    header: &SealedHeader,
    dek: &Dek,
    path: &Path,
) -> Result<VolumeKey, Failure> {
    header.open(dek).map_err(|e| {
        Failure::local(
            e,
            path.display(),
            format!(
                "the DEK of epoch {}, and the volume's disk as it was last written",
                header.seen().epoch
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_dek_as_bytes_or_as_hex_and_nothing_else() {
        let key = [0x3a; 32];
        let text = hex::encode(key);
        for given in [
            key.to_vec(),
            text.clone().into_bytes(),
            format!("{text}\n").into_bytes(),
            text.to_uppercase().into_bytes(),
        ] {
            assert_eq!(dek_of(&given).unwrap().expose(), &key);
        }
        for wrong in [&b""[..], &[0x3a; 31], &[0x3a; 33], &text.as_bytes()[1..]] {
            assert_eq!(dek_of(wrong), None);
        }
    }
}
