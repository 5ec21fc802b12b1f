//! Endorsement certificates: which paths are accepted, and by which variant the others are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{collections::BTreeMap, time::Duration};

use dawnkey_attest::{
    claims::TpmClaims,
    evidence::{Evidence, Exchange},
    fake::{LogBuilder, SoftTpm},
    tpm::{
        hash::Hash,
        public::{Key, Public},
    },
    verify::{
        self, Collateral, Roots, RootsError, UnixTime,
        chain::{ChainError, Purpose, validate},
        roots::certificates_from_pem,
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SubjectPublicKeyInfo, date_time_ymd,
};

/// A CA in the making: its parameters may be changed before it is used.
struct Ca {
    params: CertificateParams,
    key: KeyPair,
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    Ca {
        params,
        key: KeyPair::generate().unwrap(),
    }
}

impl Ca {
    fn self_signed(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).unwrap().der().to_vec()
    }

    fn issuer(&self) -> Issuer<'static, &KeyPair> {
        Issuer::new(self.params.clone(), &self.key)
    }

    fn signs(&self, other: &Self) -> Vec<u8> {
        other
            .params
            .signed_by(&other.key, &self.issuer())
            .unwrap()
            .der()
            .to_vec()
    }

    /// A certificate of this CA for an EK, as swtpm and vendors make them: no subject, EK purpose.
    fn endorses(&self, key: &Key, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2034, 1, 1);
        change(&mut params);
        let spki = SubjectPublicKeyInfo::from_der(&key.spki()).unwrap();
        params
            .signed_by(&spki, &self.issuer())
            .unwrap()
            .der()
            .to_vec()
    }
}

fn ek() -> Key {
    Public::parse(&SoftTpm::new().ek_public).unwrap().key
}

fn at(year: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600 + 86_400))
}

fn judge(leaf: &[u8], helpers: &[&[u8]], roots: &[Vec<u8>]) -> Result<Key, ChainError> {
    validate(leaf, helpers, roots, at(2026), Purpose::EndorsementKey).map(|leaf| leaf.key)
}

#[test]
fn accepts_a_path_through_an_intermediate_and_padding_behind_the_leaf() {
    let (root, middle, key) = (ca("root"), ca("middle"), ek());
    let mut leaf = middle.endorses(&key, |_| ());
    let between = root.signs(&middle);
    let roots = [root.self_signed()];
    assert_eq!(judge(&leaf, &[&between], &roots), Ok(key.clone()));
    leaf.extend_from_slice(&[0xff; 100]);
    assert_eq!(judge(&leaf, &[&between], &roots), Ok(key));
    leaf.push(1);
    assert!(matches!(
        judge(&leaf, &[&between], &roots),
        Err(ChainError::Malformed { .. })
    ));
}

#[test]
fn accepts_p384_issuers() {
    let mut root = ca("root");
    root.key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let key = ek();
    assert_eq!(
        judge(&root.endorses(&key, |_| ()), &[], &[root.self_signed()]),
        Ok(key)
    );
}

