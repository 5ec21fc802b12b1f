//! The line that each event makes.

use super::Event;
use super::remedy::remedy;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

/// One line: the name, then `key=value` for each field, texts in quotes.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Started { volumes, node } => {
                write!(f, " volumes={volumes} node={}", Quoted(node))
            }
            Self::TssMayLog => f.write_str(" remedy=\"set TSS2_LOG=all+none\""),
            Self::PlatformFound { kind, sign } => write!(f, " kind={kind} sign={}", Quoted(sign)),
            Self::Opening { volume, name } => write!(f, " volume={volume} name={name}"),
            Self::DiskFound { generation, epoch } => {
                write!(f, " generation={generation} epoch={epoch}")
            }
            Self::DiskAwaited { problem, wait } => {
                write!(f, " seconds={} problem={}", wait.as_secs(), Quoted(problem))
            }
            Self::Connected { endpoint, elapsed } => {
                write!(f, " endpoint={endpoint} ms={}", elapsed.as_millis())
            }
            Self::EvidenceCollected { kind, elapsed } => {
                write!(f, " kind={kind} ms={}", elapsed.as_millis())
            }
            Self::AttemptFailed {
                attempt,
                problem,
                wait,
            } => write!(
                f,
                " attempt={attempt} next-in-ms={} problem={}",
                wait.as_millis(),
                Quoted(problem)
            ),
            Self::RecoveryText { text } => write!(f, "\n{text}"),
            #[cfg(feature = "qr")]
            Self::RecoveryCodes { codes } => {
                write!(f, " codes={}\n{}", codes.len(), codes.join("\n"))
            }
            Self::RecoveryTyped { next, problem } => {
                write!(f, " next-line={next} problem={}", Quoted(problem))
            }
            Self::RecoveryWaiting { listen, volume } => {
                let listen = Place(*listen);
                write!(
                    f,
                    " listen={listen} volume={volume} remedy=\"dawnkey recover\""
                )
            }
            Self::RecoveryNotListening { problem, wait } => write!(
                f,
                " next-in-ms={} problem={}",
                wait.as_millis(),
                Quoted(problem)
            ),
            Self::RecoveryAsked { peer } => write!(f, " peer={peer}"),
            Self::RecoveryRefused { peer, code, detail } => {
                let peer = Place(*peer);
                write!(f, " peer={peer} code={code} detail={}", Quoted(detail))
            }
            Self::RecoveryGranted {
                volume,
                key,
                grant,
                peer,
            } => {
                let peer = Place(*peer);
                write!(f, " volume={volume} key={key} grant={grant} peer={peer}")
            }
            Self::Formatting { step, percent } => write!(f, " step={step} percent={percent}"),
            Self::KeyWithoutState { volume } => write!(
                f,
                " volume={volume} unprotected=\"an older copy of the disk, a clone of it, another node with the same \
                 evidence\""
            ),
            Self::Mapped {
                device,
                generation,
                elapsed,
            } => write!(
                f,
                " device={} generation={generation} ms={}",
                device.display(),
                elapsed.as_millis()
            ),
            Self::LeaseHeld {
                fencing_token,
                seconds,
            } => write!(f, " fencing-token={fencing_token} seconds={seconds}"),
            Self::RenewalFailed { left, problem } => write!(
                f,
                " left-ms={} problem={}",
                left.as_millis(),
                Quoted(problem)
            ),
            Self::LeaseEnded {
                problem: Some(problem),
            }
            | Self::ExtensionNotLogged { problem }
            | Self::BootNotRecorded { problem }
            | Self::ServiceGivenUp { problem }
            | Self::LossNotActedOn { problem } => write!(f, " problem={}", Quoted(problem)),
            Self::LeaseLost { action, problem } => {
                write!(f, " action={action} problem={}", Quoted(problem))
            }
            Self::Wiping { name, percent } => write!(f, " name={name} percent={percent}"),
            Self::Wiped { name } | Self::KeyOffered { name } | Self::KeyHanded { name } => {
                write!(f, " name={name}")
            }
            Self::NotGrown { name, why } | Self::KeyNotHanded { name, why } => {
                write!(f, " name={name} why={}", Quoted(why))
            }
            Self::EvidenceIncomplete { problem } => write!(f, " problem={}", Quoted(problem)),
            Self::MappingLeft { device, problem } => {
                write!(
                    f,
                    " device={} problem={}",
                    device.display(),
                    Quoted(problem)
                )
            }
            Self::DoingWithout {
                volume,
                step,
                problem,
            } => write!(
                f,
                " volume={volume} step={step} problem={}",
                Quoted(problem)
            ),
            Self::SwapFailed { name, problem } | Self::UnitNotTold { name, problem } => {
                write!(f, " name={name} problem={}", Quoted(problem))
            }
            Self::SwapOn { device }
            | Self::Confirmed { device }
            | Self::MappingClosed { device } => {
                write!(f, " device={}", device.display())
            }
            Self::FailureAction { action, delay } => {
                write!(f, " action={action} in_seconds={}", delay.as_secs())
            }
            Self::BootClosed { register } => write!(f, " register={}", register.name()),
            Self::BootNotClosed { why } => write!(f, " why={}", Quoted(why)),
            Self::Diagnosis { about, found } => {
                write!(f, " about={about} found={}", Quoted(found))
            }
            Self::Failed {
                step,
                exit_code,
                problem,
            } => write!(
                f,
                " step={step} exit={exit_code} problem={}{}",
                Quoted(problem),
                Remedy(remedy(step, *exit_code))
            ),
            Self::DiskBlank
            | Self::Challenged
            | Self::LeaseKept
            | Self::LeaseEnded { problem: None } => Ok(()),
        }
    }
}

/// What to do, behind a problem, where there is something to say.
struct Remedy(Option<&'static str>);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, " remedy={}", Quoted(text)),
            None => Ok(()),
        }
    }
}

/// An address, or the console.
struct Place(Option<SocketAddr>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("console"),
        }
    }
}

/// A text in quotes on one line, without anything that a terminal would act on.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_char('\'')?,
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
