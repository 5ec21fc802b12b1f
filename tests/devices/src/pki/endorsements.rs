//! A key service's store of endorsements: what the mock manufacturers publish beside what platforms show themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dawnkey_attest::snp::fake::Authority;
use dawnkey_attest::verify::Roots;
use dawnkey_endorse::answer::{self, Kind};
use dawnkey_endorse::exchange::import;
use dawnkey_endorse::store::Store;

use super::Makers;
use crate::error::DeviceError;
use crate::material::pem;

/// Fills the store in `dir`, as an operator would who imports downloaded files.
pub(super) fn fill(dir: &Path, makers: &Makers, roots: &Roots) -> Result<(), DeviceError> {
    let failed = |error: &dyn std::fmt::Display| {
        DeviceError::Pki(format!("fill the store {}: {error}", dir.display()))
    };
    let store = Store::open(dir, Arc::new(roots.into())).map_err(|e| failed(&e))?;
    for imported in import(&store, &files(makers), makers.now()).map_err(|e| failed(&e))? {
        imported
            .outcome
            .map_err(|e| failed(&format!("{}: {e}", imported.path.display())))?;
    }
    Ok(())
}

fn files(makers: &Makers) -> Vec<(PathBuf, Vec<u8>)> {
    let of = makers.intel.collateral(&makers.spec);
    let tcb_info = answer::write(Kind::TcbInfo, &of.tcb_info, &of.tcb_info_signature);
    let qe = answer::write(Kind::QeIdentity, &of.qe_identity, &of.qe_identity_signature);
    [
        ("ask.pem", pem(makers.amd.der(Authority::Ask)).into_bytes()),
        ("amd.crl", makers.crl(Authority::Ark)),
        ("root-ca.crl", of.root_ca_crl),
        ("pck.crl", of.pck_crl),
        ("pck-chain.pem", of.pck_crl_issuer_chain),
        ("tcb-info.json", tcb_info),
        ("tcb-chain.pem", of.tcb_info_issuer_chain),
        ("qe-identity.json", qe),
    ]
    .map(|(name, bytes)| (PathBuf::from(name), bytes))
    .into()
}
