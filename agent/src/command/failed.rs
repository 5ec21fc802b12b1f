//! `dawnkey-agent failed`: ends a boot whose volumes could not be had, as the configuration says. For
//! dawnkey-failed@NAME.service and the scripts of an initramfs; there is nobody at the console to ask.

use super::{Stop, load};
use crate::config::{FailureAction, FailureConfig};
use crate::report::{self, Event, Failure};
use nix::sys::reboot::{RebootMode, reboot};
use std::path::Path;

/// The mark of an initramfs, by systemd's convention; the hook for initramfs-tools writes it too.
const MARK: &str = "/etc/initrd-release";

/// Says what will be done, waits as long as the console is to be read, and does it.
///
/// A configuration that cannot be read switches the machine off: a boot must not hang because a file is wrong.
///
/// # Errors
/// This is no initramfs; the kernel refused.
pub fn failed(file: &Path) -> Result<u8, Stop> {
    if !Path::new(MARK).exists() {
        return Err(stop(
            2,
            format!("this is no initramfs ({MARK} is missing): nothing is done"),
        ));
    }
    let FailureConfig { action, delay } =
        load(file).map(|config| config.failure).unwrap_or_default();
    report::console(&Event::FailureAction {
        action: action.name(),
        delay,
    });
    std::thread::sleep(delay);
    let mode = match action {
        FailureAction::Stay => return Ok(0),
        FailureAction::PowerOff => RebootMode::RB_POWER_OFF,
        FailureAction::Reboot => RebootMode::RB_AUTOBOOT,
        FailureAction::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    // Other volumes and disks may be mounted already.
    nix::unistd::sync();
    let Err(error) = reboot(mode);
    Err(stop(31, format!("{}: {error}", action.name())))
}

fn stop(exit_code: u8, message: String) -> Stop {
    Stop {
        failure: Failure {
            step: "failed",
            exit_code,
            reason: None,
            message,
        },
        report: None,
    }
}
