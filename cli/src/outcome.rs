//! How a command ends: an exit code, and for failures one line that says what, where and what would be right.

use std::process::ExitCode;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; every verdict is positive.
    Done,
    /// The command worked and its verdict is negative: findings, a denial, a broken chain.
    Negative,
    /// The command line or a confirmation is not right; nothing was done.
    Usage,
    /// The key service cannot be reached, or one of the two sides does not trust the other.
    Unreachable,
    /// The key service answered no.
    Refused,
    /// A local file or device cannot be read or written, or is not what it should be.
    Local,
    /// So many of a fleet's volumes could not be done, 1 to 240.
    Failures(u8),
}

impl Exit {
    /// The end of a command over many, of which some failed.
    pub(crate) fn failures(count: usize) -> Self {
        Self::Failures(u8::try_from(count).unwrap_or(u8::MAX).clamp(1, 240))
    }

    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Negative => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Local => 5,
            Self::Failures(count) => 10 + count,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The end of `--help`, so that scripts can be written from it.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, and every verdict is positive
  1  done, and the verdict is negative (lint findings, a denial, a broken audit chain)
  2  the command line or a confirmation is not right; nothing was done
  3  the key service cannot be reached, or one side does not trust the other (TLS)
  4  the key service refused
  5  a local file or device cannot be read or written, or is not what it should be
  10 + N  recover --all: N volumes are not open, at most 240 are counted";

/// Why a command did not do what was asked. Its `Display` is `<what>: <where>: <what would be right>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {place}: {right}")]
pub(crate) struct Failure {
    /// The exit code's class.
    pub(crate) exit: Exit,
    /// What was attempted and what was found.
    pub(crate) what: String,
    /// The file, address or option.
    pub(crate) place: String,
    /// What would be right.
    pub(crate) right: String,
}

impl Failure {
    /// A failure of class `exit`.
    pub(crate) fn new(
        exit: Exit,
        what: impl ToString,
        place: impl ToString,
        right: impl ToString,
    ) -> Self {
        Self {
            exit,
            what: what.to_string(),
            place: place.to_string(),
            right: right.to_string(),
        }
    }

    /// The command line or a confirmation is not right.
    pub(crate) fn usage(what: impl ToString, place: impl ToString, right: impl ToString) -> Self {
        Self::new(Exit::Usage, what, place, right)
    }

    /// A local file or device is not usable.
    pub(crate) fn local(what: impl ToString, place: impl ToString, right: impl ToString) -> Self {
        Self::new(Exit::Local, what, place, right)
    }
}

/// An error with the errors it came from, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many errors print their source already.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    dawnkey_proto::message::printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_where_and_what_would_be_right() {
        let failure = Failure::local(
            "read the profile: absent",
            "admin.toml",
            "run `dawnkey init`",
        );
        assert_eq!(
            failure.to_string(),
            "read the profile: absent: admin.toml: run `dawnkey init`"
        );
    }

    #[test]
    fn help_names_every_exit_code() {
        for exit in [
            Exit::Done,
            Exit::Negative,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Refused,
            Exit::Local,
        ] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit.code())));
        }
    }
}
