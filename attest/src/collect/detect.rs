//! What machine this is, by named signs. Exactly one kind of TEE must show; a machine without one is an error and never
//! a plain TPM: whoever wants that asks for it by name.

use std::fmt;
use std::io;
use std::path::Path;

use super::{
    error::CollectError,
    nv, quoter, sev_guest, tdx_guest,
    tsm::{self, KernelFs, Provider, TsmError},
};
use crate::evidence::{KIND_AZURE, KIND_SNP, KIND_TDX, KIND_VTPM};

/// NV index of the report that the paravisor of an Azure confidential VM leaves.
pub const HCL_REPORT: u32 = 0x0140_0001;

/// A kind of evidence that a node can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An SEV-SNP report.
    Snp,
    /// A TD quote.
    Tdx,
    /// A TPM's quote, by itself.
    Vtpm,
    /// The quote of an Azure confidential VM's vTPM, with the hardware report that vouches for its key.
    Azure,
}

impl Kind {
    /// Its name on the wire and in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => KIND_SNP,
            Self::Tdx => KIND_TDX,
            Self::Vtpm => KIND_VTPM,
            Self::Azure => KIND_AZURE,
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Snp, Self::Tdx, Self::Vtpm, Self::Azure]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The one kind that showed.
    pub kind: Kind,
    /// The sign it was found by.
    pub sign: &'static str,
}

/// Where signs are looked for.
pub trait Probe {
    /// Whether a device exists.
    ///
    /// # Errors
    /// Whatever the system says.
    fn exists(&mut self, device: &str) -> io::Result<bool>;

    /// Who makes reports through configfs-tsm.
    ///
    /// # Errors
    /// [`TsmError::Absent`] or [`TsmError::NoProvider`] where nobody does.
    fn provider(&mut self) -> Result<String, TsmError>;

    /// Whether a TPM is there and has NV index [`HCL_REPORT`].
    ///
    /// # Errors
    /// If there is a TPM that does not answer.
    fn hcl_report(&mut self) -> Result<bool, CollectError>;
}

/// This machine.
#[derive(Debug)]
pub struct Machine<'a> {
    /// TCTI of the TPM.
    pub tcti: &'a str,
}

impl Probe for Machine<'_> {
    fn exists(&mut self, device: &str) -> io::Result<bool> {
        Path::new(device).try_exists()
    }

    fn provider(&mut self) -> Result<String, TsmError> {
        tsm::provider(&mut KernelFs::default())
    }

    fn hcl_report(&mut self) -> Result<bool, CollectError> {
        if let Some(device) = self.tcti.strip_prefix("device:")
            && matches!(Path::new(device).try_exists(), Ok(false))
        {
            return Ok(false);
        }
        let mut context = quoter::connect(self.tcti)?;
        nv::exists(&mut context, HCL_REPORT)
    }
}

const SEV_DEVICE: &str = sev_guest::DEVICE;
const TDX_DEVICE: &str = tdx_guest::DEVICE;
const SEV_PROVIDER: &str = "configfs-tsm provider sev_guest";
const TDX_PROVIDER: &str = "configfs-tsm provider tdx_guest";
const HCL: &str = "TPM NV index 0x01400001 (HCL report)";

/// Looks for every sign.
///
/// # Errors
/// [`CollectError::NoTee`] if none shows, [`CollectError::SeveralTees`] if signs of two kinds do.
pub fn detect(probe: &mut impl Probe) -> Result<Platform, CollectError> {
    let mut signs = Vec::new();
    for (kind, device) in [(Kind::Snp, SEV_DEVICE), (Kind::Tdx, TDX_DEVICE)] {
        signs.push(Sign::of(kind, device, probe.exists(device)));
    }
    let provider = match probe.provider() {
        Ok(name) => Ok(name),
        Err(TsmError::Absent | TsmError::NoProvider) => Ok(String::new()),
        Err(error) => Err(error.to_string()),
    };
    for (kind, name, by) in [
        (Kind::Snp, SEV_PROVIDER, Provider::SevGuest),
        (Kind::Tdx, TDX_PROVIDER, Provider::TdxGuest),
    ] {
        let found = provider.as_ref().map(|found| found == by.name());
        signs.push(Sign::of(kind, name, found));
    }
    signs.push(Sign::of(Kind::Azure, HCL, probe.hcl_report()));
    let mut shown = signs.iter().filter(|sign| sign.shows);
    let Some(first) = shown.next() else {
        let looked = signs.iter().map(Sign::to_string).collect::<Vec<_>>();
        return Err(CollectError::NoTee {
            looked: looked.join("; "),
        });
    };
    if shown.any(|other| other.kind != first.kind) {
        let found = signs.iter().filter(|sign| sign.shows);
        let found = found.map(Sign::to_string).collect::<Vec<_>>();
        return Err(CollectError::SeveralTees {
            found: found.join("; "),
        });
    }
    Ok(Platform {
        kind: first.kind,
        sign: first.name,
    })
}

