//! Bytes of a mock quote.

use sha2::{Digest as _, Sha256};

use super::{Spec, pki::Signer};

/// Signer of the mock QE, as the mock QE identity has it.
pub const QE_SIGNER: [u8; 32] = [0xdc; 32];

/// A quote whose QE report the PCK signs and whose body the attestation key signs.
pub fn make(spec: &Spec, chain: &[u8], pck: &Signer, attestation: &Signer) -> Vec<u8> {
    let mut quote = header(spec);
    if let Some(kind) = spec.body_type {
        let size: u32 = match kind {
            2 => 584,
            3 => 648,
            _ => 885,
        };
        quote.extend(kind.to_le_bytes());
        quote.extend(size.to_le_bytes());
    }
    quote.extend(body(spec));
    let signature = attestation.sign(&quote);

    let auth = [0x33; 32];
    let report = qe_report(spec, attestation.public(), &auth);
    let mut inner = report.clone();
    inner.extend(pck.sign(&report));
    inner.extend(length16(&auth));
    inner.extend(5u16.to_le_bytes());
    inner.extend(length32(chain));
    let mut data = signature;
    data.extend(attestation.public());
    data.extend(6u16.to_le_bytes());
    data.extend(length32(&inner));
    quote.extend(length32(&data));
    quote
}

fn length16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short field");
    [&length.to_le_bytes(), bytes].concat()
}

fn length32(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short field");
    [&length.to_le_bytes(), bytes].concat()
}

fn header(spec: &Spec) -> Vec<u8> {
    let version: u16 = if spec.body_type.is_some() { 5 } else { 4 };
    let mut header = version.to_le_bytes().to_vec();
    header.extend(2u16.to_le_bytes());
    header.extend(0x81u32.to_le_bytes());
    header.extend([0; 4]);
    header.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").expect("hex"));
    header.extend([0; 20]);
    header
}

fn svn(svn: [u8; 3]) -> [u8; 16] {
    let mut out = [0; 16];
    out[..3].copy_from_slice(&svn);
    out
}

fn body(spec: &Spec) -> Vec<u8> {
    let mut body = svn(spec.tee_tcb_svn).to_vec();
    body.extend([0x5e; 48]); // mr_seam
    body.extend(spec.mr_signer_seam);
    body.extend([0; 8]); // seam_attributes
    body.extend(spec.td_attributes.to_le_bytes());
    body.extend(0x0006_02e7u64.to_le_bytes()); // xfam
    body.extend(spec.mr_td);
    body.extend([0; 3 * 48]); // mr_config_id, mr_owner, mr_owner_config
    body.extend(spec.rtmr.concat());
    body.extend(spec.report_data);
    if matches!(spec.body_type, Some(3 | 4)) {
        body.extend(svn(spec.tee_tcb_svn2));
        body.extend(spec.mr_service_td);
    }
    if spec.body_type == Some(4) {
        body.extend([0; 885 - 648]);
    }
    body
}

fn qe_report(spec: &Spec, key: &[u8], auth: &[u8]) -> Vec<u8> {
    let mut report = vec![0; 384];
    report[48] = 0x11; // ATTRIBUTES: INIT, PROVISION_KEY
    report[64..96].fill(0xe1); // MRENCLAVE
    report[128..160].copy_from_slice(&QE_SIGNER);
    report[256..258].copy_from_slice(&spec.qe_prod_id.to_le_bytes());
    report[258..260].copy_from_slice(&spec.qe_isv_svn.to_le_bytes());
    let bound = Sha256::new()
        .chain_update(key)
        .chain_update(auth)
        .finalize();
    report[320..352].copy_from_slice(&bound);
    report
}
