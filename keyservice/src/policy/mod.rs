//! Policy: one TOML file that says which evidence may have which volumes.
//!
//! [`Policy::load`] reads it strictly, [`lint`] says what is allowed but unwise, [`Policy::judge`] decides on
//! claims and explains every step. `docs/policy.md` describes the file.

mod admit;
mod data_key;
mod file;
mod identity;
mod judge;
mod lint;
mod node;
mod reference;
#[cfg(test)]
pub(crate) mod testing;

pub use admit::Denial;
pub(crate) use admit::{Admitted, denial};
pub(crate) use data_key::MEASUREMENT_SECRET;
pub use data_key::{DataKeyGrant, DataKeyRule};
pub(crate) use identity::key_name;
pub use identity::{Identity, instance_of};
pub use judge::{Decision, Freshness, Moment, TraceLine, Verdict};
pub use lint::{Finding, Severity, lint, lint_at};
pub use node::{NodeRef, NodeRule};
pub use reference::{Register, Section};

use crate::release::Rollback;
use crate::volume::InstanceId;
use dawnkey_attest::claims::TrustClass;
use dawnkey_attest::snp::SnpPolicy;
use dawnkey_attest::tdx::TdxPolicy;
use dawnkey_attest::verify::Roots;
use dawnkey_proto::message::OnLoss;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The policy file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or has a field that does not exist, or lacks one.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what is wrong.
        problem: String,
    },
    /// It is of another version.
    #[error("{path}: `version` is {found}; this service reads version 1")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// A value is not one that the key can have.
    #[error("{path}: `{key}`: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, `image.node-1.pcrs.sha256.4`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two images have the same name.
    #[error("{path}: `[[image]]` name \"{name}\" is used twice; every image needs its own name")]
    DuplicateImage {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A volume policy names a platform that is not there.
    #[error(
        "{path}: `volume-policy.{policy}.platforms` names \"{platform}\", but there is no [platform.{platform}]"
    )]
    UnknownPlatform {
        /// The file.
        path: PathBuf,
        /// The volume policy.
        policy: String,
        /// The name that is not there.
        platform: String,
    },
    /// Two nodes have the same name.
    #[error("{path}: `[[node]]` name \"{name}\" is used twice; every node needs its own name")]
    DuplicateNode {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A volume policy names a node or label that is not there.
    #[error(
        "{path}: `volume-policy.{policy}.nodes` names \"{node}\", but no `[[node]]` has that name or label"
    )]
    UnknownNode {
        /// The file.
        path: PathBuf,
        /// The volume policy.
        policy: String,
        /// The name or label that is not there.
        node: String,
    },
    /// A volume policy names an image that is not there.
    #[error(
        "{path}: `volume-policy.{policy}.images` names \"{image}\", but there is no such `[[image]]`"
    )]
    UnknownImage {
        /// The file.
        path: PathBuf,
        /// The volume policy.
        policy: String,
        /// The name that is not there.
        image: String,
    },
}

/// Reference values of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Until then it is refused.
    pub valid_from: Option<Timestamp>,
    /// From then on it is refused.
    pub valid_until: Option<Timestamp>,
    /// Values of registers, all of which must be met; each by any of those listed for it.
    pub values: BTreeMap<Register, Vec<Vec<u8>>>,
    /// Least security version of an SNP guest.
    pub min_guest_svn: u32,
}

impl Image {
    /// Whether it has reference values in a section.
    #[must_use]
    pub fn has(&self, section: Section) -> bool {
        self.values.keys().any(|r| r.section() == section)
    }
}

/// What hardware and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// AMD SEV-SNP.
    Snp(Box<SnpPolicy>),
    /// Intel TDX.
    Tdx(Box<TdxPolicy>),
}

/// Whether unknown attestation keys are enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrol {
    /// When the certificate of the TPM's endorsement key or attestation key chains to a root of the file.
    Endorsed,
    /// Never: only keys that are enrolled already.
    Never,
}

/// Whom a volume belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The instance that provisioned it, or those that are listed.
    #[default]
    Instance,
    /// Any instance that meets the policy may take it over once its lease has ended.
    Any,
}

/// Whether a volume may be opened in a boot that is closed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reopening {
    /// Never: it takes a reboot.
    #[default]
    Refuse,
    /// Whatever runs in a system that was booted and closed properly may ask for the key again.
    Allow,
}

/// Whether an operator must let new nodes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Evidence alone decides.
    #[default]
    Automatic,
    /// A node whose evidence passes waits until an operator approves it.
    Required,
}

/// What evidence must show to have a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePolicy {
    /// What must root the evidence.
    pub trust_class: TrustClass,
    /// Names of images, any of which may have booted.
    pub images: Vec<String>,
    /// Names of platforms, any of which may run it. Evidence without a TEE's report has none.
    pub platforms: Vec<String>,
    /// PCRs that must be all zero: nothing has capped them in this boot.
    pub pcrs_pre_cap: BTreeSet<u8>,
    /// RTMRs of a TD that must be all zero; `None` where the file says nothing and no TD can pass.
    pub rtmrs_pre_cap: Option<BTreeSet<u8>>,
    /// Whether unknown attestation keys are enrolled.
    pub enrol: Enrol,
    /// What happens to an older disk.
    pub rollback: Rollback,
    /// Whom the volumes belong to.
    pub owner: Owner,
    /// The only instances that may have the volumes; empty: no list.
    pub instances: BTreeSet<InstanceId>,
    /// The only nodes of the file that may have the volumes, beside [`VolumePolicy::instances`]; empty: no list.
    pub nodes: Vec<NodeRef>,
    /// Whether an operator must let new nodes in.
    pub approval: Approval,
    /// Whether the node has to hold the lease while the volume is mapped.
    pub hold: bool,
    /// What the holder does when it loses the lease; `None` where the file says nothing: it warns.
    pub on_loss: Option<OnLoss>,
    /// Whether the volumes may be opened in a boot that is closed.
    pub reopen: Reopening,
    /// Whether volumes with other makers' headers may be opened.
    pub adopted: bool,
    /// Its unwrapped DEK may be remembered for a while, as `[kek] cache_seconds` says.
    pub cache_dek: bool,
}

/// A policy file, read and checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// SHA-256 of the file, hex.
    pub digest: String,
    /// What evidence must chain to.
    pub roots: Roots,
    /// Images by name.
    pub images: BTreeMap<String, Image>,
    /// Platforms by name.
    pub platforms: BTreeMap<String, Platform>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, NodeRule>,
    /// Who may have which data keys.
    pub data_keys: Vec<DataKeyRule>,
    /// Volume policies by name.
    pub volume_policies: BTreeMap<String, VolumePolicy>,
}
