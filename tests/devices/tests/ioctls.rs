//! The devices answer as the kernel's drivers do, and the production verifier takes what they sign once it is told
//! to trust the mock manufacturers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod common;

use common::{Caller, dir, signer};
use dawnkey_test_devices::cuse::Device as _;
use dawnkey_test_devices::pki::{Given, Platform, verify};
use dawnkey_test_devices::sev_guest::{GET_DERIVED_KEY, GET_EXT_REPORT, GET_REPORT, SevGuest};
use dawnkey_test_devices::tdx_guest::{GET_REPORT0, TdxGuest};

/// Where the caller keeps its structures.
const ENVELOPE: usize = 0x100;
const REQUEST: usize = 0x200;
const RESPONSE: usize = 0x1000;
const CERTIFICATES: usize = 0x4000;
const DATA: [u8; 64] = [0x5a; 64];
const EIO: i32 = -5;
const EINVAL: i32 = -22;
const ENOTTY: i32 = -25;

/// A caller with a filled request of version 1 for VMPL 0.
fn caller() -> Caller {
    let mut caller = Caller::new();
    caller.put(ENVELOPE, &[1]);
    caller.put(ENVELOPE + 8, &(REQUEST as u64).to_le_bytes());
    caller.put(ENVELOPE + 16, &(RESPONSE as u64).to_le_bytes());
    caller.put(REQUEST, &DATA);
    caller
}

fn room_for_certificates(caller: &mut Caller, length: u32) {
    let address = if length == 0 { 0 } else { CERTIFICATES as u64 };
    caller.put(REQUEST + 96, &address.to_le_bytes());
    caller.put(REQUEST + 104, &length.to_le_bytes());
}

fn number(caller: &Caller, at: usize) -> u64 {
    u64::from_le_bytes(caller.get(at, 8).try_into().unwrap())
}

fn report(caller: &Caller) -> Vec<u8> {
    assert_eq!(
        number(caller, RESPONSE),
        1184 << 32,
        "status 0, then the size"
    );
    caller.get(RESPONSE + 32, 1184).to_vec()
}

#[test]
fn command_numbers_are_those_of_the_kernel_headers() {
    // _IOWR(type, number, size)
    let iowr =
        |kind: u8, number: u32, size: u32| 3 << 30 | size << 16 | u32::from(kind) << 8 | number;
    assert_eq!(GET_REPORT, iowr(b'S', 0, 32));
    assert_eq!(GET_DERIVED_KEY, iowr(b'S', 1, 32));
    assert_eq!(GET_EXT_REPORT, iowr(b'S', 2, 32));
    assert_eq!(GET_REPORT0, iowr(b'T', 1, 64 + 1024));
}

#[test]
fn report_without_certificates_is_signed_over_the_callers_data() {
    let mut device = SevGuest::new(signer(Platform::Snp));
    let mut caller = caller();
    assert_eq!(caller.ioctl(&mut device, GET_REPORT, ENVELOPE), 0);
    assert_eq!(number(&caller, ENVELOPE + 24), 0);
    assert_eq!(&report(&caller)[0x50..0x90], &DATA);
}

#[test]
fn certificates_are_negotiated_in_two_steps_and_the_whole_verifies() {
    let mut device = SevGuest::new(signer(Platform::Snp));
    let mut caller = caller();
    room_for_certificates(&mut caller, 0);
    assert_eq!(caller.ioctl(&mut device, GET_EXT_REPORT, ENVELOPE), EIO);
    assert_eq!(number(&caller, ENVELOPE + 24), 1 << 32, "invalid length");
    let needed = u32::from_le_bytes(caller.get(REQUEST + 104, 4).try_into().unwrap());
    assert!(needed > 0 && needed.is_multiple_of(4096), "{needed}");
    room_for_certificates(&mut caller, needed);
    assert_eq!(caller.ioctl(&mut device, GET_EXT_REPORT, ENVELOPE), 0);
    assert_eq!(number(&caller, ENVELOPE + 24), 0);
    let table = caller.get(CERTIFICATES, needed as usize).to_vec();
    let claims = verify(&dir(), Given::Snp(report(&caller), table), &DATA).unwrap();
    assert_eq!(claims.kind, "snp");
}

