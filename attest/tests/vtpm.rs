//! A real software TPM against the verifier: what must be accepted is, and no change of it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use common::{EXCHANGE, Machine, collect};
use dawnkey_attest::{
    cel::{Place, Record, replay},
    claims::{Binding, Claims, TpmClaims, TrustClass, Verified},
    collect::{
        Attester as _, CollectError, Extended, Register, RegisterLog,
        vtpm::{Vtpm, VtpmConfig},
    },
    enrolment,
    evidence::{Evidence, Exchange},
    fake::EkKind,
    tpm::hash::Hash,
    verify::{credential, credential::CredentialError},
};
use std::{cell::RefCell, rc::Rc};

fn tpm(verified: &Verified<Claims>) -> &TpmClaims {
    verified.claims().tpm.as_ref().unwrap()
}

#[test]
fn accepts_genuine_evidence_and_names_its_trust_class() {
    let machine = Machine::new(EkKind::Rsa);
    let mut vtpm = machine.open();
    let evidence = collect(&mut vtpm);
    let verified = machine.verify(&evidence).unwrap();
    let claims = verified.claims();
    assert_eq!(claims.trust_class, Some(TrustClass::Hypervisor));
    assert_eq!(claims.binding, Binding::Exchange);
    assert_eq!(claims.kind, "vtpm");
    let tpm = claims.tpm.as_ref().unwrap();
    assert_eq!(tpm.endorsement_problem, None);
    assert_eq!(tpm.endorsement.as_ref().unwrap().ek_spki_sha256.len(), 64);
    assert_eq!(claims.pcrs.len(), 24);
    assert_eq!(claims.pcrs[&17], [0xff; 32]);
    let wire = Evidence::Vtpm(Box::new(evidence));
    assert_eq!(Evidence::decode("vtpm", &wire.encode()).unwrap(), wire);
}

#[test]
fn keeps_the_attestation_key_over_reboots() {
    let mut machine = Machine::new(EkKind::Rsa);
    let first = collect(&mut machine.open());
    machine.tpm.reboot();
    let second = collect(&mut machine.open());
    assert_eq!(first.ak_public, second.ak_public);
    assert_eq!(first.ek_public, second.ek_public);
    let claims = machine.verify(&second).unwrap();
    assert!(tpm(&claims).endorsement.is_some());
}

#[test]
fn activates_a_credential_with_an_rsa_endorsement_key() {
    round_trip(EkKind::Rsa);
}

#[test]
fn activates_a_credential_with_an_ecc_endorsement_key() {
    round_trip(EkKind::Ecc);
}

fn round_trip(kind: EkKind) {
    let machine = Machine::new(kind);
    let mut vtpm = machine.open();
    let evidence = collect(&mut vtpm);
    let verified = machine.verify(&evidence).unwrap();
    assert_eq!(tpm(&verified).endorsement_problem, None);
    let name = hex::decode(&tpm(&verified).attestation_key_name).unwrap();
    let secret = [0x5a; 32];
    let made = credential::make(&evidence.ek_public, &name, &secret).unwrap();
    let proof = vtpm
        .activate(&made.id_object, &made.encrypted_secret, &EXCHANGE)
        .unwrap();
    assert_eq!(proof, enrolment::proof(&secret, &EXCHANGE));
    assert_ne!(proof, enrolment::proof(&secret, &Exchange([8; 64])));
}

#[test]
fn does_not_activate_a_credential_for_another_key_name() {
    let machine = Machine::new(EkKind::Rsa);
    let mut vtpm = machine.open();
    let evidence = collect(&mut vtpm);
    let mut other = vec![0x00, 0x0b];
    other.extend_from_slice(&[9; 32]);
    let made = credential::make(&evidence.ek_public, &other, &[1; 32]).unwrap();
    let error = vtpm.activate(&made.id_object, &made.encrypted_secret, &EXCHANGE);
    assert!(matches!(
        error,
        Err(CollectError::Tpm {
            doing: "activate the credential",
            ..
        })
    ));
}

#[test]
fn does_not_activate_a_credential_for_another_tpm() {
    let machine = Machine::new(EkKind::Rsa);
    let other = Machine::new(EkKind::Rsa);
    let mut vtpm = machine.open();
    let verified = machine.verify(&collect(&mut vtpm)).unwrap();
    let name = hex::decode(&tpm(&verified).attestation_key_name).unwrap();
    let foreign = collect(&mut other.open());
    let made = credential::make(&foreign.ek_public, &name, &[1; 32]).unwrap();
    let error = vtpm.activate(&made.id_object, &made.encrypted_secret, &EXCHANGE);
    assert!(matches!(error, Err(CollectError::Tpm { .. })));
}

#[test]
fn refuses_a_challenge_of_absurd_size() {
    let machine = Machine::new(EkKind::Rsa);
    let error = machine.open().activate(&[0; 4096], &[0; 256], &EXCHANGE);
    assert!(matches!(
        error,
        Err(CollectError::Challenge {
            what: "id object",
            found: 4096
        })
    ));
}

