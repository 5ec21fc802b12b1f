//! Opens the source of evidence that the configuration chose, or the one that the machine is.

use crate::config::{AttestationConfig, Choice, TpmConfig};
use crate::report::{Event, Sink};
use dawnkey_attest::collect::azure::{Azure, AzureConfig};
use dawnkey_attest::collect::detect::{Kind, Machine, Probe, detect};
use dawnkey_attest::collect::imds::Imds;
use dawnkey_attest::collect::snp::{Snp, SnpConfig};
use dawnkey_attest::collect::tdx::{Tdx, TdxConfig};
use dawnkey_attest::collect::vtpm::{Vtpm, VtpmConfig};
use dawnkey_attest::collect::{Attester, CollectError};
use dawnkey_attest::tpm::hash::Hash;

/// Which kind of evidence this node gives. What was detected is said.
///
/// # Errors
/// If it is to be detected and not exactly one TEE shows; a TPM by itself is never chosen.
pub fn choose(
    choice: Choice,
    probe: &mut impl Probe,
    report: Sink<'_>,
) -> Result<Kind, CollectError> {
    if let Choice::Kind(kind) = choice {
        return Ok(kind);
    }
    let platform = detect(probe)?;
    report(&Event::PlatformFound {
        kind: platform.kind.name(),
        sign: platform.sign,
    });
    Ok(platform.kind)
}

/// Opens the source.
///
/// # Errors
/// Whatever keeps evidence of this kind from being collected, as far as it can be known before it is.
pub fn open(
    attestation: &AttestationConfig,
    tpm: &TpmConfig,
    report: Sink<'_>,
) -> Result<Box<dyn Attester>, CollectError> {
    let mut machine = Machine { tcti: &tpm.tcti };
    Ok(match choose(attestation.kind, &mut machine, report)? {
        Kind::Snp => Box::new(Snp::open(SnpConfig {
            privlevel: attestation.privlevel,
            ..SnpConfig::default()
        })?),
        Kind::Tdx => Box::new(Tdx::open(TdxConfig {
            quote_service: attestation.quote_service,
            without_register: attestation.without_runtime_register,
            ..TdxConfig::default()
        })?),
        Kind::Azure => Box::new(Azure::open(AzureConfig {
            tcti: tpm.tcti.clone(),
            event_log: tpm.event_log.clone(),
            imds: Imds {
                address: attestation.imds,
                ..Imds::default()
            },
        })?),
        Kind::Vtpm => Box::new(Vtpm::open(VtpmConfig {
            tcti: tpm.tcti.clone(),
            bank: Hash::Sha256,
            event_log: tpm.event_log.clone(),
            key: tpm.attestation_key,
        })?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_attest::collect::tsm::TsmError;
    use std::io;

    /// A machine with at most one device, and always a TPM that is nobody's paravisor.
    struct Fake(&'static str);

    impl Probe for Fake {
        fn exists(&mut self, device: &str) -> io::Result<bool> {
            Ok(device == self.0)
        }

        fn provider(&mut self) -> Result<String, TsmError> {
            Err(TsmError::Absent)
        }

        fn hcl_report(&mut self) -> Result<bool, CollectError> {
            Ok(false)
        }
    }

    #[test]
    fn auto_says_what_it_found() {
        let mut said = Vec::new();
        let kind = choose(Choice::Auto, &mut Fake("/dev/tdx_guest"), &mut |event| {
            said.push(event.to_string());
        });
        assert_eq!(kind.unwrap(), Kind::Tdx);
        assert_eq!(said, ["platform-found kind=tdx sign=\"/dev/tdx_guest\""]);
    }

    #[test]
    fn auto_without_a_tee_is_an_error_and_never_a_tpm() {
        let kind = choose(Choice::Auto, &mut Fake("none"), &mut |_| {});
        assert!(matches!(kind, Err(CollectError::NoTee { .. })));
    }

    #[test]
    fn a_kind_chosen_by_name_is_not_looked_for() {
        let kind = choose(Choice::Kind(Kind::Snp), &mut Fake("none"), &mut |_| {});
        assert_eq!(kind.unwrap(), Kind::Snp);
    }
}