#[test]
fn too_little_room_for_certificates_gives_no_report() {
    let mut device = SevGuest::new(signer(Platform::Snp));
    let mut caller = caller();
    room_for_certificates(&mut caller, 0);
    caller.ioctl(&mut device, GET_EXT_REPORT, ENVELOPE);
    assert_eq!(caller.get(RESPONSE, 4000), [0; 4000]);
}

#[test]
fn odd_and_oversized_room_is_refused_as_by_the_driver() {
    let mut device = SevGuest::new(signer(Platform::Snp));
    for length in [1, 4095, 20 << 10] {
        let mut caller = caller();
        room_for_certificates(&mut caller, length);
        assert_eq!(caller.ioctl(&mut device, GET_EXT_REPORT, ENVELOPE), EINVAL);
    }
}

#[test]
fn malformed_requests_are_refused() {
    let mut device = SevGuest::new(signer(Platform::Snp));
    let mut unversioned = caller();
    unversioned.put(ENVELOPE, &[0]);
    assert_eq!(unversioned.ioctl(&mut device, GET_REPORT, ENVELOPE), EINVAL);
    let mut level = caller();
    level.put(REQUEST + 64, &[4]);
    assert_eq!(level.ioctl(&mut device, GET_REPORT, ENVELOPE), EIO);
    assert_eq!(number(&level, ENVELOPE + 24), 0x16);
    let mut reserved = caller();
    reserved.put(REQUEST + 95, &[1]);
    assert_eq!(reserved.ioctl(&mut device, GET_REPORT, ENVELOPE), EIO);
    assert_eq!(
        caller().ioctl(&mut device, GET_DERIVED_KEY, ENVELOPE),
        EINVAL
    );
    assert_eq!(caller().ioctl(&mut device, GET_REPORT0, ENVELOPE), ENOTTY);
}

#[test]
fn td_report_repeats_data_and_measurements_of_the_quote() {
    let mut device = TdxGuest::new(signer(Platform::Tdx));
    let mut caller = Caller::new();
    caller.put(REQUEST, &DATA);
    assert_eq!(caller.ioctl(&mut device, GET_REPORT0, REQUEST), 0);
    let report = caller.get(REQUEST + 64, 1024).to_vec();
    assert_eq!(&report[..4], &[0x81, 0, 1, 0]);
    assert_eq!(&report[128..192], &DATA);
    let quote = signer(Platform::Tdx).report(&DATA, 0).unwrap().report;
    // Attributes to RTMR 3: at 120 of the quote's body, at the start of TDINFO.
    assert_eq!(report[512..912], quote[48 + 120..48 + 520]);
    verify(&dir(), Given::Tdx(quote), &DATA).unwrap();
}

#[test]
fn devices_refuse_material_of_the_other_platform() {
    let mut snp = SevGuest::new(signer(Platform::Tdx));
    assert_eq!(caller().ioctl(&mut snp, GET_REPORT, ENVELOPE), EIO);
    let mut tdx = TdxGuest::new(signer(Platform::Snp));
    assert_eq!(caller().ioctl(&mut tdx, GET_REPORT0, REQUEST), EIO);
    assert_eq!((SevGuest::NAME, TdxGuest::NAME), ("sev-guest", "tdx_guest"));
}

#[test]
fn revoked_endorsement_key_is_refused_by_the_verifier() {
    let report = signer(Platform::SnpRevoked).snp_report(&DATA, 0).unwrap();
    let given = Given::Snp(report.report, report.certificates);
    let error = verify(&dir(), given, &DATA).unwrap_err().to_string();
    assert!(error.contains("revoked"), "{error}");
}

#[test]
fn report_data_of_another_exchange_is_refused_by_the_verifier() {
    let report = signer(Platform::Snp).snp_report(&DATA, 0).unwrap();
    let given = Given::Snp(report.report, report.certificates);
    assert!(verify(&dir(), given, &[0x5b; 64]).is_err());
}
