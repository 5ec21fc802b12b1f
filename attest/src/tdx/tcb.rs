//! Looks up TCB levels and merges what they say.
//!
//! Rules: Intel PCS API documentation v4, "Get TDX TCB Info" and "Get Quoting Enclave Identity"; merging as in
//! Intel's quote verification library. Levels are listed best first, the first one whose SVNs are all met counts.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    collateral::{IsvLevel, QeIdentity, TcbInfo, TcbLevel, TdxModule},
    error::{Level, TdxError},
    pck::PckPlatform,
    quote::{QeReport, TdReport},
};
use crate::bytes::Bytes;

/// Status of a TCB level, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Nothing is known to be missing.
    UpToDate,
    /// Software must mitigate something.
    SWHardeningNeeded,
    /// The platform's configuration may expose it.
    ConfigurationNeeded,
    /// Both of these.
    ConfigurationAndSWHardeningNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates are missing and the configuration may expose the platform.
    OutOfDateConfigurationNeeded,
    /// Must not be trusted.
    Revoked,
}

impl TcbStatus {
    /// Class of a refusal because of this status.
    pub fn reason_class(self) -> &'static str {
        match self {
            Self::UpToDate => "tcb_status_up_to_date",
            Self::SWHardeningNeeded => "tcb_status_sw_hardening_needed",
            Self::ConfigurationNeeded => "tcb_status_configuration_needed",
            Self::ConfigurationAndSWHardeningNeeded => {
                "tcb_status_configuration_and_sw_hardening_needed"
            }
            Self::OutOfDate => "tcb_status_out_of_date",
            Self::OutOfDateConfigurationNeeded => "tcb_status_out_of_date_configuration_needed",
            Self::Revoked => "tcb_status_revoked",
        }
    }

    /// Merges the status of a component (TDX module, QE) into that of the platform: only a component that is out of
    /// date or revoked changes it.
    fn converge(self, component: Self) -> Self {
        match (component, self) {
            (Self::Revoked, _) => Self::Revoked,
            (
                Self::OutOfDate | Self::OutOfDateConfigurationNeeded,
                Self::UpToDate | Self::SWHardeningNeeded,
            ) => component,
            (
                Self::OutOfDate | Self::OutOfDateConfigurationNeeded,
                Self::ConfigurationNeeded | Self::ConfigurationAndSWHardeningNeeded,
            ) => Self::OutOfDateConfigurationNeeded,
            _ => self,
        }
    }

    fn is_out_of_date(self) -> bool {
        matches!(self, Self::OutOfDate | Self::OutOfDateConfigurationNeeded)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The TDX module's own level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleTcb {
    /// Id in the TCB info: `TDX_` and the module's major version in hex.
    pub id: String,
    /// Security version of the module.
    pub isv_svn: u16,
    /// Status of its level.
    pub status: TcbStatus,
    /// Date of its level.
    pub tcb_date: Timestamp,
}

/// What the collateral says about the TCB that produced a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcbClaims {
    /// Merged status of everything below: the worst of launch and current TCB, with the quoting enclave's.
    pub status: TcbStatus,
    /// Platform and module at the TD's launch (`tee_tcb_svn`).
    pub platform_status: TcbStatus,
    /// Platform and module now (`tee_tcb_svn2`), where the quote has it.
    pub current_status: Option<TcbStatus>,
    /// Quoting enclave.
    pub qe_status: TcbStatus,
    /// The module was brought up to date under the running TD: relaunching it would make it up to date.
    pub relaunch_advised: bool,
    /// Advisories that the levels name, sorted.
    pub advisories: BTreeSet<String>,
    /// Oldest date of the platform's and module's levels: everything known before is mitigated.
    pub tcb_date: Timestamp,
    /// Date of the quoting enclave's level.
    pub qe_tcb_date: Timestamp,
    /// TDX module at launch; `None` for modules that the platform's level covers.
    pub module: Option<ModuleTcb>,
    /// TDX module now.
    pub current_module: Option<ModuleTcb>,
    /// `tcbEvaluationDataNumber` of the TCB info.
    pub tcb_evaluation_data_number: u32,
    /// `tcbEvaluationDataNumber` of the QE identity.
    pub qe_evaluation_data_number: u32,
}

struct Matched {
    status: TcbStatus,
    tcb_date: Timestamp,
    advisories: BTreeSet<String>,
    module: Option<ModuleTcb>,
}

