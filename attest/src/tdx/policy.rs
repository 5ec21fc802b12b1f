//! What a verified TD must be to be accepted. Defaults deny.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{claims::TdxClaims, tcb::TcbStatus};
use crate::bytes::Bytes;

/// What an attribute of the TD must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flag {
    /// Set or not.
    #[default]
    Any,
    /// Must be set.
    Required,
    /// Must not be set.
    Forbidden,
}

/// Values a TD must report; `None` is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdxExpected {
    /// Report data: the binder.
    pub report_data: Option<Bytes<64>>,
    /// Measurement of the initial memory.
    pub mr_td: Option<Bytes<48>>,
    /// Measurement of the TDX module.
    pub mr_seam: Option<Bytes<48>>,
    /// Configuration id.
    pub mr_config_id: Option<Bytes<48>>,
    /// Owner.
    pub mr_owner: Option<Bytes<48>>,
    /// Owner's configuration.
    pub mr_owner_config: Option<Bytes<48>>,
    /// Runtime measurement registers.
    pub rtmr: [Option<Bytes<48>>; 4],
}

/// Demands on a verified TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxPolicy {
    /// Accept TDs that the host can debug or profile.
    pub allow_debug: bool,
    /// Accept TDs to which a service TD is bound.
    pub allow_service_td: bool,
    /// Refuse TDs in which accesses to pending pages raise #VE, which the host can provoke.
    pub require_sept_ve_disable: bool,
    /// MIGRATABLE.
    pub migratable: Flag,
    /// PKS.
    pub pks: Flag,
    /// KL.
    pub key_locker: Flag,
    /// PERFMON.
    pub perfmon: Flag,
    /// Merged TCB status that is accepted.
    pub allowed_tcb_status: BTreeSet<TcbStatus>,
    /// Accept a TCB that became out of date, until this long after the date of its level.
    pub out_of_date_grace: Option<SignedDuration>,
    /// Advisories that may be open; `None` leaves them to the status.
    pub accepted_advisories: Option<BTreeSet<String>>,
    /// Lowest `tcbEvaluationDataNumber` of TCB info and QE identity: refuses older collateral that is still valid.
    pub min_tcb_evaluation_data_number: Option<u32>,
    /// Lowest module TCB, each byte on its own, at launch and now.
    pub min_tee_tcb_svn: Option<Bytes<16>>,
    /// Platforms that may run the TD, by PPID; `None` for any.
    pub platforms: Option<BTreeSet<Bytes<16>>>,
    /// Values the TD must report.
    pub expected: TdxExpected,
}

impl Default for TdxPolicy {
    /// Refuses debug, migration and service TDs, demands SEPT_VE_DISABLE and an up-to-date TCB.
    fn default() -> Self {
        Self {
            allow_debug: false,
            allow_service_td: false,
            require_sept_ve_disable: true,
            migratable: Flag::Forbidden,
            pks: Flag::Any,
            key_locker: Flag::Any,
            perfmon: Flag::Any,
            allowed_tcb_status: BTreeSet::from([TcbStatus::UpToDate]),
            out_of_date_grace: None,
            accepted_advisories: None,
            min_tcb_evaluation_data_number: None,
            min_tee_tcb_svn: None,
            platforms: None,
            expected: TdxExpected::default(),
        }
    }
}

