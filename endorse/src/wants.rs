//! What evidence needs from outside of itself, read from it before it is verified.

use dawnkey_attest::azure::HclReport;
use dawnkey_attest::azure::hcl::HardwareKind;
use dawnkey_attest::evidence::{Evidence, TdxCollateral};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::report::{Report, SigningKey};
use dawnkey_attest::snp::tcb::TcbLayout;
use dawnkey_attest::tdx::{Bytes, PckCa, PlatformClaims, Quote};

use crate::item::Item;

/// What evidence needs.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub snp: Option<SnpWants>,
    pub tdx: Option<TdxWants>,
    /// CAs between TPM certificates and their roots.
    pub tpm: bool,
}

/// What an SNP report needs.
#[derive(Debug)]
pub(crate) struct SnpWants {
    /// Product lines the report may be of: one, or for the oldest reports those that have such chip ids.
    pub products: Vec<Product>,
    pub tcb: [u8; 8],
    pub key: KeyName,
    /// What the host sent along.
    pub table: CertificateTable,
}

/// How the certificate of a report is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyName {
    /// By its chip.
    Chip([u8; 64]),
    /// By provider, which the report does not name.
    Provider,
    /// The host hides the chip, or nobody signed.
    Hidden,
}

/// What a TD quote needs.
#[derive(Debug)]
pub(crate) struct TdxWants {
    pub quote: Vec<u8>,
    pub fmspc: Bytes<6>,
    pub ca: Option<PckCa>,
    /// What the node sent along.
    pub brought: Option<TdxCollateral>,
}

impl Wants {
    /// Reads evidence; what cannot be read wants nothing, and verification will say why.
    pub fn of(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::Vtpm(_) => Self {
                tpm: true,
                ..Self::default()
            },
            Evidence::Snp(snp) => Self {
                snp: SnpWants::of(&snp.report, &snp.certificates),
                ..Self::default()
            },
            Evidence::Tdx(tdx) => Self {
                tdx: TdxWants::of(&tdx.quote, tdx.collateral.as_ref()),
                ..Self::default()
            },
            Evidence::Azure(azure) => {
                let kind = HclReport::parse(&azure.hcl_report);
                let snp = |hardware| SnpWants::of(hardware, &azure.certificates);
                Self {
                    snp: kind
                        .ok()
                        .filter(|report| report.kind == HardwareKind::Snp)
                        .and_then(|report| snp(report.hardware)),
                    tdx: TdxWants::of(&azure.td_quote, azure.td_collateral.as_ref()),
                    tpm: true,
                }
            }
            // A piece that is judged alone is never a node's evidence.
            Evidence::Part(_) => Self::default(),
        }
    }
}

impl SnpWants {
    fn of(report: &[u8], table: &[u8]) -> Option<Self> {
        let report = Report::parse(report).ok()?;
        let table = CertificateTable::parse(table).unwrap_or_default();
        let products = match report.cpuid_product() {
            Some(product) => vec![product],
            // Version 2 does not say; it is older than Turin.
            None => vec![Product::Milan, Product::Genoa],
        };
        let key = match report.signing_key() {
            SigningKey::Vcek if !report.mask_chip_key() && !report.chip_id_is_zero() => {
                KeyName::Chip(report.chip_id)
            }
            SigningKey::Vlek => KeyName::Provider,
            _ => KeyName::Hidden,
        };
        Some(Self {
            tcb: report.tcbs(TcbLayout::Legacy).reported.raw.0,
            products,
            key,
            table,
        })
    }

    /// The certificate, should the chip be of this line.
    pub fn vcek(&self, product: &Product) -> Option<Item> {
        let KeyName::Chip(chip) = &self.key else {
            return None;
        };
        let length = match TcbLayout::of(product) {
            TcbLayout::Legacy => chip.len(),
            TcbLayout::Fmc => 8,
        };
        Some(Item::Vcek {
            product: product.clone(),
            chip: chip.get(..length)?.to_vec(),
            tcb: self.tcb,
        })
    }

    /// The revocation list that is published beside the report's kind of key.
    pub fn crl(&self, product: &Product) -> Item {
        match self.key {
            KeyName::Provider => Item::VlekCrl(product.clone()),
            _ => Item::VcekCrl(product.clone()),
        }
    }
}

impl TdxWants {
    fn of(quote: &[u8], brought: Option<&TdxCollateral>) -> Option<Self> {
        let platform = PlatformClaims::read(&Quote::parse(quote).ok()?).ok()?;
        Some(Self {
            quote: quote.to_vec(),
            fmspc: platform.fmspc,
            ca: PckCa::of_common_name(&platform.pck_issuer),
            brought: brought.cloned(),
        })
    }

    /// The items of a whole collateral.
    pub fn items(&self) -> Vec<Item> {
        let mut items = vec![Item::TcbInfo(self.fmspc), Item::QeIdentity, Item::RootCrl];
        items.extend(self.ca.map(Item::PckCrl));
        items
    }
}