/// Judges platform, module and quoting enclave.
pub(super) fn assess(
    info: &TcbInfo,
    identity: &QeIdentity,
    pck: &PckPlatform,
    td: &TdReport,
    current_svn: Option<&Bytes<16>>,
    qe: &QeReport,
) -> Result<TcbClaims, TdxError> {
    check_qe(identity, qe)?;
    check_module(info, td)?;
    let launch = platform(info, pck, &td.tee_tcb_svn, Level::Launch)?;
    let current = match current_svn {
        Some(svn) => Some(platform(info, pck, svn, Level::Current)?),
        None => None,
    };
    let qe_level = isv_level(&identity.tcb_levels, qe.isv_svn, Level::Qe)?;

    let current_status = current.as_ref().map(|current| current.status);
    let platform = launch.status.max(current_status.unwrap_or(launch.status));
    let mut advisories = launch.advisories;
    advisories.extend(qe_level.advisory_ids.iter().cloned());
    let mut tcb_date = launch.tcb_date;
    let mut current_module = None;
    if let Some(current) = current {
        advisories.extend(current.advisories);
        tcb_date = tcb_date.min(current.tcb_date);
        current_module = current.module;
    }
    Ok(TcbClaims {
        status: platform.converge(qe_level.tcb_status),
        platform_status: launch.status,
        current_status,
        qe_status: qe_level.tcb_status,
        relaunch_advised: launch.status.is_out_of_date()
            && current_status.is_some_and(|now| now < TcbStatus::OutOfDate),
        advisories,
        tcb_date,
        qe_tcb_date: qe_level.tcb_date,
        module: launch.module,
        current_module,
        tcb_evaluation_data_number: info.tcb_evaluation_data_number,
        qe_evaluation_data_number: identity.tcb_evaluation_data_number,
    })
}

fn masked<const N: usize>(value: &Bytes<N>, mask: &Bytes<N>) -> Bytes<N> {
    let mut out = value.0;
    for (byte, mask) in out.iter_mut().zip(mask.0) {
        *byte &= mask;
    }
    Bytes(out)
}

fn check_qe(identity: &QeIdentity, qe: &QeReport) -> Result<(), TdxError> {
    let differs = |field, found: String, wanted: String| {
        Err(TdxError::QeIdentityMismatch {
            field,
            found,
            wanted,
        })
    };
    if qe.mr_signer != identity.mrsigner {
        return differs(
            "MRSIGNER",
            qe.mr_signer.to_string(),
            identity.mrsigner.to_string(),
        );
    }
    if qe.isv_prod_id != identity.isvprodid {
        return differs(
            "ISVPRODID",
            qe.isv_prod_id.to_string(),
            identity.isvprodid.to_string(),
        );
    }
    let (misc, mask) = (identity.miscselect, identity.miscselect_mask);
    if masked(&qe.misc_select, &mask) != masked(&misc, &mask) {
        return differs(
            "MISCSELECT",
            qe.misc_select.to_string(),
            format!("{misc} under mask {mask}"),
        );
    }
    let (attributes, mask) = (identity.attributes, identity.attributes_mask);
    if masked(&qe.attributes, &mask) != masked(&attributes, &mask) {
        return differs(
            "ATTRIBUTES",
            qe.attributes.to_string(),
            format!("{attributes} under mask {mask}"),
        );
    }
    Ok(())
}

/// Major version of the module: 0 where the platform's level covers the module.
fn module_version(svn: &Bytes<16>) -> u8 {
    let [_, version, ..] = svn.0;
    version
}

fn module_id(svn: &Bytes<16>) -> String {
    format!("TDX_{:02X}", module_version(svn))
}

fn identity<'a>(
    info: &'a TcbInfo,
    svn: &Bytes<16>,
) -> Option<&'a super::collateral::TdxModuleIdentity> {
    let id = module_id(svn);
    info.tdx_module_identities
        .iter()
        .find(|identity| identity.id.eq_ignore_ascii_case(&id))
}

