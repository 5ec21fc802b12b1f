//! What a verified HCL report says, as plain data.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    hcl::{HardwareKind, HashKind, HclReport},
    runtime::RuntimeClaims,
};

/// What the paravisor says. The runtime claims are vouched for by the hardware report, versions by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HclClaims {
    /// Version of the header.
    pub header_version: u32,
    /// What vouches.
    pub hw_report: HardwareKind,
    /// Algorithm that binds the runtime claims to the hardware report.
    pub hash_alg: HashKind,
    /// Bytes of the runtime claims.
    pub runtime_data_size: usize,
    /// Their SHA-256, hex, whatever `hash_alg` is.
    pub runtime_data_sha256: String,
    /// Names of the keys they carry.
    pub key_ids: Vec<String>,
    /// What the paravisor says about the VM, as it says it.
    pub vm_configuration: Map<String, Value>,
    /// What the guest had put beside, hex.
    pub user_data: String,
}

impl HclClaims {
    pub(super) fn new(hcl: &HclReport<'_>, runtime: &RuntimeClaims) -> Self {
        Self {
            header_version: hcl.header_version,
            hw_report: hcl.kind,
            hash_alg: hcl.hash,
            runtime_data_size: hcl.runtime_claims.len(),
            runtime_data_sha256: hex::encode(Sha256::digest(hcl.runtime_claims)),
            key_ids: runtime.key_ids(),
            vm_configuration: runtime.vm_configuration.clone(),
            user_data: runtime.user_data.clone(),
        }
    }

    /// Reads a report without verifying anything: to show evidence that does not verify.
    ///
    /// # Errors
    /// As [`HclReport::parse`] and [`RuntimeClaims::parse`].
    pub fn read(bytes: &[u8]) -> Result<Self, super::AzureError> {
        let hcl = HclReport::parse(bytes)?;
        let runtime = RuntimeClaims::parse(hcl.runtime_claims)?;
        Ok(Self::new(&hcl, &runtime))
    }

    /// The id of the VM, where the paravisor names one.
    pub fn vm_unique_id(&self) -> Option<&str> {
        self.vm_configuration.get("vmUniqueId")?.as_str()
    }

    /// Whether the paravisor says that the VM booted with secure boot.
    pub fn secure_boot(&self) -> Option<bool> {
        self.vm_configuration.get("secure-boot")?.as_bool()
    }
}
