//! What an owner wants of a genuine report. Every default refuses.
//!
//! Rules are judged in the order of [`PolicyError`]'s variants; the first one not met is the answer.

use super::bits::{GuestPolicy, PlatformInfo};
use super::claims::{ReportClaims, SnpClaims};
pub use super::policy_error::PolicyError;
use super::product::Product;
use super::report::FirmwareVersion;
use super::tcb::{Tcb, TcbFloor};
use super::vek::VekKind;

/// Least TCBs, for one product line or for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcbFloors {
    /// The line these floors are for; `None` is every line.
    pub product: Option<Product>,
    /// Of the TCB the key was derived for.
    pub reported: TcbFloor,
    /// Of what cannot be rolled back.
    pub committed: TcbFloor,
    /// Of what runs.
    pub current: TcbFloor,
    /// Of what ran at launch.
    pub launch: TcbFloor,
}

/// Rules for a report. `Default` accepts VCEK-signed reports of VMPL 0 from guests that nobody may debug or
/// migrate, on committed firmware of a known CPU, and compares no value. `None` in an `Option` compares nothing;
/// an empty list in one is met by nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnpPolicy {
    /// Accept guests whose memory the host may read and write.
    pub allow_debug: bool,
    /// Accept guests that a migration agent may move.
    pub allow_migration_agent: bool,
    /// Highest privilege level number accepted, 0 to 3. Reports the host asked for are never accepted.
    pub max_vmpl: u8,
    /// Kinds of endorsement key accepted.
    pub signing_keys: Vec<VekKind>,
    /// Accept firmware that runs without being committed, and could be rolled back.
    pub allow_provisional_firmware: bool,
    /// Accept a chip id that the host masked, under a VCEK.
    pub allow_masked_chip_id: bool,
    /// Accept CPUs that belong to no known line, by the product name AMD certified.
    pub allow_unknown_cpu: bool,
    /// Accept bits and bytes that the report's version reserves.
    pub allow_reserved: bool,
    /// Product lines accepted.
    pub products: Option<Vec<Product>>,
    /// Least report version.
    pub min_report_version: u32,
    /// Floors; all that apply must be met.
    pub floors: Vec<TcbFloors>,
    /// Least version of running and of committed firmware.
    pub min_firmware: Option<FirmwareVersion>,
    /// Least guest security version.
    pub min_guest_svn: u32,
    /// Refuse platforms with simultaneous multithreading on.
    pub require_smt_off: bool,
    /// Refuse guests that may run on several sockets.
    pub require_single_socket: bool,
    /// Guest policy bits that must be one.
    pub guest_policy_set: u64,
    /// Guest policy bits that must be zero.
    pub guest_policy_clear: u64,
    /// Platform information bits that must be one, as 0x20 for the alias check.
    pub platform_info_set: u64,
    /// Platform information bits that must be zero.
    pub platform_info_clear: u64,
    /// Mitigations that must have been verified at launch; needs report version 5.
    pub launch_mitigations: u64,
    /// Mitigations that must be in place now; needs report version 5.
    pub current_mitigations: u64,
    /// What the guest must have bound.
    pub report_data: Option<[u8; 64]>,
    /// Launch digests accepted.
    pub measurements: Option<Vec<[u8; 48]>>,
    /// Host data accepted.
    pub host_data: Option<Vec<[u8; 32]>>,
    /// Family ids accepted.
    pub family_ids: Option<Vec<[u8; 16]>>,
    /// Image ids accepted.
    pub image_ids: Option<Vec<[u8; 16]>>,
    /// SHA-384 of id keys accepted.
    pub id_key_digests: Option<Vec<[u8; 48]>>,
    /// SHA-384 of author keys accepted; a report without an author key is then refused.
    pub author_key_digests: Option<Vec<[u8; 48]>>,
    /// Chips accepted, by certified id of 64 or 8 bytes. VLEKs name none.
    pub chip_ids: Option<Vec<Vec<u8>>>,
    /// Providers accepted under a VLEK, as `CN=…`.
    pub csp_ids: Option<Vec<String>>,
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            allow_debug: false,
            allow_migration_agent: false,
            max_vmpl: 0,
            signing_keys: vec![VekKind::Vcek],
            allow_provisional_firmware: false,
            allow_masked_chip_id: false,
            allow_unknown_cpu: false,
            allow_reserved: false,
            products: None,
            min_report_version: 2,
            floors: Vec::new(),
            min_firmware: None,
            min_guest_svn: 0,
            require_smt_off: false,
            require_single_socket: false,
            guest_policy_set: 0,
            guest_policy_clear: 0,
            platform_info_set: 0,
            platform_info_clear: 0,
            launch_mitigations: 0,
            current_mitigations: 0,
            report_data: None,
            measurements: None,
            host_data: None,
            family_ids: None,
            image_ids: None,
            id_key_digests: None,
            author_key_digests: None,
            chip_ids: None,
            csp_ids: None,
        }
    }
}

