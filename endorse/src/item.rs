//! What a store holds, by name: each item is one statement of a vendor and has one place in the store.

use std::fmt;
use std::path::{Path, PathBuf};

use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::{Vek, VekKind};
use dawnkey_attest::tdx::{Bytes, PckCa};

/// One statement of a vendor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// AMD's root of a product line. Kept for people; what is trusted is configured elsewhere.
    Ark(Product),
    /// The authority of VCEKs.
    Ask(Product),
    /// The authority of VLEKs.
    Asvk(Product),
    /// Certificates that AMD revoked, as published beside VCEKs.
    VcekCrl(Product),
    /// Certificates that AMD revoked, as published beside VLEKs.
    VlekCrl(Product),
    /// The key of one chip at one TCB.
    Vcek {
        /// Product line.
        product: Product,
        /// 64 bytes, 8 from Turin on.
        chip: Vec<u8>,
        /// As the report has it.
        tcb: [u8; 8],
    },
    /// The key of one provider at one TCB.
    Vlek {
        /// Product line.
        product: Product,
        /// As [`provider_name`] writes it.
        provider: String,
        /// As the report has it.
        tcb: [u8; 8],
    },
    /// Certificates that Intel's root revoked.
    RootCrl,
    /// PCK certificates that their CA revoked.
    PckCrl(PckCa),
    /// TCB levels of a platform model.
    TcbInfo(Bytes<6>),
    /// The quoting enclave of TDX.
    QeIdentity,
    /// A CA between TPM certificates and their root, by the SHA-256 of its certificate.
    TpmIntermediate(Bytes<32>),
}

/// Items that are watched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// ARK, ASK and ASVK.
    AmdAuthority,
    /// AMD's revocation lists.
    AmdCrl,
    /// Keys of chips.
    Vcek,
    /// Keys of providers.
    Vlek,
    /// The revocation list of Intel's root.
    IntelRootCrl,
    /// The revocation lists of PCK CAs.
    IntelPckCrl,
    /// TCB levels of platform models.
    IntelTcbInfo,
    /// The quoting enclave's identity.
    IntelQeIdentity,
    /// CAs of TPM vendors.
    TpmIntermediate,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AmdAuthority,
        Self::AmdCrl,
        Self::Vcek,
        Self::Vlek,
        Self::IntelRootCrl,
        Self::IntelPckCrl,
        Self::IntelTcbInfo,
        Self::IntelQeIdentity,
        Self::TpmIntermediate,
    ];

    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmdAuthority => "amd-authority",
            Self::AmdCrl => "amd-crl",
            Self::Vcek => "amd-vcek",
            Self::Vlek => "amd-vlek",
            Self::IntelRootCrl => "intel-root-crl",
            Self::IntelPckCrl => "intel-pck-crl",
            Self::IntelTcbInfo => "intel-tcb-info",
            Self::IntelQeIdentity => "intel-qe-identity",
            Self::TpmIntermediate => "tpm-intermediate",
        }
    }

    /// Whether the vendor makes the item anew every few weeks: revocation lists, TCB info, QE identity.
    #[must_use]
    pub const fn is_dated(self) -> bool {
        matches!(
            self,
            Self::AmdCrl
                | Self::IntelRootCrl
                | Self::IntelPckCrl
                | Self::IntelTcbInfo
                | Self::IntelQeIdentity
        )
    }

    /// How long before its end an item is worth a warning, seconds: a week if it is renewed every few weeks, else
    /// sixty days.
    #[must_use]
    pub const fn warn_before(self) -> u64 {
        let days = if self.is_dated() { 7 } else { 60 };
        days * 86_400
    }
}

