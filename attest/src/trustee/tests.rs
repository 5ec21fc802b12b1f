#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::evidence::PcrValue;
use crate::snp::report::REPORT_LEN;

/// A report whose bytes tell where they are from; reserved ones are zero. Version 5 is of Turin, version 3 of Milan.
fn report(version: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..REPORT_LEN).map(|at| (at % 251) as u8).collect();
    bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
    let cpuid_end = if version >= 3 { 0x18b } else { 0x188 };
    let end = if version >= 5 { 0x208 } else { 0x1f8 };
    let mut zero = vec![
        0x4c..0x50,
        cpuid_end..0x1a0,
        0x1eb..0x1ec,
        0x1ef..0x1f0,
        end..0x2a0,
        0x330..REPORT_LEN,
    ];
    for tcb in [0x38, 0x180, 0x1e0, 0x1f0] {
        zero.push(match version {
            5 => tcb + 4..tcb + 7,
            _ => tcb + 2..tcb + 6,
        });
    }
    for range in zero {
        bytes[range].fill(0);
    }
    match version {
        5 => bytes[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 0x01]),
        3 => bytes[0x188..0x18b].copy_from_slice(&[0x19, 0x01, 0x01]),
        _ => {}
    }
    bytes
}

fn bank() -> PcrBank {
    let value = |index: u32| PcrValue {
        index,
        digest: vec![index as u8; 32],
    };
    PcrBank {
        alg: Hash::Sha256.id().into(),
        values: (0..24).rev().map(value).collect(),
    }
}

fn rsassa() -> Vec<u8> {
    [&[0x00, 0x14, 0x00, 0x0b, 0x00, 0x03], &b"sig"[..]].concat()
}

#[test]
fn an_snp_report_is_these_bytes() {
    for version in [2, 3, 5] {
        let evidence = Evidence::Snp(Box::new(SnpEvidence {
            report: report(version),
            certificates: Vec::new(),
        }));
        let value = primary_evidence(&evidence).unwrap();
        assert_eq!(value["cert_chain"], Value::Null);
        let text = value["attestation_report"].to_string();
        let file = format!(
            "{}/tests/trustee/snp-{version}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        assert_eq!(text, std::fs::read_to_string(file).unwrap().trim_end());
    }
}

#[test]
fn certificates_of_the_host_stand_beside_the_report() {
    let table = CertificateTable {
        vcek: Some(vec![1, 2]),
        ark: Some(vec![3]),
        ..CertificateTable::default()
    };
    let chain = snp::certificates(&table.encode()).unwrap();
    let expected = r#"[{"cert_type":"VCEK","data":[1,2]},{"cert_type":"ARK","data":[3]}]"#;
    assert_eq!(chain.to_string(), expected);
}

#[test]
fn a_td_quote_is_these_bytes() {
    let mut evidence = TdxEvidence {
        quote: vec![0xff, 0xfe],
        ..TdxEvidence::default()
    };
    let text = of_tdx(&evidence).to_string();
    assert_eq!(text, r#"{"quote":"//4=","cc_eventlog":null}"#);
    evidence.event_log = vec![0];
    let text = of_tdx(&evidence).to_string();
    assert_eq!(text, r#"{"quote":"//4=","cc_eventlog":"AA=="}"#);
}

#[test]
fn an_azure_quote_is_these_bytes() {
    let mut evidence = AzureEvidence {
        hcl_report: vec![0xff, 0xfe],
        quote: vec![0xab],
        signature: rsassa(),
        pcrs: vec![bank()],
        td_quote: vec![1],
        ..AzureEvidence::default()
    };
    let value = of_azure(&evidence).unwrap();
    let all: Vec<String> = (0..24)
        .map(|index| format!("{index:02x}").repeat(32))
        .collect();
    let expected = json!({
        "version": 1,
        "tpm_quote": {"signature": "736967", "message": "ab", "pcrs": all},
        "hcl_report": "__4=",
        "td_quote": "AQ==",
    });
    assert_eq!(value.to_string(), expected.to_string());
    evidence.td_quote = Vec::new();
    assert_eq!(of_azure(&evidence), Err(FormError::NoVcek));
    let table = CertificateTable {
        vcek: Some(vec![2]),
        ..CertificateTable::default()
    };
    evidence.certificates = table.encode();
    assert_eq!(of_azure(&evidence).unwrap()["vcek"], "Ag==");
}

#[test]
fn refuses_a_quote_that_trustee_could_not_read() {
    let mut evidence = AzureEvidence {
        signature: rsassa(),
        pcrs: vec![bank()],
        ..AzureEvidence::default()
    };
    evidence.pcrs[0].values.pop();
    assert_eq!(of_azure(&evidence), Err(FormError::Pcrs { found: 23 }));
    evidence.signature = vec![0, 0x18, 0, 0x0b, 0, 1, 1, 0, 1, 1];
    let error = of_azure(&evidence);
    assert_eq!(error, Err(FormError::Scheme { found: "ECDSA" }));
    evidence.signature.clear();
    assert!(matches!(of_azure(&evidence), Err(FormError::Tpm(_))));
}