impl SnpPolicy {
    /// Accepts every genuine report but those of debug guests and those the host asked for. A start for policies
    /// that state all they want.
    #[must_use]
    pub fn permissive() -> Self {
        Self {
            allow_migration_agent: true,
            max_vmpl: 3,
            signing_keys: vec![VekKind::Vcek, VekKind::Vlek],
            allow_provisional_firmware: true,
            allow_masked_chip_id: true,
            allow_unknown_cpu: true,
            allow_reserved: true,
            ..Self::default()
        }
    }

    /// Judges what verified evidence says.
    ///
    /// # Errors
    /// The first rule that is not met.
    pub fn judge(&self, claims: &SnpClaims) -> Result<(), PolicyError> {
        self.judge_guest(&claims.report)?;
        self.judge_key(claims)?;
        self.judge_platform(claims)?;
        self.judge_tcbs(claims)?;
        self.judge_values(&claims.report)
    }

    fn judge_guest(&self, report: &ReportClaims) -> Result<(), PolicyError> {
        let policy = GuestPolicy(report.policy.0);
        if policy.debug() && !self.allow_debug {
            return Err(PolicyError::DebugEnabled);
        }
        if policy.migrate_ma() && !self.allow_migration_agent {
            return Err(PolicyError::MigrationAgentAllowed);
        }
        if report.vmpl > 3 {
            return Err(PolicyError::HostRequested { vmpl: report.vmpl });
        }
        if report.vmpl > u32::from(self.max_vmpl) {
            return Err(PolicyError::VmplTooHigh {
                vmpl: report.vmpl,
                max: self.max_vmpl,
            });
        }
        let missing = self.guest_policy_set & !policy.0;
        let present = self.guest_policy_clear & policy.0;
        if missing | present != 0 {
            return Err(PolicyError::GuestPolicyBits { missing, present });
        }
        if self.require_single_socket && !policy.single_socket() {
            return Err(PolicyError::MultipleSocketsAllowed);
        }
        if report.guest_svn < self.min_guest_svn {
            return Err(PolicyError::GuestSvnTooOld {
                found: report.guest_svn,
                min: self.min_guest_svn,
            });
        }
        Ok(())
    }

    fn judge_key(&self, claims: &SnpClaims) -> Result<(), PolicyError> {
        let (report, vek) = (&claims.report, &claims.vek);
        let hwid = vek.hwid.as_ref().and_then(|id| hex::decode(id).ok());
        if !self.signing_keys.contains(&vek.kind) {
            return Err(PolicyError::SigningKeyNotAllowed {
                found: vek.kind.name(),
            });
        }
        if vek.kind == VekKind::Vcek && report.chip_id.is_zero() && !self.allow_masked_chip_id {
            return Err(PolicyError::ChipIdMasked);
        }
        if let Some(chips) = &self.chip_ids
            && !hwid.is_some_and(|id| chips.contains(&id))
        {
            let found = vek.hwid.clone().unwrap_or_default();
            return Err(PolicyError::ChipNotAllowed { found });
        }
        if let (Some(providers), VekKind::Vlek) = (&self.csp_ids, vek.kind)
            && !vek.csp_id.as_ref().is_some_and(|id| providers.contains(id))
        {
            return Err(PolicyError::ProviderNotAllowed {
                found: vek.csp_id.clone().unwrap_or_default(),
            });
        }
        Ok(())
    }

