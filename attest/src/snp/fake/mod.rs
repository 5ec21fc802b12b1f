//! A stand-in for AMD: its own ARK, ASK and ASVK for any product line, VCEKs, VLEKs, revocation lists and signed
//! reports, all in the form the production verifier reads.
//!
//! No release build contains this module, and nothing made here is trusted unless a test passes the mock's root
//! as an argument. Everything panics on failure: a test cannot go on without its fixture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod report;
mod writer;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaKeyPair,
};

pub use report::ReportSpec;

use super::product::Product;
use super::pss;
use super::tcb::TcbLayout;
use super::vek::VekKind;
use writer::{bits, explicit, generalized_or_utc, integer, name, octets, oid, sequence, tlv};

/// First second of validity of mock certificates: 2024-01-01.
pub const NOT_BEFORE: u64 = 1_704_067_200;
/// Last second of validity of mock certificates: 2044-01-01.
pub const NOT_AFTER: u64 = 2_335_219_200;

/// Which of the mock's certificates signs or is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Root.
    Ark,
    /// Signs VCEKs.
    Ask,
    /// Signs VLEKs.
    Asvk,
}

/// A mock of AMD's hierarchy for one product line.
pub struct MockAmd {
    product: Product,
    authorities: [(RsaKeyPair, Vec<u8>); 3],
}

impl MockAmd {
    /// Makes keys (RSA-2048, to be quick) and certificates, valid from [`NOT_BEFORE`] to [`NOT_AFTER`].
    #[must_use]
    pub fn new(product: Product) -> Self {
        Self::with_dates(product, [(NOT_BEFORE, NOT_AFTER); 3])
    }

    /// As [`Self::new`], with RSA-4096 as AMD has; takes seconds.
    #[must_use]
    pub fn full_size(product: Product) -> Self {
        Self::build(product, KeySize::Rsa4096, [(NOT_BEFORE, NOT_AFTER); 3])
    }

    /// As [`Self::new`], with the validity of ARK, ASK and ASVK.
    #[must_use]
    pub fn with_dates(product: Product, dates: [(u64, u64); 3]) -> Self {
        Self::build(product, KeySize::Rsa2048, dates)
    }

    fn build(product: Product, size: KeySize, dates: [(u64, u64); 3]) -> Self {
        let keys = [(); 3].map(|()| RsaKeyPair::generate(size).unwrap());
        let names = ["ARK-", "SEV-", "SEV-VLEK-"].map(|prefix| format!("{prefix}{product}"));
        let ders: Vec<Vec<u8>> = (0..3)
            .map(|at| {
                let spki = sequence(&[
                    sequence(&[
                        oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]),
                        tlv(0x05, &[]),
                    ]),
                    bits(keys[at].public_key().as_ref()),
                ]);
                let fields = Fields {
                    serial: &[1, 0, at as u8],
                    issuer: &names[0],
                    subject: &names[at],
                    dates: dates[at],
                    spki,
                    extensions: authority_extensions(),
                };
                certificate(&fields, &keys[0])
            })
            .collect();
        let [a, b, c] = keys;
        let authorities = [
            (a, ders[0].clone()),
            (b, ders[1].clone()),
            (c, ders[2].clone()),
        ];
        Self {
            product,
            authorities,
        }
    }

    /// The product line.
    #[must_use]
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// A certificate, DER.
    #[must_use]
    pub fn der(&self, which: Authority) -> &[u8] {
        &self.authorities[which as usize].1
    }

    /// Issues an endorsement key.
    #[must_use]
    pub fn issue(&self, spec: &VekSpec) -> MockVek {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let authority = match spec.kind {
            VekKind::Vcek => Authority::Ask,
            VekKind::Vlek => Authority::Asvk,
        };
        let prefix = if spec.kind == VekKind::Vcek {
            "SEV-"
        } else {
            "SEV-VLEK-"
        };
        let spki = sequence(&[
            sequence(&[
                oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
                oid(&[0x2b, 0x81, 0x04, 0x00, 0x22]),
            ]),
            bits(pair.public_key().as_ref()),
        ]);
        let fields = Fields {
            serial: &spec.serial,
            issuer: &format!("{prefix}{}", self.product),
            subject: &format!("SEV-{}", spec.kind.name()),
            dates: spec.dates,
            spki,
            extensions: spec.extensions(),
        };
        let der = certificate(&fields, &self.authorities[authority as usize].0);
        MockVek {
            der,
            pkcs8: pkcs8.as_ref().to_vec(),
        }
    }

    /// A revocation list with serial numbers, made at `dates.0`, to be replaced at `dates.1`.
    #[must_use]
    pub fn crl(&self, by: Authority, revoked: &[&[u8]], dates: (u64, u64)) -> Vec<u8> {
        let issuer = match by {
            Authority::Ark => format!("ARK-{}", self.product),
            Authority::Ask => format!("SEV-{}", self.product),
            Authority::Asvk => format!("SEV-VLEK-{}", self.product),
        };
        let mut tbs = vec![
            integer(&[1]),
            pss::ALGORITHM.to_vec(),
            name(&issuer),
            generalized_or_utc(dates.0),
            generalized_or_utc(dates.1),
        ];
        if !revoked.is_empty() {
            let entries: Vec<_> = revoked
                .iter()
                .map(|serial| sequence(&[integer(serial), generalized_or_utc(dates.0)]))
                .collect();
            tbs.push(sequence(&entries));
        }
        sign(sequence(&tbs), &self.authorities[by as usize].0)
    }

    /// Private key of an authority, PKCS#8, for signers in other processes.
    #[must_use]
    pub fn pkcs8(&self, which: Authority) -> Vec<u8> {
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
            self.authorities[which as usize].0.as_der().unwrap();
        der.as_ref().to_vec()
    }
}

