//! `[failure]`: what an initramfs does when its volumes could not be had.

use super::{ConfigError, reader::Section};
use std::time::Duration;

/// Seconds that the console can be read for, unless the file says otherwise.
const DELAY: u8 = 10;

/// What is done in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureAction {
    /// The machine is switched off.
    #[default]
    PowerOff,
    /// It starts again.
    Reboot,
    /// It stops where it is.
    Halt,
    /// Nothing: whatever else the initramfs holds goes on. It has no shell either.
    Stay,
}

impl FailureAction {
    const RIGHT: &'static str = "`power-off`, `reboot`, `halt` or `stay`";

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerOff => "power-off",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::Stay => "stay",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::PowerOff, Self::Reboot, Self::Halt, Self::Stay];
        all.into_iter().find(|action| action.name() == text)
    }
}

/// What is done when volumes could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureConfig {
    /// In the end.
    pub action: FailureAction,
    /// How long before that the console can be read.
    pub delay: Duration,
}

impl Default for FailureConfig {
    fn default() -> Self {
        Self {
            action: FailureAction::default(),
            delay: Duration::from_secs(DELAY.into()),
        }
    }
}

/// Reads the section, which may be absent.
pub(super) fn failure(mut section: Section<'_>) -> Result<FailureConfig, ConfigError> {
    let action = section.optional("action", FailureAction::RIGHT, FailureAction::parse)?;
    let right = "a whole number of seconds from 0 to 255";
    let delay = section.number("delay_seconds", 0..=u8::MAX, right)?;
    section.end()?;
    Ok(FailureConfig {
        action: action.unwrap_or_default(),
        delay: Duration::from_secs(delay.unwrap_or(DELAY).into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<FailureConfig, ConfigError> {
        let table = text.parse().unwrap();
        failure(Section::root(Path::new("agent.toml"), table))
    }

    #[test]
    fn a_file_that_says_nothing_switches_off_after_ten_seconds() {
        let read = read("").unwrap();
        assert_eq!(read, FailureConfig::default());
        assert_eq!(
            (read.action, read.delay.as_secs()),
            (FailureAction::PowerOff, 10)
        );
    }

    #[test]
    fn every_action_is_read_back_by_its_name() {
        for name in ["power-off", "reboot", "halt", "stay"] {
            let read = read(&format!("action = \"{name}\"\ndelay_seconds = 0")).unwrap();
            assert_eq!((read.action.name(), read.delay.as_secs()), (name, 0));
        }
    }

    #[test]
    fn refuses_a_shell_an_endless_delay_and_unknown_fields() {
        for (text, key) in [
            ("action = \"shell\"", "action"),
            ("delay_seconds = 256", "delay_seconds"),
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, ConfigError::Invalid { key: found, .. } if found == key));
        }
        let error = read("prompt = true").unwrap_err();
        assert!(matches!(error, ConfigError::UnknownField { .. }));
    }
}