/// A sign and what came of looking for it.
struct Sign {
    kind: Kind,
    name: &'static str,
    shows: bool,
    problem: Option<String>,
}

impl Sign {
    fn of(kind: Kind, name: &'static str, found: Result<bool, impl fmt::Display>) -> Self {
        let (shows, problem) = match found {
            Ok(shows) => (shows, None),
            Err(error) => (false, Some(error.to_string())),
        };
        Self {
            kind,
            name,
            shows,
            problem,
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.kind.name(), self.name)?;
        match (&self.problem, self.shows) {
            (Some(problem), _) => write!(f, "cannot be seen ({problem})"),
            (None, true) => f.write_str("found"),
            (None, false) => f.write_str("absent"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[derive(Default)]
    struct Fake {
        devices: Vec<&'static str>,
        provider: Option<&'static str>,
        hcl: bool,
        broken: bool,
    }

    impl Probe for Fake {
        fn exists(&mut self, device: &str) -> io::Result<bool> {
            Ok(self.devices.contains(&device))
        }

        fn provider(&mut self) -> Result<String, TsmError> {
            self.provider.map(Into::into).ok_or(TsmError::NoProvider)
        }

        fn hcl_report(&mut self) -> Result<bool, CollectError> {
            if self.broken {
                return Err(CollectError::Answer {
                    doing: "list its handles",
                    problem: "another capability",
                });
            }
            Ok(self.hcl)
        }
    }

    #[test]
    fn finds_each_kind_by_its_signs() {
        let device = |device| Fake {
            devices: vec![device],
            ..Fake::default()
        };
        let provider = |name| Fake {
            provider: Some(name),
            ..Fake::default()
        };
        let azure = Fake {
            hcl: true,
            ..Fake::default()
        };
        let cases = [
            (device("/dev/sev-guest"), Kind::Snp, SEV_DEVICE),
            (device("/dev/tdx_guest"), Kind::Tdx, TDX_DEVICE),
            (provider("sev_guest"), Kind::Snp, SEV_PROVIDER),
            (provider("tdx_guest"), Kind::Tdx, TDX_PROVIDER),
            (azure, Kind::Azure, HCL),
        ];
        for (mut fake, kind, sign) in cases {
            assert_eq!(detect(&mut fake).unwrap(), Platform { kind, sign });
        }
    }

    #[test]
    fn two_signs_of_one_kind_are_one_kind() {
        let mut fake = Fake {
            devices: vec!["/dev/sev-guest"],
            provider: Some("sev_guest"),
            ..Fake::default()
        };
        assert_eq!(detect(&mut fake).unwrap().kind, Kind::Snp);
    }

    #[test]
    fn no_sign_is_an_error_that_lists_every_sign_and_never_a_tpm() {
        let mut fake = Fake {
            broken: true,
            provider: Some("arm-cca-guest"),
            ..Fake::default()
        };
        let Err(CollectError::NoTee { looked }) = detect(&mut fake) else {
            panic!("a TEE was found");
        };
        for sign in [SEV_DEVICE, TDX_DEVICE, SEV_PROVIDER, TDX_PROVIDER, HCL] {
            assert!(looked.contains(sign), "{looked}");
        }
        assert!(
            looked.contains("cannot be seen (TPM answered wrongly"),
            "{looked}"
        );
    }

    #[test]
    fn signs_of_two_kinds_are_an_error() {
        let mut fake = Fake {
            devices: vec!["/dev/sev-guest"],
            hcl: true,
            ..Fake::default()
        };
        let Err(CollectError::SeveralTees { found }) = detect(&mut fake) else {
            panic!("one was taken");
        };
        assert!(found.contains(SEV_DEVICE) && found.contains(HCL), "{found}");
    }

    #[test]
    fn names_of_kinds_are_those_of_the_wire() {
        for kind in crate::evidence::KINDS {
            assert_eq!(Kind::named(kind).unwrap().name(), kind);
        }
        assert_eq!(Kind::named("auto"), None);
    }
}
