//! `[attestation]` and `[tpm]`: which evidence this node gives, and where it gets it from.

use super::{ConfigError, absolute, reader::Section};
use dawnkey_attest::collect::detect::Kind;
use dawnkey_attest::collect::imds;
use dawnkey_attest::collect::qgs;
use dawnkey_attest::collect::tdx::WithoutRegister;
use dawnkey_attest::collect::vtpm::KeySource;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmConfig {
    /// `device:PATH` or `swtpm:OPTIONS`.
    pub tcti: String,
    /// The firmware's event log as the kernel gives it.
    pub event_log: PathBuf,
    /// The key that quotes where the TPM is the evidence.
    pub attestation_key: KeySource,
}

/// The evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationConfig {
    /// Its kind.
    pub kind: Choice,
    /// TDX: what to do where the boot cannot be closed in a register.
    pub without_runtime_register: WithoutRegister,
    /// SNP: VMPL of the report, if not the lowest that the guest can have.
    pub privlevel: Option<u8>,
    /// TDX without configfs-tsm: context id and port of the quote generation service.
    pub quote_service: (u32, u32),
    /// Azure: the metadata service.
    pub imds: SocketAddr,
}

/// Which kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This one.
    Kind(Kind),
    /// The one TEE that the machine shows signs of; never a TPM by itself.
    Auto,
}

impl AttestationConfig {
    /// Evidence of this kind, all else as it is when the file does not say.
    #[must_use]
    pub const fn of(kind: Choice) -> Self {
        Self {
            kind,
            without_runtime_register: WithoutRegister::Refuse,
            privlevel: None,
            quote_service: (qgs::HOST, qgs::PORT),
            imds: imds::ADDRESS,
        }
    }
}

/// The section's values. Without a section, a file with `[tpm]` means a TPM, as it did before there was a choice.
pub(super) fn attestation(
    root: &mut Section<'_>,
    has_tpm: bool,
) -> Result<AttestationConfig, ConfigError> {
    const KIND: &str = "\"snp\", \"tdx\", \"azure\", \"vtpm\" or \"auto\"";
    let Some(mut section) = root.section_if_given("attestation")? else {
        if has_tpm {
            return Ok(AttestationConfig::of(Choice::Kind(Kind::Vtpm)));
        }
        return Err(root.missing("attestation.kind", KIND));
    };
    let kind = section.parsed("kind", KIND, |text| match text {
        "auto" => Some(Choice::Auto),
        name => Kind::named(name).map(Choice::Kind),
    })?;
    let mut config = AttestationConfig::of(kind);
    let refuse_or_report = "\"refuse\" or \"report\"";
    let without = section.optional(
        "without_runtime_register",
        refuse_or_report,
        |text| match text {
            "refuse" => Some(WithoutRegister::Refuse),
            "report" => Some(WithoutRegister::Report),
            _ => None,
        },
    )?;
    config.without_runtime_register = without.unwrap_or(config.without_runtime_register);
    config.privlevel = section.number("privlevel", 0..=3, "a VMPL, 0 to 3")?;
    let service = section.optional("quote_service", "`vsock:CID:PORT`", vsock)?;
    config.quote_service = service.unwrap_or(config.quote_service);
    let imds = section.optional("imds", "ADDRESS:PORT", |text| text.parse().ok())?;
    config.imds = imds.unwrap_or(config.imds);
    section.end()?;
    Ok(config)
}

fn vsock(text: &str) -> Option<(u32, u32)> {
    let (cid, port) = text.strip_prefix("vsock:")?.split_once(':')?;
    Some((cid.parse().ok()?, port.parse().ok()?))
}

/// The TPM's values, all of which have defaults.
pub(super) fn tpm(mut section: Section<'_>) -> Result<TpmConfig, ConfigError> {
    let tcti = section.optional("tcti", "`device:PATH` or `swtpm:OPTIONS`", |text| {
        let (kind, rest) = text.split_once(':')?;
        (matches!(kind, "device" | "swtpm") && !rest.is_empty()).then(|| text.to_owned())
    })?;
    let event_log = section.optional("event_log", "an absolute path", absolute)?;
    let key = section.optional(
        "attestation_key",
        "\"own\", \"own-rsa\" or \"gce\"",
        |text| match text {
            "own" => Some(KeySource::Own),
            "own-rsa" => Some(KeySource::OwnRsa),
            "gce" => Some(KeySource::Gce),
            _ => None,
        },
    )?;
    section.end()?;
    Ok(TpmConfig {
        tcti: tcti.unwrap_or_else(|| "device:/dev/tpmrm0".into()),
        event_log: event_log
            .unwrap_or_else(|| "/sys/kernel/security/tpm0/binary_bios_measurements".into()),
        attestation_key: key.unwrap_or_default(),
    })
}