impl Item {
    /// The class it is watched in.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Ark(_) | Self::Ask(_) | Self::Asvk(_) => Class::AmdAuthority,
            Self::VcekCrl(_) | Self::VlekCrl(_) => Class::AmdCrl,
            Self::Vcek { .. } => Class::Vcek,
            Self::Vlek { .. } => Class::Vlek,
            Self::RootCrl => Class::IntelRootCrl,
            Self::PckCrl(_) => Class::IntelPckCrl,
            Self::TcbInfo(_) => Class::IntelTcbInfo,
            Self::QeIdentity => Class::IntelQeIdentity,
            Self::TpmIntermediate(_) => Class::TpmIntermediate,
        }
    }

    /// The item that an endorsement certificate is, `None` if it names no product line.
    #[must_use]
    pub fn of_vek(vek: &Vek) -> Option<Self> {
        let product = vek.product()?;
        let tcb = raw_tcb(vek)?;
        Some(match vek.kind {
            VekKind::Vcek => Self::Vcek {
                product,
                chip: vek.hwid.clone()?,
                tcb,
            },
            VekKind::Vlek => Self::Vlek {
                product,
                provider: provider_name(vek.csp_id.as_deref()?),
                tcb,
            },
        })
    }

    /// Its place in a store, relative to the store's directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let amd = |product: &Product| Path::new("amd").join(line(product));
        match self {
            Self::Ark(product) => amd(product).join("ark.pem"),
            Self::Ask(product) => amd(product).join("ask.pem"),
            Self::Asvk(product) => amd(product).join("asvk.pem"),
            Self::VcekCrl(product) => amd(product).join("vcek-crl.der"),
            Self::VlekCrl(product) => amd(product).join("vlek-crl.der"),
            Self::Vcek { product, chip, tcb } => amd(product)
                .join("vcek")
                .join(hex::encode(chip))
                .join(format!("{}.der", hex::encode(tcb))),
            Self::Vlek {
                product,
                provider,
                tcb,
            } => amd(product)
                .join("vlek")
                .join(provider)
                .join(format!("{}.der", hex::encode(tcb))),
            Self::RootCrl => PathBuf::from("intel/root-ca-crl.der"),
            Self::PckCrl(ca) => PathBuf::from(format!("intel/pck-crl-{}.der", ca.name())),
            Self::TcbInfo(fmspc) => PathBuf::from(format!("intel/tcb-info/{fmspc}.json")),
            Self::QeIdentity => PathBuf::from("intel/qe-identity.json"),
            Self::TpmIntermediate(sha256) => PathBuf::from(format!("tpm/{sha256}.der")),
        }
    }

    /// The item whose place `path` is.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
        let item = match *parts?.as_slice() {
            ["amd", line, file] => of_line(&product(line)?, file)?,
            ["amd", line, "vcek", chip, file] => Self::Vcek {
                product: product(line)?,
                chip: hex::decode(chip).ok()?,
                tcb: tcb(file)?,
            },
            ["amd", line, "vlek", provider, file] => Self::Vlek {
                product: product(line)?,
                provider: provider.to_owned(),
                tcb: tcb(file)?,
            },
            ["intel", "root-ca-crl.der"] => Self::RootCrl,
            ["intel", "pck-crl-platform.der"] => Self::PckCrl(PckCa::Platform),
            ["intel", "pck-crl-processor.der"] => Self::PckCrl(PckCa::Processor),
            ["intel", "qe-identity.json"] => Self::QeIdentity,
            ["intel", "tcb-info", file] => {
                Self::TcbInfo(Bytes::from_hex(file.strip_suffix(".json")?)?)
            }
            ["tpm", file] => Self::TpmIntermediate(Bytes::from_hex(file.strip_suffix(".der")?)?),
            _ => return None,
        };
        // One spelling for each: hex in upper case would be a second place for the same item.
        (item.path() == path).then_some(item)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ark(product) => write!(f, "ARK of {product}"),
            Self::Ask(product) => write!(f, "ASK of {product}"),
            Self::Asvk(product) => write!(f, "ASVK of {product}"),
            Self::VcekCrl(product) => write!(f, "VCEK revocation list of {product}"),
            Self::VlekCrl(product) => write!(f, "VLEK revocation list of {product}"),
            Self::Vcek { product, chip, tcb } => {
                let chip = hex::encode(chip.get(..8).unwrap_or(chip));
                write!(
                    f,
                    "VCEK of {product} chip {chip}… at TCB {}",
                    hex::encode(tcb)
                )
            }
            Self::Vlek {
                product,
                provider,
                tcb,
            } => write!(
                f,
                "VLEK of {product} for {provider} at TCB {}",
                hex::encode(tcb)
            ),
            Self::RootCrl => f.write_str("revocation list of Intel's root"),
            Self::PckCrl(ca) => write!(f, "revocation list of the PCK {} CA", ca.name()),
            Self::TcbInfo(fmspc) => write!(f, "TCB info of FMSPC {fmspc}"),
            Self::QeIdentity => f.write_str("QE identity of TDX"),
            Self::TpmIntermediate(sha256) => write!(f, "TPM CA {sha256}"),
        }
    }
}

