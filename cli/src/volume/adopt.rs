//! `dawnkey volume adopt`: a LUKS2 volume that something else formatted is opened by nodes with a DEK of the key service.
//!
//! The header stays what it is and gets one keyslot more. Its digest is recorded with the service: a node that shows
//! another header gets no key.

use super::disk::Held;
use super::taking::{self, Service, TakingArgs};
use super::{disk, harden};
use crate::confirm;
use crate::files;
use crate::outcome::{Exit, Failure, chain};
use crate::output::{self, Output};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::adopt::{AdoptError, Foreign};
use dawnkey_dm::disk::OsDisk;
use dawnkey_dm::header;
use dawnkey_secret::Dek;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Longest passphrase, in bytes: cryptsetup's own limit for interactive ones is 512.
const MAX_PASSPHRASE: u64 = 4096;

/// Let nodes open an existing LUKS2 volume with a key of the key service
///
/// Adds a keyslot with the volume's DEK and records the header's digest with the service, whose policy must say
/// `adopted = true` for the volume. Data, other keyslots and the UUID stay. An adopted volume has no generations and its key no epochs;
/// after any change to its header (`cryptsetup luksAddKey` and the like) run the command again. The old header is
/// saved to a file first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume adopt --disk /dev/vdc --policy data --label node-1-data --old-header data.luks --passphrase-fd 0 < passphrase
  dawnkey volume adopt --disk data.img --policy data --old-header data.luks --passphrase-fd 3 --yes --json 3< passphrase")]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    taking: TakingArgs,
    /// Read a passphrase of the volume from this file descriptor (0: standard input), all bytes up to its end
    #[arg(long, value_name = "N")]
    passphrase_fd: u32,
}

impl AdoptArgs {
    /// Runs the command. Nothing is written, and nothing asked of the service, before the confirmation.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let mut held = Held::claim(&self.taking.disk)?;
        let place = self.taking.disk.display();
        if header::parse(&disk::region(&held.disk)?).is_ok() {
            return Err(Failure::local(
                "the disk is a volume of Dawnkey's already",
                place,
                "a LUKS2 volume that something else formatted",
            ));
        }
        let old = taking::foreign(&held.disk)?;
        let volume = old.header().volume();
        harden()?;
        let given = PathBuf::from(format!("/proc/self/fd/{}", self.passphrase_fd));
        let passphrase =
            files::read(&given, "the passphrase", MAX_PASSPHRASE).map(Zeroizing::new)?;
        let key = old.volume_key(&passphrase).map_err(|e| {
            let right = "a passphrase of this volume, without a line's end behind it";
            Failure::local(chain(&e), place.to_string(), right)
        })?;
        files::must_be_absent(&self.taking.old_header, "the old header")?;
        confirm::volume(
            volume,
            self.taking.yes,
            "A keyslot is added, and nodes that the policy allows open the volume from then on.",
        )?;
        let service = Service::new(profile, volume);
        let dek = service.dek(&self.taking)?;
        taking::back_up(&old, &self.taking.old_header)?;
        let digest = match old.volume_key(dek.expose()) {
            // An earlier run added it, or the header was changed since: only its digest is new.
            Ok(_) => old.header().digest(),
            Err(AdoptError::WrongKey) => {
                let new = old
                    .with_dek(&key, &dek)
                    .map_err(|e| Failure::local(chain(&e), place.to_string(), "a free keyslot"))?;
                self.write(&old, &new, &mut held.disk, &dek)?
            }
            Err(e) => {
                let right = "a header that cryptsetup opens";
                return Err(Failure::local(chain(&e), place.to_string(), right));
            }
        };
        service
            .adopt(&self.taking, "adopted", digest)?
            .show(output)?;
        output::note(
            "note: passphrases of the volume still open it; `cryptsetup luksKillSlot` takes them away",
        );
        Ok(Exit::Done)
    }

    /// Writes the header with the new keyslot and gives the digest of what the disk shows then.
    fn write(
        &self,
        old: &Foreign,
        new: &Foreign,
        disk: &mut OsDisk,
        dek: &Dek,
    ) -> Result<[u8; 32], Failure> {
        let place = self.taking.disk.display();
        new.write_over(old, disk).map_err(|e| {
            Failure::local(
                format!("write the header: {e}"),
                &place,
                "a disk that takes writes; `cryptsetup luksHeaderRestore` brings the old header back",
            )
        })?;
        let written = taking::foreign(disk)?;
        written.volume_key(dek.expose()).map_err(|e| {
            let right = "a disk that shows what was written";
            Failure::local(chain(&e), &place, right)
        })?;
        Ok(written.header().digest())
    }
}