/// An issued endorsement key.
pub struct MockVek {
    /// Certificate, DER.
    pub der: Vec<u8>,
    /// Private key, PKCS#8.
    pub pkcs8: Vec<u8>,
}

impl MockVek {
    /// Signs the first 672 bytes of a report in place.
    pub fn sign(&self, report: &mut [u8]) {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.pkcs8).unwrap();
        let signature = pair.sign(&SystemRandom::new(), &report[..0x2a0]).unwrap();
        let (r, s) = signature.as_ref().split_at(48);
        report[0x2a0..].fill(0);
        for (at, scalar) in [(0x2a0, r), (0x2e8, s)] {
            for (slot, byte) in report[at..].iter_mut().zip(scalar.iter().rev()) {
                *slot = *byte;
            }
        }
    }
}

/// What a mock endorsement certificate says.
#[derive(Clone, Debug)]
pub struct VekSpec {
    /// VCEK or VLEK.
    pub kind: VekKind,
    /// Product name as written.
    pub product_name: String,
    /// TCB it is issued for, raw bytes of the report.
    pub tcb: [u8; 8],
    /// Layout of `tcb`.
    pub layout: TcbLayout,
    /// Chip id, VCEK only.
    pub hwid: Vec<u8>,
    /// Provider, VLEK only.
    pub csp_id: String,
    /// First and last second of validity.
    pub dates: (u64, u64),
    /// Serial number; AMD's are all 0.
    pub serial: Vec<u8>,
}

impl VekSpec {
    /// A certificate that fits [`ReportSpec::new`] of the same product and kind.
    #[must_use]
    pub fn new(kind: VekKind, product: &Product) -> Self {
        let report = ReportSpec::new(product, kind);
        let chip = if TcbLayout::of(product) == TcbLayout::Fmc {
            8
        } else {
            64
        };
        Self {
            kind,
            product_name: product.name().to_owned(),
            tcb: report.reported_tcb,
            layout: TcbLayout::of(product),
            hwid: report::CHIP[..chip].to_vec(),
            csp_id: "CN=mock.cloud.example".to_owned(),
            dates: (NOT_BEFORE, NOT_AFTER),
            serial: vec![0],
        }
    }

    fn extensions(&self) -> Vec<u8> {
        let [b0, b1, b2, b3, _, _, b6, b7] = self.tcb;
        let spl: Vec<(u8, u8)> = match self.layout {
            TcbLayout::Legacy => vec![
                (1, b0),
                (2, b1),
                (4, 0),
                (5, 0),
                (6, 0),
                (7, 0),
                (3, b6),
                (8, b7),
            ],
            TcbLayout::Fmc => vec![
                (9, b0),
                (1, b1),
                (2, b2),
                (3, b3),
                (5, 0),
                (6, 0),
                (7, 0),
                (8, b7),
            ],
        };
        let mut list = vec![
            amd(&[1], &integer(&[u8::from(self.layout == TcbLayout::Fmc)])),
            amd(&[2], &tlv(0x16, self.product_name.as_bytes())),
        ];
        list.extend(
            spl.into_iter()
                .map(|(arc, value)| amd(&[3, arc], &integer(&[value]))),
        );
        list.push(match self.kind {
            VekKind::Vcek => amd(&[4], &self.hwid),
            VekKind::Vlek => amd(&[5], &tlv(0x16, self.csp_id.as_bytes())),
        });
        sequence(&list)
    }
}

fn amd(suffix: &[u8], value: &[u8]) -> Vec<u8> {
    let arc = [&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01], suffix].concat();
    sequence(&[oid(&arc), octets(value)])
}

fn authority_extensions() -> Vec<u8> {
    let critical = || tlv(0x01, &[0xff]);
    sequence(&[
        sequence(&[
            oid(&[0x55, 0x1d, 0x13]),
            critical(),
            octets(&sequence(&[tlv(0x01, &[0xff])])),
        ]),
        // keyCertSign and cRLSign.
        sequence(&[
            oid(&[0x55, 0x1d, 0x0f]),
            critical(),
            octets(&tlv(0x03, &[0x01, 0x06])),
        ]),
    ])
}

struct Fields<'a> {
    serial: &'a [u8],
    issuer: &'a str,
    subject: &'a str,
    dates: (u64, u64),
    spki: Vec<u8>,
    extensions: Vec<u8>,
}

fn certificate(fields: &Fields<'_>, key: &RsaKeyPair) -> Vec<u8> {
    let tbs = sequence(&[
        explicit(0, &integer(&[2])),
        integer(fields.serial),
        pss::ALGORITHM.to_vec(),
        name(fields.issuer),
        sequence(&[
            generalized_or_utc(fields.dates.0),
            generalized_or_utc(fields.dates.1),
        ]),
        name(fields.subject),
        fields.spki.clone(),
        explicit(3, &fields.extensions),
    ]);
    sign(tbs, key)
}

fn sign(tbs: Vec<u8>, key: &RsaKeyPair) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &tbs, &mut signature)
        .unwrap();
    sequence(&[tbs, pss::ALGORITHM.to_vec(), bits(&signature)])
}