fn of_line(product: &Product, file: &str) -> Option<Item> {
    let product = product.clone();
    Some(match file {
        "ark.pem" => Item::Ark(product),
        "ask.pem" => Item::Ask(product),
        "asvk.pem" => Item::Asvk(product),
        "vcek-crl.der" => Item::VcekCrl(product),
        "vlek-crl.der" => Item::VlekCrl(product),
        _ => return None,
    })
}

/// The directory of a product line.
pub(crate) fn line(product: &Product) -> String {
    match product {
        // Kept as AMD spells it: two lines must not share a directory.
        Product::Other(name) => name.clone(),
        known => known.name().to_ascii_lowercase(),
    }
}

/// The product line of a directory, or of what a person typed.
#[must_use]
pub fn product(line: &str) -> Option<Product> {
    [Product::Milan, Product::Genoa, Product::Turin]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(line))
        .or_else(|| Product::from_certificate_name(line).filter(|found| found.name() == line))
}

fn tcb(file: &str) -> Option<[u8; 8]> {
    let mut raw = [0; 8];
    hex::decode_to_slice(file.strip_suffix(".der")?, &mut raw).ok()?;
    Some(raw)
}

/// The TCB of a certificate in the form of a report's eight bytes.
fn raw_tcb(vek: &Vek) -> Option<[u8; 8]> {
    let [_, boot_loader, tee, snp, _, _, _, _, microcode, fmc] = vek.spl;
    let (bl, tee, snp, ucode) = (boot_loader?, tee?, snp?, microcode?);
    Some(match fmc {
        None => [bl, tee, 0, 0, 0, 0, snp, ucode],
        Some(fmc) => [fmc, bl, tee, snp, 0, 0, 0, ucode],
    })
}

/// A provider's id as the name of a directory: letters, digits, `.` and `-` stay, anything else becomes `_`.
#[must_use]
pub fn provider_name(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = id
        .strip_prefix("CN=")
        .unwrap_or(id)
        .chars()
        .take(100)
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    match name.as_str() {
        "" | "." | ".." => "_".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all() -> Vec<Item> {
        let vek = |product: Product, chip| Item::Vcek {
            product,
            chip,
            tcb: [4, 0, 0, 0, 0, 0, 24, 219],
        };
        vec![
            Item::Ark(Product::Milan),
            Item::Ask(Product::Genoa),
            Item::Asvk(Product::Turin),
            Item::VcekCrl(Product::Other("Venice".into())),
            Item::VlekCrl(Product::Milan),
            vek(Product::Milan, vec![0xab; 64]),
            vek(Product::Turin, vec![0xab; 8]),
            Item::Vlek {
                product: Product::Genoa,
                provider: provider_name("CN=cc-eu-1.cloud.example"),
                tcb: [1; 8],
            },
            Item::RootCrl,
            Item::PckCrl(PckCa::Platform),
            Item::PckCrl(PckCa::Processor),
            Item::TcbInfo(Bytes([0, 0x80, 0x6f, 5, 0, 0])),
            Item::QeIdentity,
            Item::TpmIntermediate(Bytes([7; 32])),
        ]
    }

    #[test]
    fn every_item_has_one_place() {
        let mut places: Vec<_> = all().iter().map(Item::path).collect();
        for (item, path) in all().iter().zip(&places) {
            assert_eq!(Item::of_path(path).as_ref(), Some(item), "{path:?}");
            assert!(path.as_os_str().len() < 200, "{path:?}");
        }
        places.sort();
        places.dedup();
        assert_eq!(places.len(), all().len());
    }

    #[test]
    fn other_paths_are_no_items() {
        for path in [
            "amd/Milan/ark.pem",
            "amd/milan/other.pem",
            "amd/../milan/ark.pem",
            "intel/tcb-info/00806F050000.json",
            "intel/tcb-info/00.json",
            "amd/milan/vcek/AB/0400000000001800.der",
            "/intel/qe-identity.json",
            "tpm/a.der",
            "",
        ] {
            assert_eq!(Item::of_path(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_provider_cannot_choose_a_directory() {
        assert_eq!(provider_name("../../etc"), ".._.._etc");
        assert_eq!(provider_name("CN=.."), "_");
        assert_eq!(
            provider_name("CN=cc-us-east-2.amazonaws.com"),
            "cc-us-east-2.amazonaws.com"
        );
    }
}