/// A demand that a TD does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdxRefusal {
    /// The host can look into the TD.
    #[error("the TD is under debug (attributes {attributes}): the host can read and change it")]
    DebugEnabled {
        /// TD attributes.
        attributes: Bytes<8>,
    },
    /// Attribute bits that must be zero.
    #[error("attribute bits {bits:#x} have no meaning and must be zero")]
    ReservedAttributes {
        /// The bits.
        bits: u64,
    },
    /// SEPT_VE_DISABLE is demanded.
    #[error("SEPT_VE_DISABLE is not set: the host can raise #VE in the TD")]
    SeptVeDisableOff,
    /// A service TD is bound.
    #[error("a service TD ({hash}) is bound to the TD")]
    ServiceTd {
        /// Its hash, zero where only the attribute says so.
        hash: Bytes<48>,
    },
    /// An attribute is not what it must be.
    #[error("attribute {name} is {found}, the policy demands the opposite")]
    Attribute {
        /// Name of the attribute.
        name: &'static str,
        /// Class of the refusal.
        class: &'static str,
        /// Value found.
        found: bool,
    },
    /// The TCB's status is not accepted.
    #[error("TCB status {status} (levels of {tcb_date}; open: {advisories:?}) is not accepted")]
    TcbStatus {
        /// Merged status.
        status: TcbStatus,
        /// Date of the levels.
        tcb_date: Timestamp,
        /// Advisories.
        advisories: Vec<String>,
    },
    /// An advisory is open that is not accepted.
    #[error("advisory {id} is open and not accepted")]
    Advisory {
        /// The advisory.
        id: String,
    },
    /// The collateral is of an older evaluation than demanded.
    #[error("{part} has tcbEvaluationDataNumber {found}, at least {least} is demanded")]
    EvaluationNumber {
        /// TCB info or QE identity.
        part: &'static str,
        /// Number found.
        found: u32,
        /// Number demanded.
        least: u32,
    },
    /// The module's TCB is too low.
    #[error("{field} is {found}, at least {least} is demanded in each byte")]
    TeeTcbSvn {
        /// Field.
        field: &'static str,
        /// Value found.
        found: Bytes<16>,
        /// Value demanded.
        least: Bytes<16>,
    },
    /// The platform is not one of those allowed.
    #[error("the platform (PPID {ppid}) is not one of those allowed")]
    Platform {
        /// The platform.
        ppid: Bytes<16>,
    },
    /// A reported value is not the expected one.
    #[error("{field} is {found}, expected {wanted}")]
    Value {
        /// Field.
        field: &'static str,
        /// Class of the refusal.
        class: &'static str,
        /// Value found.
        found: String,
        /// Value expected.
        wanted: String,
    },
}

impl TdxRefusal {
    /// A short stable name of the cause.
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::DebugEnabled { .. } => "debug_enabled",
            Self::ReservedAttributes { .. } => "attributes_reserved",
            Self::SeptVeDisableOff => "sept_ve_disable_off",
            Self::ServiceTd { .. } => "service_td_bound",
            Self::Attribute { class, .. } | Self::Value { class, .. } => class,
            Self::TcbStatus { status, .. } => status.reason_class(),
            Self::Advisory { .. } => "advisory_not_accepted",
            Self::EvaluationNumber { .. } => "tcb_evaluation_data_number_too_low",
            Self::TeeTcbSvn { .. } => "tee_tcb_svn_too_low",
            Self::Platform { .. } => "platform_not_allowed",
        }
    }
}

impl TdxPolicy {
    /// Judges a TD at `now` and lists every demand it does not meet; the first is the main reason, none is approval.
    pub fn judge(&self, claims: &TdxClaims, now: Timestamp) -> Vec<TdxRefusal> {
        let mut refusals = Vec::new();
        self.judge_attributes(claims, &mut refusals);
        self.judge_tcb(claims, now, &mut refusals);
        self.judge_platform(claims, &mut refusals);
        self.judge_values(claims, &mut refusals);
        refusals
    }

    fn judge_attributes(&self, claims: &TdxClaims, refusals: &mut Vec<TdxRefusal>) {
        let attributes = claims.td.td_attributes;
        if attributes.under_debug() && !self.allow_debug {
            refusals.push(TdxRefusal::DebugEnabled {
                attributes: attributes.0,
            });
        }
        // Undefined bits of the debug group are the business of `allow_debug`.
        let bits = attributes.reserved() & !0xff;
        if bits != 0 {
            refusals.push(TdxRefusal::ReservedAttributes { bits });
        }
        if self.require_sept_ve_disable && !attributes.sept_ve_disable() {
            refusals.push(TdxRefusal::SeptVeDisableOff);
        }
        for (rule, name, class, found) in [
            (
                self.migratable,
                "MIGRATABLE",
                "migratable",
                attributes.migratable(),
            ),
            (self.pks, "PKS", "attribute_pks", attributes.pks()),
            (self.key_locker, "KL", "attribute_kl", attributes.kl()),
            (
                self.perfmon,
                "PERFMON",
                "attribute_perfmon",
                attributes.perfmon(),
            ),
        ] {
            if (rule == Flag::Required && !found) || (rule == Flag::Forbidden && found) {
                refusals.push(TdxRefusal::Attribute { name, class, found });
            }
        }
        let bound = claims.td15.as_ref().map(|report| report.mr_service_td);
        let now = claims
            .td15_ex
            .as_ref()
            .map(|report| report.cur_service_td_hash);
        let hash = [bound, now]
            .into_iter()
            .flatten()
            .find(|hash| !hash.is_zero());
        if !self.allow_service_td && (hash.is_some() || attributes.servtd_ext()) {
            let hash = hash.unwrap_or(Bytes([0; 48]));
            refusals.push(TdxRefusal::ServiceTd { hash });
        }
    }

