//! `dawnkey kek rewrap`: moving every DEK to the providers that wrap now.

use super::view::StatusView;
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_proto::wire;
use std::time::Duration;

/// How often the progress is asked for.
const EVERY: Duration = Duration::from_millis(500);

/// Wrap every DEK again: by the active provider, under the newest version of its key, and for the recovery recipient
///
/// Goes on where an earlier one was broken off. The service works on when this command ends before it. A provider that no
/// DEK needs any more becomes `inactive`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey kek rewrap
  dawnkey kek rewrap --detach && dawnkey kek status --json | jq .rewrap")]
pub(super) struct RewrapArgs {
    /// Only begin; do not wait for the end
    #[arg(long)]
    detach: bool,
}

impl RewrapArgs {
    /// Runs the command. Negative when records are left that could not be rewrapped.
    pub(super) fn run(&self, profile: &ProfileArgs, output: Output) -> Result<Exit, Failure> {
        let mut admin = Admin::connect(profile.load()?)?;
        let begun = admin.call_kek("rewrap", "the ring", async |client| {
            client.rewrap(wire::KekRewrapRequest {}).await
        })?;
        let mut view = StatusView::from(begun);
        let mut shown = String::new();
        while view.rewrap.running && !self.detach {
            let text = view.rewrap.text();
            if text != shown {
                output::note(text.trim_end());
                shown = text;
            }
            std::thread::sleep(EVERY);
            let answer = admin.call_kek("read the progress", "the ring", async |client| {
                client.status(wire::KekStatusRequest {}).await
            })?;
            view = StatusView::from(answer);
        }
        view.show(output)?;
        Ok(match view.rewrap.pending && !self.detach {
            true => Exit::Negative,
            false => Exit::Done,
        })
    }
}