#[test]
fn makes_no_credential_for_a_key_that_signs() {
    let machine = Machine::new(EkKind::Rsa);
    let evidence = collect(&mut machine.open());
    let error = credential::make(&evidence.ak_public, &[0; 34], &[1; 32]);
    assert!(matches!(error, Err(CredentialError::Attributes { .. })));
    let error = credential::make(&evidence.ek_public, &[0; 34], &[1; 33]);
    assert!(matches!(
        error,
        Err(CredentialError::Secret {
            found: 33,
            most: 32
        })
    ));
    let error = credential::make(&evidence.ek_public[..20], &[0; 34], &[1; 32]);
    assert!(matches!(error, Err(CredentialError::Malformed(_))));
}

#[test]
fn closes_the_boot_once_and_evidence_shows_it() {
    let mut machine = Machine::new(EkKind::Rsa);
    let mut vtpm = machine.open();
    assert_eq!(collect(&mut vtpm).pcrs[0].values[15].digest, [0; 32]);
    vtpm.close_boot(&[b"service, volume, generation".to_vec()])
        .unwrap();
    let closed = collect(&mut vtpm);
    assert_ne!(closed.pcrs[0].values[15].digest, [0; 32]);
    let verified = machine.verify(&closed).unwrap();
    assert_ne!(verified.claims().pcrs[&15], [0; 32]);
    let error = vtpm.close_boot(&[b"again".to_vec()]);
    assert!(matches!(
        error,
        Err(CollectError::BootAlreadyClosed {
            register: Register::Pcr15,
            ..
        })
    ));
    drop(vtpm);
    machine.tpm.reboot();
    machine.open().close_boot(&[b"next boot".to_vec()]).unwrap();
}

/// Keeps the records of what it hears.
struct Log(Rc<RefCell<Vec<Record>>>);

impl RegisterLog for Log {
    fn begin(&mut self, _: Register) {}

    fn extended(&mut self, what: &Extended<'_>) {
        let place = Place::Pcr(15);
        let record = Record::own(place, &what.digests, what.event, ("", ""), ("", 0));
        self.0.borrow_mut().push(record);
    }
}

#[test]
fn every_bank_shows_the_closed_boot_and_the_log_replays_to_it() {
    let machine = Machine::new(EkKind::Rsa);
    let records = Rc::new(RefCell::default());
    let mut vtpm = machine.open();
    vtpm.log_to(Box::new(Log(Rc::clone(&records))));
    vtpm.close_boot(&[b"one".to_vec(), b"two".to_vec()])
        .unwrap();
    drop(vtpm);
    assert_eq!(records.borrow().len(), 3);
    for bank in [Hash::Sha256, Hash::Sha384] {
        let config = VtpmConfig {
            bank,
            ..machine.config()
        };
        let quoted = collect(&mut Vtpm::open(config).unwrap());
        let pcr_15 = &quoted.pcrs[0].values[15].digest;
        assert!(pcr_15.iter().any(|byte| *byte != 0));
        let replayed = replay(&records.borrow(), Place::Pcr(15), bank).unwrap();
        assert_eq!(replayed, *pcr_15, "{}", bank.name());
    }
}

#[test]
fn names_a_tpm_that_cannot_be_reached() {
    let mut machine = Machine::new(EkKind::Rsa);
    let config = machine.config();
    machine.tpm.stop();
    let error = Vtpm::open(config.clone()).unwrap_err();
    assert!(matches!(error, CollectError::Connect { .. }), "{error}");
    let mut nonsense = config;
    nonsense.tcti = "carrier-pigeon".to_owned();
    let error = Vtpm::open(nonsense).unwrap_err();
    assert!(matches!(error, CollectError::Tcti { .. }), "{error}");
}

#[test]
fn names_a_missing_or_oversized_event_log() {
    let machine = Machine::new(EkKind::Rsa);
    let mut config = machine.config();
    config.event_log = "/nonexistent/log".into();
    let error = Vtpm::open(config).unwrap().collect(&EXCHANGE).unwrap_err();
    assert!(matches!(error, CollectError::EventLog { .. }));
    machine.write_log(&vec![0; (2 << 20) + 1]);
    let error = machine.open().collect(&EXCHANGE).unwrap_err();
    assert!(matches!(error, CollectError::EventLogTooLarge { .. }));
}

#[test]
fn refuses_a_foreign_key_at_the_persistent_handle() {
    let machine = Machine::new(EkKind::Rsa);
    occupy(&machine.tpm.tcti());
    let error = Vtpm::open(machine.config()).unwrap_err();
    assert!(
        matches!(
            error,
            CollectError::HandleOccupied {
                handle: 0x8101_da01,
                ..
            }
        ),
        "{error}"
    );
}

/// Puts a plain storage key where the attestation key belongs.
fn occupy(tcti: &str) {
    use tss_esapi::{
        Context, TctiNameConf,
        abstraction::{AsymmetricAlgorithmSelection, ek},
        handles::PersistentTpmHandle,
        interface_types::{
            dynamic_handles::Persistent,
            key_bits::RsaKeyBits,
            resource_handles::{Hierarchy, Provision},
        },
    };
    let mut context = Context::new(tcti.parse::<TctiNameConf>().unwrap()).unwrap();
    let kind = AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048);
    let template = ek::create_ek_public_from_default_template_2(kind, None).unwrap();
    let place = Persistent::Persistent(PersistentTpmHandle::new(0x8101_da01).unwrap());
    context
        .execute_with_nullauth_session(|context| {
            let made =
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)?;
            context.evict_control(Provision::Owner, made.key_handle.into(), place)
        })
        .unwrap();
}