    fn judge_tcb(&self, claims: &TdxClaims, now: Timestamp, refusals: &mut Vec<TdxRefusal>) {
        let tcb = &claims.tcb;
        if !self.allowed_tcb_status.contains(&tcb.status) && !self.in_grace(claims, now) {
            refusals.push(TdxRefusal::TcbStatus {
                status: tcb.status,
                tcb_date: tcb.tcb_date.min(tcb.qe_tcb_date),
                advisories: tcb.advisories.iter().cloned().collect(),
            });
        }
        if let Some(accepted) = &self.accepted_advisories {
            let open = tcb.advisories.difference(accepted);
            refusals.extend(open.map(|id| TdxRefusal::Advisory { id: id.clone() }));
        }
        if let Some(least) = self.min_tcb_evaluation_data_number {
            for (part, found) in [
                ("the TCB info", tcb.tcb_evaluation_data_number),
                ("the QE identity", tcb.qe_evaluation_data_number),
            ] {
                if found < least {
                    refusals.push(TdxRefusal::EvaluationNumber { part, found, least });
                }
            }
        }
        if let Some(least) = self.min_tee_tcb_svn {
            let current = claims.td15.as_ref().map(|report| report.tee_tcb_svn2);
            for (field, found) in [
                ("tee_tcb_svn", Some(claims.td.tee_tcb_svn)),
                ("tee_tcb_svn2", current),
            ] {
                let Some(found) = found else { continue };
                if found
                    .0
                    .iter()
                    .zip(least.0)
                    .any(|(found, least)| *found < least)
                {
                    refusals.push(TdxRefusal::TeeTcbSvn {
                        field,
                        found,
                        least,
                    });
                }
            }
        }
    }

    /// An out-of-date TCB passes while the date of its levels is younger than the grace period; what else its status
    /// says (configuration needed) must be accepted without grace too.
    fn in_grace(&self, claims: &TdxClaims, now: Timestamp) -> bool {
        let tcb = &claims.tcb;
        let otherwise = match tcb.status {
            TcbStatus::OutOfDate => TcbStatus::UpToDate,
            TcbStatus::OutOfDateConfigurationNeeded => TcbStatus::ConfigurationNeeded,
            _ => return false,
        };
        let Some(grace) = self.out_of_date_grace else {
            return false;
        };
        let until = tcb.tcb_date.min(tcb.qe_tcb_date).checked_add(grace);
        self.allowed_tcb_status.contains(&otherwise) && until.is_ok_and(|until| now <= until)
    }

    fn judge_platform(&self, claims: &TdxClaims, refusals: &mut Vec<TdxRefusal>) {
        let ppid = claims.platform.ppid;
        if self
            .platforms
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(&ppid))
        {
            refusals.push(TdxRefusal::Platform { ppid });
        }
    }

    fn judge_values(&self, claims: &TdxClaims, refusals: &mut Vec<TdxRefusal>) {
        let (td, expected) = (&claims.td, &self.expected);
        let [rtmr0, rtmr1, rtmr2, rtmr3] = expected.rtmr;
        let [found0, found1, found2, found3] = td.rtmr;
        compare(
            "report_data",
            "report_data_mismatch",
            &td.report_data,
            expected.report_data,
            refusals,
        );
        for (field, class, found, wanted) in [
            ("mr_td", "mr_td_mismatch", td.mr_td, expected.mr_td),
            ("mr_seam", "mr_seam_mismatch", td.mr_seam, expected.mr_seam),
            (
                "mr_config_id",
                "mr_config_id_mismatch",
                td.mr_config_id,
                expected.mr_config_id,
            ),
            (
                "mr_owner",
                "mr_owner_mismatch",
                td.mr_owner,
                expected.mr_owner,
            ),
            (
                "mr_owner_config",
                "mr_owner_config_mismatch",
                td.mr_owner_config,
                expected.mr_owner_config,
            ),
            ("rtmr0", "rtmr0_mismatch", found0, rtmr0),
            ("rtmr1", "rtmr1_mismatch", found1, rtmr1),
            ("rtmr2", "rtmr2_mismatch", found2, rtmr2),
            ("rtmr3", "rtmr3_mismatch", found3, rtmr3),
        ] {
            compare(field, class, &found, wanted, refusals);
        }
    }
}

fn compare<const N: usize>(
    field: &'static str,
    class: &'static str,
    found: &Bytes<N>,
    wanted: Option<Bytes<N>>,
    refusals: &mut Vec<TdxRefusal>,
) {
    let Some(wanted) = wanted else { return };
    if wanted != *found {
        refusals.push(TdxRefusal::Value {
            field,
            class,
            found: found.to_string(),
            wanted: wanted.to_string(),
        });
    }
}
