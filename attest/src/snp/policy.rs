//! What an owner wants of a genuine report. Every default refuses.
//!
//! Rules are judged in the order of [`PolicyError`]'s variants; the first one not met is the answer.

pub use super::policy_error::PolicyError;
use super::product::Product;
use super::report::FirmwareVersion;
use super::tcb::{Tcb, TcbFloor};
use super::vek::VekKind;
use super::verify::SnpVerified;

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

    pub(super) fn judge(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        self.judge_guest(verified)?;
        self.judge_key(verified)?;
        self.judge_platform(verified)?;
        self.judge_tcbs(verified)?;
        self.judge_values(verified)
    }

    fn judge_guest(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        let report = verified.report();
        let policy = report.policy;
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

    fn judge_key(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        let (report, vek) = (verified.report(), &verified.chain().vek);
        if !self.signing_keys.contains(&vek.kind) {
            return Err(PolicyError::SigningKeyNotAllowed {
                found: vek.kind.name(),
            });
        }
        if vek.kind == VekKind::Vcek && report.chip_id_is_zero() && !self.allow_masked_chip_id {
            return Err(PolicyError::ChipIdMasked);
        }
        if let Some(chips) = &self.chip_ids
            && !vek.hwid.as_ref().is_some_and(|id| chips.contains(id))
        {
            let found = vek.hwid.as_ref().map(hex::encode).unwrap_or_default();
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

    fn judge_platform(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        let report = verified.report();
        if let Some(products) = &self.products
            && !products.contains(verified.product())
        {
            return Err(PolicyError::ProductNotAllowed {
                found: verified.product().clone(),
            });
        }
        if let (Some(cpuid), None, false) =
            (report.cpuid, report.cpuid_product(), self.allow_unknown_cpu)
        {
            return Err(PolicyError::UnknownCpu {
                family: cpuid.family,
                model: cpuid.model,
            });
        }
        if report.version < self.min_report_version {
            return Err(PolicyError::ReportVersionTooOld {
                found: report.version,
                min: self.min_report_version,
            });
        }
        let missing = self.platform_info_set & !report.platform_info.0;
        let present = self.platform_info_clear & report.platform_info.0;
        if missing | present != 0 {
            return Err(PolicyError::PlatformInfoBits { missing, present });
        }
        if self.require_smt_off && report.platform_info.smt_enabled() {
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
        self.judge_reserved(verified)
    }

    fn judge_reserved(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        if self.allow_reserved {
            return Ok(());
        }
        let (report, tcbs) = (verified.report(), verified.tcbs());
        if let Some(at) = report.nonzero_reserved() {
            return Err(PolicyError::ReservedNotZero { at });
        }
        let fields = [
            (0x38, tcbs.current),
            (0x180, tcbs.reported),
            (0x1e0, tcbs.committed),
            (0x1f0, tcbs.launch),
        ];
        if let Some((at, _)) = fields.into_iter().find(|(_, tcb)| !tcb.reserved_is_zero()) {
            return Err(PolicyError::ReservedNotZero { at });
        }
        if report.key_info >> 5 != 0 {
            return Err(PolicyError::ReservedNotZero { at: 0x48 });
        }
        if !report.policy.reserved_one() || report.policy.0 >> 26 != 0 {
            return Err(PolicyError::ReservedNotZero { at: 0x08 });
        }
        Ok(())
    }

    fn judge_tcbs(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        let (report, tcbs) = (verified.report(), verified.tcbs());
        let apply = |floors: &&TcbFloors| {
            floors
                .product
                .as_ref()
                .is_none_or(|p| p == verified.product())
        };
        for floors in self.floors.iter().filter(apply) {
            let pairs: [(&'static str, &Tcb, &TcbFloor); 4] = [
                ("reported", &tcbs.reported, &floors.reported),
                ("committed", &tcbs.committed, &floors.committed),
                ("current", &tcbs.current, &floors.current),
                ("launch", &tcbs.launch, &floors.launch),
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
            ..TcbFloor::from(&tcbs.current)
        };
        let uncommitted = tcbs.committed.below(&firmware).is_some()
            || report.committed_version < report.current_version;
        if uncommitted && !self.allow_provisional_firmware {
            return Err(PolicyError::ProvisionalFirmware);
        }
        Ok(())
    }

    fn judge_values(&self, verified: &SnpVerified) -> Result<(), PolicyError> {
        let report = verified.report();
        if self
            .report_data
            .is_some_and(|wanted| wanted != report.report_data)
        {
            return Err(PolicyError::ReportDataMismatch {
                found: hex::encode(report.report_data),
            });
        }
        if refuses(&self.measurements, &report.measurement) {
            return Err(PolicyError::MeasurementMismatch {
                found: hex::encode(report.measurement),
            });
        }
        if refuses(&self.host_data, &report.host_data) {
            return Err(PolicyError::HostDataMismatch {
                found: hex::encode(report.host_data),
            });
        }
        if refuses(&self.family_ids, &report.family_id) {
            return Err(PolicyError::FamilyIdMismatch {
                found: hex::encode(report.family_id),
            });
        }
        if refuses(&self.image_ids, &report.image_id) {
            return Err(PolicyError::ImageIdMismatch {
                found: hex::encode(report.image_id),
            });
        }
        if refuses(&self.id_key_digests, &report.id_key_digest) {
            return Err(PolicyError::IdKeyMismatch {
                found: hex::encode(report.id_key_digest),
            });
        }
        if self.author_key_digests.is_some() && !report.author_key_en() {
            return Err(PolicyError::AuthorKeyMissing);
        }
        if refuses(&self.author_key_digests, &report.author_key_digest) {
            return Err(PolicyError::AuthorKeyMismatch {
                found: hex::encode(report.author_key_digest),
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
