//! `dawnkey-agent hold NAME`: renews the lease of a mapped volume until it is asked to end or the lease is lost.

use super::{Signals, Stop, load_protected, mapped_name, runtime, volume_of};
use crate::client::Client;
use crate::hold::{Ended, Ports, Volume, hold as renew};
use crate::lease::{Held, Holder, KernelLeases, Leases as _, RUN, holder_file};
use crate::notify::Notifier;
use crate::random;
use crate::report::{self, Event, Failure};
use dawnkey_dm::{MappedName, behind, running};
use dawnkey_proto::message::{OnLoss, Progress};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::{File, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::Path;

/// Exit code when the lease was lost.
const EXIT_LOST: u8 = 60;
/// Exit code when there is no lease to hold.
const EXIT_NONE: u8 = 61;

/// Holds the lease that the unlock of this mapping left in the kernel's keyring.
///
/// # Errors
/// There is none, or another holder has it.
pub fn hold(file: &Path, name: &str) -> Result<u8, Stop> {
    let config = load_protected(file)?;
    let name = mapped_name(name)?;
    let volume = volume_of(&config, &name)?;
    let mut leases = KernelLeases;
    let found = leases
        .find(volume)
        .map_err(|e| Stop::at("hold", EXIT_NONE)(&e))?;
    let held = found.ok_or_else(|| none(&name))?;
    let notifier = Notifier::from_env();
    let mut state = State::begin(Path::new(RUN), &name, &held)?;
    let mut client = Client::new(&config.service).map_err(|e| Stop::at("config", 2)(&e))?;
    let mut report = |event: &Event| {
        report::console(event);
        state.follow(event, &notifier);
    };
    let ended = runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let mut ports = Ports {
            service: &mut client,
            leases: &mut leases,
            volume: &mut Kernel(name.clone()),
            pace: config.service.pace,
            jitter: &mut random::number,
            report: &mut report,
            alive: &mut || notifier.alive(),
            tick: notifier.tick(),
        };
        Ok(renew(held, &mut ports, signals.asked_to_end()).await)
    })?;
    Ok(match ended {
        Ended::Orderly | Ended::Kept | Ended::Lost(OnLoss::Nothing) => 0,
        Ended::Lost(_) => EXIT_LOST,
    })
}

/// A holder that has nothing to do here.
fn idle(message: String) -> Stop {
    Stop {
        failure: Failure {
            step: "hold",
            exit_code: EXIT_NONE,
            reason: None,
            message,
        },
        report: None,
    }
}

fn none(name: &MappedName) -> Stop {
    idle(format!(
        "hold the lease of {name}: this boot's unlock left none, or it was lost or ended since; policy must say \
         `hold = true`, and `hold.enabled` must not be false"
    ))
}

fn another(name: &MappedName) -> Stop {
    idle(format!(
        "hold the lease of {name}: another holder has it; only one can, such as dawnkey-hold@{name}.service"
    ))
}

/// A mapping of the kernel's.
struct Kernel(MappedName);

impl Volume for Kernel {
    fn in_use(&mut self) -> bool {
        running::in_use(&self.0)
            .ok()
            .is_none_or(|used| used == Some(true))
    }

    fn progress(&mut self) -> Option<Progress> {
        let ready = behind::status(&self.0).ok().flatten()?;
        Some(Progress {
            ready_bytes: ready.ready_bytes,
            total_bytes: ready.total_bytes,
        })
    }

    fn suspend(&mut self) -> Result<(), String> {
        running::suspend(&self.0).map_err(|error| crate::error::chain(&error))
    }

    fn power_off(&mut self) -> Result<(), String> {
        // Without sync: what is not on the disk yet must not get there any more.
        let Err(error) = reboot(RebootMode::RB_POWER_OFF);
        Err(format!("switch the machine off: {error}"))
    }
}

/// The holder's file: locked as long as it runs, and what it says of itself.
struct State {
    file: File,
    holder: Holder,
}

impl State {
    fn begin(run: &Path, name: &MappedName, held: &Held) -> Result<Self, Stop> {
        let failed = Stop::at("hold", EXIT_NONE);
        std::fs::create_dir_all(run).map_err(|e| failed(&e))?;
        let opened = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(holder_file(run, name));
        let file = opened.map_err(|e| failed(&e))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => another(name),
            TryLockError::Error(error) => failed(&error),
        })?;
        let mut state = Self {
            file,
            holder: Holder {
                fencing_token: held.fencing_token,
                on_loss: held.on_loss.name().to_owned(),
                state: String::new(),
            },
        };
        state.say("waiting");
        Ok(state)
    }

    /// What an event means to those who look from outside.
    fn follow(&mut self, event: &Event, notifier: &Notifier) {
        match event {
            Event::LeaseHeld { .. } => {
                self.say("held");
                notifier.ready();
            }
            Event::RenewalFailed { .. } => self.say("troubled"),
            Event::LeaseLost { .. } => self.say("lost"),
            Event::LeaseKept | Event::LeaseEnded { .. } => notifier.stopping(),
            _ => {}
        }
        notifier.status(&event.to_string());
    }

    fn say(&mut self, state: &str) {
        state.clone_into(&mut self.holder.state);
        // For people only: a file that cannot be written stops no renewal.
        let text = serde_json::to_vec(&self.holder).unwrap_or_default();
        let _ = self.file.set_len(0);
        let _ = self.file.rewind();
        let _ = self.file.write_all(&text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_secret::LeaseToken;
    use std::time::Duration;
    use uuid::Uuid;

    #[test]
    fn second_holder_is_refused_by_name_until_the_first_has_ended() {
        let run = tempfile::tempdir().unwrap();
        let name = MappedName::new("state").unwrap();
        let held = Held {
            volume: Uuid::from_u128(1),
            fencing_token: 7,
            token: LeaseToken::fill(|_| Ok::<_, ()>(())).unwrap(),
            on_loss: OnLoss::Suspend,
            seconds: 30,
            sent: Duration::ZERO,
        };
        let first = State::begin(run.path(), &name, &held).unwrap();
        let second = State::begin(run.path(), &name, &held).map(drop);
        let failure = second.unwrap_err().failure;
        assert_eq!(failure.exit_code, EXIT_NONE);
        let message = failure.message;
        assert!(message.contains("another holder has it"), "{message}");
        drop(first);
        State::begin(run.path(), &name, &held).unwrap();
    }
}
