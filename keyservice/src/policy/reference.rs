//! Registers that an image has reference values for, and where evidence shows them.

use dawnkey_attest::claims::Claims;

/// Which part of evidence a register is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// PCRs of a TPM's quote.
    Pcrs,
    /// An SNP report.
    Snp,
    /// A TD quote.
    Tdx,
}

impl Section {
    /// Name of its table below `image`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcrs => "pcrs.sha256",
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// Whether evidence shows it.
    #[must_use]
    pub fn is_shown(self, claims: &Claims) -> bool {
        match self {
            Self::Pcrs => !claims.pcrs.is_empty(),
            Self::Snp => claims.snp.is_some(),
            Self::Tdx => claims.tdx.is_some(),
        }
    }
}

/// A value that tells one image from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// A PCR of the SHA-256 bank.
    Pcr(u8),
    /// Launch digest of an SNP guest.
    SnpMeasurement,
    /// What the host gave the SNP guest at launch.
    SnpHostData,
    /// SHA-384 of the key that signed the SNP guest's id block.
    SnpIdKey,
    /// SHA-384 of the key that signed that key.
    SnpAuthorKey,
    /// Family id of the SNP guest's id block.
    SnpFamilyId,
    /// Image id of the SNP guest's id block.
    SnpImageId,
    /// Measurement of a TD's initial memory.
    MrTd,
    /// A TD's runtime measurement register.
    Rtmr(u8),
    /// A TD's configuration id.
    MrConfigId,
    /// A TD's owner.
    MrOwner,
    /// A TD's owner's configuration.
    MrOwnerConfig,
}

impl Register {
    /// Where it is.
    #[must_use]
    pub const fn section(self) -> Section {
        match self {
            Self::Pcr(_) => Section::Pcrs,
            Self::SnpMeasurement
            | Self::SnpHostData
            | Self::SnpIdKey
            | Self::SnpAuthorKey
            | Self::SnpFamilyId
            | Self::SnpImageId => Section::Snp,
            Self::MrTd | Self::Rtmr(_) | Self::MrConfigId | Self::MrOwner | Self::MrOwnerConfig => {
                Section::Tdx
            }
        }
    }

    /// Its key below `image.NAME` in the policy file.
    #[must_use]
    pub fn key(self) -> String {
        let field = match self {
            Self::Pcr(pcr) => pcr.to_string(),
            Self::Rtmr(rtmr) => format!("rtmr{rtmr}"),
            Self::SnpMeasurement => "measurement".into(),
            Self::SnpHostData => "host_data".into(),
            Self::SnpIdKey => "id_key_digests".into(),
            Self::SnpAuthorKey => "author_key_digests".into(),
            Self::SnpFamilyId => "family_id".into(),
            Self::SnpImageId => "image_id".into(),
            Self::MrTd => "mr_td".into(),
            Self::MrConfigId => "mr_config_id".into(),
            Self::MrOwner => "mr_owner".into(),
            Self::MrOwnerConfig => "mr_owner_config".into(),
        };
        format!("{}.{field}", self.section().name())
    }

    /// What evidence shows of it.
    #[must_use]
    pub fn found(self, claims: &Claims) -> Option<Vec<u8>> {
        match self {
            Self::Pcr(pcr) => claims.pcrs.get(&pcr).cloned(),
            _ if self.section() == Section::Snp => self.in_report(claims),
            _ => self.in_quote(claims),
        }
    }

    fn in_report(self, claims: &Claims) -> Option<Vec<u8>> {
        let report = &claims.snp.as_ref()?.report;
        Some(match self {
            Self::SnpMeasurement => report.measurement.0.to_vec(),
            Self::SnpHostData => report.host_data.0.to_vec(),
            Self::SnpIdKey => report.id_key_digest.0.to_vec(),
            // A digest says nothing where the launch had no author key.
            Self::SnpAuthorKey if !report.author_key_en => vec![0; 48],
            Self::SnpAuthorKey => report.author_key_digest.0.to_vec(),
            Self::SnpFamilyId => report.family_id.0.to_vec(),
            Self::SnpImageId => report.image_id.0.to_vec(),
            _ => return None,
        })
    }

    fn in_quote(self, claims: &Claims) -> Option<Vec<u8>> {
        let td = &claims.tdx.as_ref()?.td;
        Some(match self {
            Self::MrTd => td.mr_td.0.to_vec(),
            Self::Rtmr(rtmr) => td.rtmr.get(usize::from(rtmr))?.0.to_vec(),
            Self::MrConfigId => td.mr_config_id.0.to_vec(),
            Self::MrOwner => td.mr_owner.0.to_vec(),
            Self::MrOwnerConfig => td.mr_owner_config.0.to_vec(),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pcr(pcr) => write!(f, "PCR {pcr}"),
            Self::Rtmr(rtmr) => write!(f, "RTMR {rtmr}"),
            Self::SnpMeasurement => f.write_str("the SNP launch measurement"),
            Self::SnpHostData => f.write_str("the SNP host data"),
            Self::SnpIdKey => f.write_str("the SNP id key"),
            Self::SnpAuthorKey => f.write_str("the SNP author key"),
            Self::SnpFamilyId => f.write_str("the SNP family id"),
            Self::SnpImageId => f.write_str("the SNP image id"),
            Self::MrTd => f.write_str("MRTD"),
            Self::MrConfigId => f.write_str("MRCONFIGID"),
            Self::MrOwner => f.write_str("MROWNER"),
            Self::MrOwnerConfig => f.write_str("MROWNERCONFIG"),
        }
    }
}