    fn judge_platform(&self, claims: &SnpClaims) -> Result<(), PolicyError> {
        let report = &claims.report;
        let info = PlatformInfo(report.platform_info.0);
        if let Some(products) = &self.products
            && !products.contains(&claims.product)
        {
            return Err(PolicyError::ProductNotAllowed {
                found: claims.product.clone(),
            });
        }
        if let (Some(cpuid), false) = (&report.cpuid, self.allow_unknown_cpu) {
            let (family, model) = (cpuid.family.0, cpuid.model.0);
            if Product::from_cpuid(family, model).is_none() {
                return Err(PolicyError::UnknownCpu { family, model });
            }
        }
        if report.version < self.min_report_version {
            return Err(PolicyError::ReportVersionTooOld {
                found: report.version,
                min: self.min_report_version,
            });
        }
        let missing = self.platform_info_set & !info.0;
        let present = self.platform_info_clear & info.0;
        if missing | present != 0 {
            return Err(PolicyError::PlatformInfoBits { missing, present });
        }
        if self.require_smt_off && info.smt_enabled() {
            return Err(PolicyError::SmtEnabled);
        }
        let mitigations = [
            ("launch", self.launch_mitigations, report.launch_mit_vector),
            (
                "current",
                self.current_mitigations,
                report.current_mit_vector,
            ),
        ];
        for (which, wanted, found) in mitigations {
            let missing = wanted & !found.unwrap_or(0);
            if missing != 0 {
                return Err(PolicyError::MitigationsMissing { which, missing });
            }
        }
        self.judge_reserved(report)
    }

    fn judge_reserved(&self, report: &ReportClaims) -> Result<(), PolicyError> {
        match report.reserved_not_zero {
            Some(at) if !self.allow_reserved => Err(PolicyError::ReservedNotZero { at }),
            _ => Ok(()),
        }
    }

    fn judge_tcbs(&self, claims: &SnpClaims) -> Result<(), PolicyError> {
        let report = &claims.report;
        let apply =
            |floors: &&TcbFloors| floors.product.as_ref().is_none_or(|p| *p == claims.product);
        for floors in self.floors.iter().filter(apply) {
            let pairs: [(&'static str, &Tcb, &TcbFloor); 4] = [
                ("reported", &report.reported_tcb, &floors.reported),
                ("committed", &report.committed_tcb, &floors.committed),
                ("current", &report.current_tcb, &floors.current),
                ("launch", &report.launch_tcb, &floors.launch),
            ];
            for (which, tcb, floor) in pairs {
                if let Some((component, found, min)) = tcb.below(floor) {
                    return Err(PolicyError::TcbTooOld {
                        which,
                        component,
                        found,
                        min,
                    });
                }
            }
        }
        if let Some(min) = self.min_firmware {
            for found in [report.current_version, report.committed_version] {
                if found < min {
                    return Err(PolicyError::FirmwareTooOld { found, min });
                }
            }
        }
        // Microcode is loaded by the host's system and not committed; floors on the committed TCB cover it.
        let firmware = TcbFloor {
            microcode: None,
            ..TcbFloor::from(&report.current_tcb)
        };
        let uncommitted = report.committed_tcb.below(&firmware).is_some()
            || report.committed_version < report.current_version;
        if uncommitted && !self.allow_provisional_firmware {
            return Err(PolicyError::ProvisionalFirmware);
        }
        Ok(())
    }

    fn judge_values(&self, report: &ReportClaims) -> Result<(), PolicyError> {
        if self
            .report_data
            .is_some_and(|wanted| wanted != report.report_data.0)
        {
            return Err(PolicyError::ReportDataMismatch {
                found: report.report_data.to_string(),
            });
        }
        if refuses(&self.measurements, &report.measurement.0) {
            return Err(PolicyError::MeasurementMismatch {
                found: report.measurement.to_string(),
            });
        }
        if refuses(&self.host_data, &report.host_data.0) {
            return Err(PolicyError::HostDataMismatch {
                found: report.host_data.to_string(),
            });
        }
        if refuses(&self.family_ids, &report.family_id.0) {
            return Err(PolicyError::FamilyIdMismatch {
                found: report.family_id.to_string(),
            });
        }
        if refuses(&self.image_ids, &report.image_id.0) {
            return Err(PolicyError::ImageIdMismatch {
                found: report.image_id.to_string(),
            });
        }
        if refuses(&self.id_key_digests, &report.id_key_digest.0) {
            return Err(PolicyError::IdKeyMismatch {
                found: report.id_key_digest.to_string(),
            });
        }
        if self.author_key_digests.is_some() && !report.author_key_en {
            return Err(PolicyError::AuthorKeyMissing);
        }
        if refuses(&self.author_key_digests, &report.author_key_digest.0) {
            return Err(PolicyError::AuthorKeyMismatch {
                found: report.author_key_digest.to_string(),
            });
        }
        Ok(())
    }
}

fn refuses<const N: usize>(accepted: &Option<Vec<[u8; N]>>, found: &[u8; N]) -> bool {
    accepted
        .as_ref()
        .is_some_and(|accepted| !accepted.contains(found))
}