fn check_module(info: &TcbInfo, td: &TdReport) -> Result<(), TdxError> {
    let differs = |field, found: String, wanted: String| {
        Err(TdxError::ModuleMismatch {
            field,
            found,
            wanted,
        })
    };
    let module: &TdxModule = if module_version(&td.tee_tcb_svn) == 0 {
        &info.tdx_module
    } else {
        match identity(info, &td.tee_tcb_svn) {
            Some(identity) => &identity.module,
            None => {
                let known: Vec<_> = info
                    .tdx_module_identities
                    .iter()
                    .map(|module| module.id.as_str())
                    .collect();
                return differs("version", module_id(&td.tee_tcb_svn), known.join(", "));
            }
        }
    };
    if td.mr_signer_seam != module.mrsigner {
        return differs(
            "MRSIGNERSEAM",
            td.mr_signer_seam.to_string(),
            module.mrsigner.to_string(),
        );
    }
    let mask = module.attributes_mask;
    let wanted = masked(&module.attributes, &mask);
    // Bits outside the mask have no known meaning: they must be zero too.
    if td.seam_attributes != wanted {
        return differs(
            "SEAMATTRIBUTES",
            td.seam_attributes.to_string(),
            wanted.to_string(),
        );
    }
    Ok(())
}

fn platform(
    info: &TcbInfo,
    pck: &PckPlatform,
    svn: &Bytes<16>,
    level: Level,
) -> Result<Matched, TdxError> {
    let fits = |found: &&TcbLevel| meets(found, pck, svn);
    let Some(found) = info.tcb_levels.iter().find(fits) else {
        let components = hex::encode(pck.components);
        let found = format!(
            "components {components}, PCESVN {}, tee_tcb_svn {svn}",
            pck.pce_svn
        );
        return Err(TdxError::NoTcbLevel { level, found });
    };
    let mut matched = Matched {
        status: found.tcb_status,
        tcb_date: found.tcb_date,
        advisories: found.advisory_ids.iter().cloned().collect(),
        module: None,
    };
    if module_version(svn) > 0 {
        let no_level = |found| TdxError::NoTcbLevel {
            level: Level::Module,
            found,
        };
        let identity = identity(info, svn).ok_or_else(|| no_level(module_id(svn)))?;
        let [isv_svn, ..] = svn.0;
        let found = isv_level(&identity.tcb_levels, isv_svn.into(), Level::Module)?;
        matched.status = matched.status.converge(found.tcb_status);
        matched.tcb_date = matched.tcb_date.min(found.tcb_date);
        matched
            .advisories
            .extend(found.advisory_ids.iter().cloned());
        matched.module = Some(ModuleTcb {
            id: identity.id.clone(),
            isv_svn: isv_svn.into(),
            status: found.tcb_status,
            tcb_date: found.tcb_date,
        });
    }
    Ok(matched)
}

/// Whether a platform meets every SVN of a level. Where the module has its own identity, that one judges the first
/// two TDX components.
fn meets(level: &TcbLevel, pck: &PckPlatform, svn: &Bytes<16>) -> bool {
    let skip = if module_version(svn) > 0 { 2 } else { 0 };
    let sgx = pck
        .components
        .iter()
        .zip(&level.tcb.sgx)
        .all(|(have, needs)| *have >= needs.svn);
    let tdx = svn
        .0
        .iter()
        .zip(&level.tcb.tdx)
        .skip(skip)
        .all(|(have, needs)| *have >= needs.svn);
    sgx && tdx && pck.pce_svn >= level.tcb.pcesvn
}

fn isv_level(levels: &[IsvLevel], isv_svn: u16, level: Level) -> Result<&IsvLevel, TdxError> {
    levels
        .iter()
        .find(|found| isv_svn >= found.tcb.isvsvn)
        .ok_or_else(|| TdxError::NoTcbLevel {
            level,
            found: format!("security version {isv_svn}"),
        })
}

#[cfg(test)]
mod tests {
    use super::TcbStatus::{self, *};

    #[test]
    fn components_only_worsen_the_status_by_being_out_of_date_or_revoked() {
        for (platform, component, merged) in [
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, OutOfDate, OutOfDate),
            (SWHardeningNeeded, OutOfDate, OutOfDate),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (
                ConfigurationAndSWHardeningNeeded,
                OutOfDate,
                OutOfDateConfigurationNeeded,
            ),
            (OutOfDate, UpToDate, OutOfDate),
            (
                OutOfDateConfigurationNeeded,
                OutOfDate,
                OutOfDateConfigurationNeeded,
            ),
            (UpToDate, Revoked, Revoked),
            (Revoked, UpToDate, Revoked),
        ] {
            assert_eq!(
                TcbStatus::converge(platform, component),
                merged,
                "{platform} with {component}"
            );
        }
    }
}
