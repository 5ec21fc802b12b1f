//! On the host: the mock manufacturers, the platforms they vouch for, and the verifier that is told to trust them.
//!
//! [`make`] fills a directory:
//!
//! | file | content |
//! |---|---|
//! | `amd-root.pem` | mock ARK (Milan), for a verifier's roots |
//! | `amd-ark.crl`, `amd-ask.crl` | revocation lists, DER; the second names the VCEK of `snp-revoked` |
//! | `intel-root.pem` | mock root of Intel's hierarchy |
//! | `intel.collateral` | Intel's statements about the platform, as they travel in evidence |
//! | `NAME.json` | one [`Material`](crate::material::Material) for each of [`Platform::ALL`] |

mod platforms;
mod verify;

use std::path::Path;

use dawnkey_attest::snp::fake::{Authority, MockAmd};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::tdx::fake::{MockIntel, Spec};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use crate::error::{DeviceError, IoContext as _};
use crate::material::pem;
pub use platforms::Platform;
pub use verify::{Given, verify};

/// Serial number of the VCEK that the mock revokes; real VCEKs all have 0 and cannot be revoked one by one.
const REVOKED: &[u8] = &[7];

/// Makes keys and certificates, valid from a day ago, and writes the files.
///
/// # Errors
/// [`DeviceError::Io`] when the directory cannot be written.
pub fn make(dir: &Path) -> Result<(), DeviceError> {
    std::fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).doing(|| format!("write {}", path.display()))
    };
    let now = Timestamp::now();
    let amd = MockAmd::new(Product::Milan);
    let dates = [
        SignedDuration::from_hours(-24),
        SignedDuration::from_hours(30 * 24),
    ]
    .map(|span| {
        now.saturating_add(span)
            .unwrap_or(now)
            .as_second()
            .unsigned_abs()
    });
    write("amd-root.pem", pem(amd.der(Authority::Ark)).as_bytes())?;
    let dates = (dates[0], dates[1]);
    write("amd-ark.crl", &amd.crl(Authority::Ark, &[], dates))?;
    write("amd-ask.crl", &amd.crl(Authority::Ask, &[REVOKED], dates))?;
    let intel = MockIntel::new();
    let spec = Spec {
        now,
        ..Spec::default()
    };
    write("intel-root.pem", pem(intel.root_der()).as_bytes())?;
    write("intel.collateral", &intel.collateral(&spec).encode_to_vec())?;
    for platform in Platform::ALL {
        let path = dir.join(format!("{}.json", platform.name()));
        platform.material(&amd, &intel, &spec).write(&path)?;
    }
    Ok(())
}