#[test]
fn refuses_a_certificate_of_another_root() {
    let (root, other) = (ca("root"), ca("other"));
    let leaf = root.endorses(&ek(), |_| ());
    let error = judge(&leaf, &[], &[other.self_signed()]).unwrap_err();
    assert!(matches!(
        error,
        ChainError::NoTrustedPath { nearest: None, .. }
    ));
    // Same name, another key: the signature decides.
    let error = judge(&leaf, &[], &[ca("root").self_signed()]).unwrap_err();
    let ChainError::NoTrustedPath {
        nearest: Some(why), ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(why.contains("signature does not verify"), "{why}");
}

#[test]
fn refuses_certificates_that_are_no_anchors() {
    let (root, middle) = (ca("root"), ca("middle"));
    let leaf = middle.endorses(&ek(), |_| ());
    // The sender's chain may help, but it cannot bring its own root.
    let error = judge(&leaf, &[&root.signs(&middle), &root.self_signed()], &[]).unwrap_err();
    assert!(matches!(error, ChainError::NoTrustedPath { .. }));
}

#[test]
fn refuses_what_is_not_valid_now() {
    let (root, key) = (ca("root"), ek());
    let leaf = root.endorses(&key, |_| ());
    let roots = [root.self_signed()];
    for year in [2023, 2035] {
        let error = validate(&leaf, &[], &roots, at(year), Purpose::EndorsementKey).unwrap_err();
        assert!(matches!(error, ChainError::NotValidNow { .. }), "{error}");
    }
    let mut old = ca("root");
    old.params.not_after = date_time_ymd(2025, 1, 1);
    let error = judge(&old.endorses(&key, |_| ()), &[], &[old.self_signed()]).unwrap_err();
    // The path's signatures hold: it is its issuer's dates that close it.
    assert!(
        matches!(&error, ChainError::NotValidNow { subject, .. } if subject == "CN=root"),
        "{error}"
    );
    assert_eq!(error.crypto().name(), "valid");
}

#[test]
fn refuses_issuers_that_may_not_issue() {
    let (root, key) = (ca("root"), ek());
    let roots = [root.self_signed()];
    let refused = |change: fn(&mut CertificateParams)| {
        let mut middle = ca("middle");
        change(&mut middle.params);
        let (leaf, between) = (middle.endorses(&key, |_| ()), root.signs(&middle));
        let error = judge(&leaf, &[&between], &roots).unwrap_err();
        let ChainError::NoTrustedPath {
            nearest: Some(why), ..
        } = error
        else {
            panic!("{error}")
        };
        why
    };
    assert!(refused(|middle| middle.is_ca = IsCa::ExplicitNoCa).contains("is not a CA"));
    let why = refused(|middle| middle.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert!(why.contains("may not sign certificates"), "{why}");
}

#[test]
fn refuses_a_path_longer_than_a_ca_or_this_verifier_allows() {
    let key = ek();
    let mut root = ca("root");
    root.params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let middle = ca("middle");
    let (leaf, between) = (middle.endorses(&key, |_| ()), root.signs(&middle));
    let error = judge(&leaf, &[&between], &[root.self_signed()]).unwrap_err();
    let ChainError::NoTrustedPath {
        nearest: Some(why), ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(why.contains("allows no path that long"), "{why}");

    let line: Vec<Ca> = (0..6).map(|number| ca(&format!("ca {number}"))).collect();
    let signed: Vec<Vec<u8>> = line
        .windows(2)
        .map(|pair| pair[0].signs(&pair[1]))
        .collect();
    let helpers: Vec<&[u8]> = signed.iter().map(Vec::as_slice).collect();
    let roots = [line[0].self_signed()];
    assert!(judge(&line[3].endorses(&key, |_| ()), &helpers, &roots).is_ok());
    let error = judge(&line[4].endorses(&key, |_| ()), &helpers, &roots).unwrap_err();
    assert!(matches!(error, ChainError::NoTrustedPath { .. }));
}

#[test]
fn refuses_an_unknown_critical_extension() {
    let root = ca("root");
    let leaf = root.endorses(&ek(), |params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    let error = judge(&leaf, &[], &[root.self_signed()]).unwrap_err();
    assert!(matches!(error, ChainError::UnknownCriticalExtension { oid, .. } if oid == "1.2.3.4"));
}

#[test]
fn refuses_a_certificate_for_another_purpose() {
    let root = ca("root");
    let roots = [root.self_signed()];
    let server = root.endorses(&ek(), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(matches!(
        judge(&server, &[], &roots),
        Err(ChainError::Purpose { .. })
    ));
    let authority = root.endorses(&ek(), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
    });
    assert!(matches!(
        judge(&authority, &[], &roots),
        Err(ChainError::Purpose { .. })
    ));
}

#[test]
fn refuses_bytes_that_are_no_certificate() {
    assert_eq!(judge(&[], &[], &[]), Err(ChainError::Missing));
    assert!(matches!(
        judge(&[0xff; 40], &[], &[]),
        Err(ChainError::Malformed { .. })
    ));
    assert!(matches!(
        certificates_from_pem(b"nothing"),
        Err(RootsError::Empty)
    ));
    let wrong = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        certificates_from_pem(wrong),
        Err(RootsError::Certificate { number: 1, .. })
    ));
}

#[test]
fn no_flipped_bit_of_an_endorsement_certificate_changes_what_is_accepted() {
    let (root, key) = (ca("root"), ek());
    let leaf = root.endorses(&key, |_| ());
    let roots = [root.self_signed()];
    let judge = |leaf: &[u8]| validate(leaf, &[], &roots, at(2026), Purpose::EndorsementKey);
    let honest = judge(&leaf).unwrap();
    for bit in 0..leaf.len() * 8 {
        let mut flipped = leaf.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Outside the signed part the encoding itself may bend (the outer tag's bits); what it says may not.
        if let Ok(accepted) = judge(&flipped) {
            assert_eq!(accepted, honest, "bit {bit}");
            assert!(
                bit < 4 * 8 || bit / 8 > leaf.len() - 90,
                "bit {bit} is signed"
            );
        }
    }
}

/// Claims of an honest quote with this EK certificate.
fn claims(tpm: &SoftTpm, certificate: Vec<u8>, roots: Vec<Vec<u8>>) -> TpmClaims {
    let exchange = Exchange([1; 64]);
    let log = LogBuilder::new(&[Hash::Sha256]).build();
    let mut evidence = tpm.evidence(
        &tpm.honest(&exchange, &BTreeMap::new()),
        &BTreeMap::new(),
        log,
    );
    evidence.ek_certificate = certificate;
    let evidence = Evidence::Vtpm(Box::new(evidence));
    let roots = Roots {
        tpm_ek: roots,
        ..Roots::default()
    };
    let verified = verify::verify(
        &evidence,
        &exchange.into(),
        &roots,
        &Collateral::default(),
        at(2026),
    );
    verified.unwrap().claims().tpm.clone().unwrap()
}

#[test]
fn endorses_only_the_key_the_certificate_is_for() {
    let (root, tpm) = (ca("root"), SoftTpm::new());
    let key = Public::parse(&tpm.ek_public).unwrap().key;
    let right = claims(&tpm, root.endorses(&key, |_| ()), vec![root.self_signed()]);
    let endorsement = right.endorsement.unwrap();
    assert_eq!(endorsement.ek_spki_sha256, hex::encode(key.spki_sha256()));
    assert_eq!(endorsement.issuer, "CN=root");
    let stolen = claims(&tpm, root.endorses(&ek(), |_| ()), vec![root.self_signed()]);
    assert_eq!(stolen.endorsement, None);
    assert_eq!(
        stolen.endorsement_problem,
        Some(ChainError::OtherKey.to_string())
    );
    let foreign = claims(
        &tpm,
        root.endorses(&key, |_| ()),
        vec![ca("other").self_signed()],
    );
    assert_eq!(foreign.endorsement, None);
    assert!(
        foreign
            .endorsement_problem
            .unwrap()
            .contains("does not chain to a configured root")
    );
}
