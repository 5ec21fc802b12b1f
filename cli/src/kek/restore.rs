//! `dawnkey kek restore`: DEKs whose KMS is lost, wrapped by the providers that there are now.

use super::recovery::read_key;
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_kek::Aad;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_proto::seal::{Purpose, seal_export};
use dawnkey_proto::wire;
use serde::Serialize;
use std::path::PathBuf;
use uuid::Uuid;

/// Give the service back the DEKs that a lost KMS had wrapped
///
/// Configure a provider that works, make it active with `dawnkey kek rotate`, then restore: every DEK that the active
/// provider has not wrapped is opened here with the recovery key, sealed to the service and wrapped there. What is
/// restored already is passed over, so that a restore that was broken off goes on. Ends with 1 when DEKs are left.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey kek rotate new-kms
  dawnkey kek restore --key /media/safe/recovery.key
  dawnkey kek restore 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --key /media/safe/recovery.key")]
pub(super) struct RestoreArgs {
    /// Only this volume
    id: Option<Uuid>,
    /// The private key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Default, Serialize)]
struct Restored {
    /// DEKs that were wrapped anew.
    restored: u64,
    /// DEKs that needed nothing.
    current: u64,
    /// DEKs that this recovery key does not open, with why.
    left: Vec<String>,
}

/// What was sealed to the recovery recipient, and the service's key for restoring over the same connection.
pub(super) fn sealed(
    admin: &mut Admin,
    id: Option<Uuid>,
) -> Result<wire::KekSealedAnswer, Failure> {
    let owner_id = id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    admin.call_kek("read sealed DEKs", "the store", async |client| {
        client.sealed(wire::KekSealedRequest { owner_id }).await
    })
}

impl RestoreArgs {
    /// Runs the command.
    pub(super) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        crate::volume::harden()?;
        let key = read_key(&self.key)?;
        let mut admin = Admin::connect(profile.load()?)?;
        let answer = sealed(&mut admin, self.id)?;
        let mut outcome = Restored::default();
        for dek in answer.deks {
            if dek.current {
                outcome.current += 1;
                continue;
            }
            let name = format!("{} epoch {}", crate::status::id(&dek.owner_id), dek.epoch);
            match opened(&key, &dek, &answer.hpke_public_key) {
                Ok(request) => {
                    admin.call_kek("restore a DEK", &name, async |client| {
                        client.restore(request).await
                    })?;
                    outcome.restored += 1;
                }
                Err(why) => outcome.left.push(format!("{name}: {why}")),
            }
        }
        output.show(&outcome, || {
            let mut text = fields(&[
                ("restored", outcome.restored.to_string()),
                ("needed nothing", outcome.current.to_string()),
                ("left", outcome.left.len().to_string()),
            ]);
            for left in &outcome.left {
                text.push_str(&format!("left: {left}\n"));
            }
            text
        })?;
        Ok(match outcome.left.is_empty() {
            true => Exit::Done,
            false => Exit::Negative,
        })
    }
}

/// The DEK, opened and sealed to the service.
fn opened(
    key: &RecoveryKey,
    dek: &wire::KekSealedDek,
    service: &[u8],
) -> Result<wire::KekRestoreRequest, String> {
    if dek.sealed.is_empty() {
        return Err("it was never sealed to a recovery key".into());
    }
    let owner = Uuid::from_slice(&dek.owner_id).map_err(|e| e.to_string())?;
    let clear = key.open(&dek.sealed, &Aad::new(owner, dek.epoch));
    let clear = clear.map_err(|e| e.to_string())?;
    let purpose = Purpose {
        volume: owner,
        epoch: dek.epoch,
        generation: 0,
    };
    let sealed = seal_export(service, &purpose, &clear).map_err(|e| e.to_string())?;
    Ok(wire::KekRestoreRequest {
        owner_id: dek.owner_id.clone(),
        epoch: dek.epoch,
        encapsulated_key: sealed.encapsulated_key,
        ciphertext: sealed.ciphertext,
    })
}
