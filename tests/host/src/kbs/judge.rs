//! What a KBS asks of evidence: that it carries the digest of this session's nonce and of the key that was shown.

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dawnkey_attest::tpm::attest::Quote;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// 32 bytes of two random UUIDs.
pub(super) fn nonce() -> String {
    let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    STANDARD.encode(random.map(uuid::Uuid::into_bytes).concat())
}

/// Whether a verifier of this name is here.
pub(super) fn known(tee: &str) -> Result<(), String> {
    match tee {
        "snp" | "tpm" => Ok(()),
        other => Err(format!("no verifier of {other} here")),
    }
}

/// The key that the evidence vouches for.
pub(super) fn judge(shown: &Value, nonce: &str) -> Result<Value, String> {
    assert_eq!(shown["init-data"], Value::Null);
    let runtime = &shown["runtime-data"];
    if runtime["nonce"] != nonce {
        return Err("the nonce is not this session's".into());
    }
    let key = runtime["tee-pubkey"].clone();
    let evidence = &shown["tee-evidence"];
    let bound = json!({
        "additional-evidence": evidence["additional_evidence"],
        "nonce": nonce,
        "tee-pubkey": key,
    });
    let wanted = digest(&SHA384, sorted(&bound).to_string().as_bytes());
    let evidence = &evidence["primary_evidence"];
    match evidence["ak_public"].is_string() {
        true => tpm(evidence, wanted.as_ref())?,
        false => snp(evidence, wanted.as_ref())?,
    }
    Ok(key)
}

fn snp(evidence: &Value, digest: &[u8]) -> Result<(), String> {
    let report = &evidence["attestation_report"];
    let found: Vec<u8> = serde_json::from_value(report["report_data"].clone()).unwrap();
    let mut wanted = digest.to_vec();
    wanted.resize(64, 0);
    match found == wanted {
        true => Ok(()),
        false => Err("Report Data Mismatch".into()),
    }
}

fn tpm(evidence: &Value, wanted: &[u8]) -> Result<(), String> {
    let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let (key, quote) = (decode(&evidence["ak_public"]), &evidence["tpm_quote"]);
    let (message, signature) = (decode(&quote["message"]), decode(&quote["signature"]));
    // sigAlg RSASSA, hash SHA-256, 256 bytes.
    let bare = signature.strip_prefix(&[0, 0x14, 0, 0x0b, 1, 0]);
    let bare = bare.ok_or("no RSASSA signature")?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(&message, bare)
        .map_err(|_| "the quote's signature is wrong")?;
    let parsed = Quote::parse(&message).map_err(|error| error.to_string())?;
    if parsed.extra_data != wanted[..32] {
        return Err("TPM quote nonce doesn't match expected report_data".into());
    }
    let pcrs: Vec<String> = serde_json::from_value(quote["pcrs"].clone()).unwrap();
    assert_eq!(pcrs.len(), 24);
    let values: Vec<u8> = pcrs
        .iter()
        .flat_map(|pcr| hex::decode(pcr).unwrap())
        .collect();
    match digest(&SHA256, &values).as_ref() == parsed.pcr_digest {
        true => Ok(()),
        false => Err("Digest of PCRs does not match digest in Quote".into()),
    }
}

/// Members in the order of their names, at every depth.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let members: BTreeMap<_, _> = object.iter().collect();
            let sorted: Map<_, _> = members
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            Value::Object(sorted)
        }
        other => other.clone(),
    }
}
