//! What a boot told: times from the guest's own clock, which begins with its kernel.

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::machine::Boot;
use serde::Serialize;

use super::contestant::Contestant;

/// Times of one boot, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// From the start of the unit that opens the volume to the device; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_to_device: Option<f64>,
    /// From the kernel's begin to the device that carries the root file system.
    pub kernel_to_device: f64,
    /// From the kernel's begin to the first process of the root file system.
    pub kernel_to_root: f64,
    /// From power-on to power-off, on the host.
    pub power_on_to_off: f64,
    /// The agent's events, from the start of its unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<(String, f64)>,
}

impl Told {
    /// Reads a boot of a contestant.
    ///
    /// # Errors
    /// [`VmError::Report`] when it says something else than it should.
    pub fn by(contestant: Contestant, boot: &Boot) -> Result<Self, VmError> {
        let text = |name: &str| {
            let step = boot.results.step(name)?;
            if step.exit == 0 {
                return Ok(step.stdout.as_str());
            }
            let (console, name) = (&boot.serial, contestant.name);
            Err(VmError::Report(format!("{name}: {step:#?}\n{console}")))
        };
        let number = |name: &str| {
            let said = text(name)?;
            let number = said.trim().parse::<f64>();
            number.map_err(|_| VmError::Report(format!("step `{name}` said `{said}`")))
        };
        let kernel = text("kernel")?;
        let stamp = |words: &str| {
            let absent = || VmError::Report(format!("no `{words}` in the kernel's log:\n{kernel}"));
            stamp(kernel, words).ok_or_else(absent)
        };
        let device = stamp(contestant.device)?;
        let unit = match contestant.unit {
            "" => None,
            words => Some(stamp(words)?),
        };
        Ok(Told {
            unit_to_device: unit.map(|unit| device - unit),
            kernel_to_device: device,
            kernel_to_root: number("reached")? * 1000.0,
            power_on_to_off: boot.elapsed.as_secs_f64() * 1000.0,
            events: unit.map_or_else(Vec::new, |unit| events(kernel, unit)),
        })
    }
}

/// Milliseconds at which the kernel's log has a line with these words.
fn stamp(log: &str, words: &str) -> Option<f64> {
    log.lines().find(|line| line.contains(words)).and_then(at)
}

/// `[    5.123456] …`
fn at(line: &str) -> Option<f64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    Some(stamp.trim().parse::<f64>().ok()? * 1000.0)
}

/// The agent's events in the log, once each.
fn events(log: &str, from: f64) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = Vec::new();
    for line in log.lines() {
        let Some((_, said)) = line.split_once("dawnkey-agent: ") else {
            continue;
        };
        let name = said.split_whitespace().next().unwrap_or_default();
        if let Some(at) = at(line)
            && !found.iter().any(|(known, _)| known == name)
        {
            found.push((name.to_owned(), at - from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LOG: &str = "[    0.000000] Linux version 6.12\n\
        [    3.500000] systemd[1]: Starting dawnkey-unlock@agent.service - Unlock…\n\
        [    3.750000] dawnkey-agent[90]: dawnkey-agent: connected endpoint=10.0.2.100:8443 ms=40\n\
        [    4.000000] dawnkey-agent[90]: dawnkey-agent: mapped device=/dev/mapper/root\n\
        [    4.500000] dawnkey-agent[90]: dawnkey-agent: mapped device=/dev/mapper/other\n";

    #[test]
    fn finds_the_first_stamp_of_words() {
        assert_eq!(stamp(LOG, "Starting dawnkey-unlock@"), Some(3500.0));
        assert_eq!(stamp(LOG, "Starting tang"), None);
    }

    #[test]
    fn events_are_told_once_from_the_start_of_the_unit() {
        let expected = [("connected", 250.0), ("mapped", 500.0)];
        let expected = expected.map(|(name, at)| (name.to_owned(), at));
        assert_eq!(events(LOG, 3500.0), expected);
    }
}
