//! `dawnkey volume retire`: the end of a volume. The key service forgets its keys, and with `--disk` the header is destroyed
//! as well. Each half is reported by itself: either alone ends the volume for whoever lacks a copy of the other.

use super::view::VolumeView;
use super::{reference, subject};
use crate::admin::Admin;
use crate::confirm;
use crate::outcome::{Exit, Failure, chain};
use crate::output::{Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_dm::{erase, header};
use serde::Serialize;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Retire a volume for good: the service forgets its keys, and with --disk its header is destroyed
///
/// Asks for the volume's id, typed in full, unless --yes is given. With --disk the first 16 MiB of the disk are overwritten
/// and read back; the disk must not be in use. What a flash disk keeps in spare blocks is beyond that, but without the
/// service's keys it opens nothing. Both halves are tried and reported, whatever becomes of the other; running the command again
/// finishes what failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey volume retire 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11
  dawnkey volume retire 5f3c2f0e-8c1b-4f86-9d0e-2f6f1f0a7b11 --disk /dev/vdb --yes --json")]
pub(crate) struct RetireArgs {
    /// The volume's id
    id: Uuid,
    /// Destroy the header on this disk or image too
    #[arg(long, value_name = "PATH")]
    disk: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Retired {
    /// What the service did.
    service: Half,
    /// What became of the header; `null` without `--disk`.
    disk: Option<Half>,
    /// The record, if the service answered with one.
    volume: Option<VolumeView>,
}

/// One half.
#[derive(Debug, Serialize)]
struct Half {
    done: bool,
    /// What was done, or why it was not.
    detail: String,
}

impl Half {
    fn of(outcome: &Result<String, Failure>) -> Self {
        match outcome {
            Ok(detail) => Self {
                done: true,
                detail: detail.clone(),
            },
            Err(failure) => Self {
                done: false,
                detail: failure.to_string(),
            },
        }
    }

    fn text(&self) -> String {
        let begin = if self.done { "done" } else { "FAILED" };
        format!("{begin}: {}", self.detail)
    }
}

impl RetireArgs {
    /// Runs the command.
    pub(crate) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        if let Some(disk) = &self.disk {
            is_of_this_volume(disk, self.id)?;
        }
        confirm::volume(
            self.id,
            self.yes,
            "Retiring makes the service forget the volume's keys. The data on the disk is lost for good.",
        )?;
        let service = self.forget(profile);
        let (volume, service) = match service {
            Ok(view) => (Some(view), Ok("the keys are forgotten".to_owned())),
            Err(failure) => (None, Err(failure)),
        };
        let Some(path) = &self.disk else {
            return match (volume, service) {
                (Some(view), Ok(_)) => view.show(output),
                (_, Err(failure)) => Err(failure),
                (None, Ok(detail)) => Err(Failure::local(detail, subject(self.id), "a record")),
            };
        };
        let disk = destroy(path);
        let done = Retired {
            service: Half::of(&service),
            disk: Some(Half::of(&disk)),
            volume,
        };
        output.show(&done, || {
            fields(&[
                ("volume", self.id.to_string()),
                ("keys", done.service.text()),
                (
                    "header",
                    done.disk.as_ref().map(Half::text).unwrap_or_default(),
                ),
            ])
        })?;
        // The service's refusal weighs more: with its keys a copy of the header still opens the volume.
        service.and(disk).map(|_| Exit::Done)
    }

    fn forget(&self, profile: &ProfileArgs) -> Result<VolumeView, Failure> {
        let record = Admin::connect(profile.load()?)?.call(
            "retire a volume",
            &subject(self.id),
            async |client| client.retire_volume(reference(self.id)).await,
        )?;
        Ok(VolumeView::from(record))
    }
}

/// A disk of another volume is not touched. One without any header has nothing to destroy, or was destroyed before.
fn is_of_this_volume(path: &Path, volume: Uuid) -> Result<(), Failure> {
    let region = super::disk::region(&super::disk::open(path)?)?;
    let mut claimed = header::claimed_volumes(&region).peekable();
    if claimed.peek().is_some() && claimed.any(|id| id == volume) {
        return Ok(());
    }
    if !header::has_luks_magic(&region) {
        return Ok(());
    }
    Err(Failure::local(
        "destroy the header: the disk carries another volume",
        path.display(),
        format!("the disk of volume {volume}"),
    ))
}

fn destroy(path: &Path) -> Result<String, Failure> {
    erase::header(path)
        .map(|()| "the first 16 MiB read as zeros".to_owned())
        .map_err(|e| {
            Failure::local(
                chain(&e),
                path.display(),
                "a disk that takes writes and that nothing maps; then the same command again",
            )
        })
}
