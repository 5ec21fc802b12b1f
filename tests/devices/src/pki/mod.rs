//! On the host: the mock manufacturers, the platforms they vouch for, and the verifier that is told to trust them.
//!
//! [`make`] fills a directory:
//!
//! | file | content |
//! |---|---|
//! | `amd-root.pem` | mock ARK (Milan), for a verifier's roots |
//! | `intel-root.pem` | mock root of Intel's hierarchy |
//! | `intel.collateral` | Intel's statements about the platform, as they travel in evidence |
//! | `endorsements/` | a key service's store with it, and with AMD's authority and revocation list |
//! | `policy.toml` | a key service's policy that accepts the good platforms |
//! | `NAME.json` | one [`Material`](crate::material::Material) for each of [`Platform::ALL`] |

mod azure;
mod endorsements;
mod platforms;
mod policy;
mod verify;

use std::path::Path;

use dawnkey_attest::snp::fake::{Authority, MockAmd};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::tdx::fake::{MockIntel, Spec};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use crate::error::{DeviceError, IoContext as _};
use crate::material::pem;
pub use azure::provision;
pub use platforms::Platform;
pub use verify::{Given, verify};

/// The mock manufacturers and what they say now.
struct Makers {
    amd: MockAmd,
    intel: MockIntel,
    /// The TDX platform in order.
    spec: Spec,
    /// From when to when revocation lists are valid, seconds since 1970.
    lists: (u64, u64),
}

impl Makers {
    /// Serial number of the VCEK that the mock revokes; real VCEKs all have 0 and cannot be revoked one by one.
    const REVOKED: &'static [u8] = &[7];

    fn new(now: Timestamp) -> Self {
        let at = |span| {
            let time = now.saturating_add(span).unwrap_or(now);
            time.as_second().unsigned_abs()
        };
        let mut spec = Spec {
            now,
            ..Spec::default()
        };
        // Nothing was measured at run time.
        spec.rtmr[3] = [0; 48];
        Self {
            amd: MockAmd::new(Product::Milan),
            intel: MockIntel::new(),
            spec,
            lists: (
                at(SignedDuration::from_hours(-24)),
                at(SignedDuration::from_hours(30 * 24)),
            ),
        }
    }

    /// Seconds since 1970.
    fn now(&self) -> u64 {
        self.spec.now.as_second().unsigned_abs()
    }

    /// What an authority revoked.
    fn crl(&self, by: Authority) -> Vec<u8> {
        let revoked: &[&[u8]] = match by {
            Authority::Ask => &[Self::REVOKED],
            Authority::Ark | Authority::Asvk => &[],
        };
        self.amd.crl(by, revoked, self.lists)
    }
}

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
    let makers = Makers::new(Timestamp::now());
    let (amd, intel) = (&makers.amd, &makers.intel);
    write("amd-root.pem", pem(amd.der(Authority::Ark)).as_bytes())?;
    write("intel-root.pem", pem(intel.root_der()).as_bytes())?;
    write(
        "intel.collateral",
        &intel.collateral(&makers.spec).encode_to_vec(),
    )?;
    write("policy.toml", policy::text(&makers).as_bytes())?;
    endorsements::fill(&dir.join("endorsements"), &makers, &verify::roots(dir)?)?;
    for platform in Platform::ALL {
        let path = dir.join(format!("{}.json", platform.name()));
        platform.material(&makers).write(&path)?;
    }
    Ok(())
}
