//! JSON of mock TCB info and QE identity.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Spec, quote::QE_SIGNER};

/// Date of the best levels, and of those below.
const DATES: [&str; 2] = ["2026-05-13T00:00:00Z", "2025-05-14T00:00:00Z"];

/// TCB info: levels that demand 5 or 3 of every component; module identities that demand 5 or 2.
pub fn tcb_info(spec: &Spec) -> Vec<u8> {
    let level = |least: u8, date, status, advisories: Value| {
        let sgx = vec![json!({"svn": least}); 16];
        // Index 0 and 1 are the module identity's business; 2 is the SEAM loader.
        let mut tdx = vec![json!({"svn": 0}); 16];
        tdx[2] = json!({"svn": least});
        json!({
            "tcb": {"sgxtcbcomponents": sgx, "pcesvn": 11, "tdxtcbcomponents": tdx},
            "tcbDate": date,
            "tcbStatus": status,
            "advisoryIDs": advisories,
        })
    };
    let zero = "00".repeat(48);
    let module = json!({"mrsigner": zero, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF"});
    let mut identity = module.clone();
    identity["id"] = json!("TDX_01");
    identity["tcbLevels"] = json!([
        isv_level(5, DATES[0], &json!("UpToDate")),
        isv_level(2, DATES[1], &json!(spec.module_lower_status)),
    ]);
    let [issued, next] = window(spec);
    let info = json!({
        "id": spec.tcb_info_id,
        "version": 3,
        "issueDate": issued,
        "nextUpdate": next,
        "fmspc": hex::encode_upper(spec.tcb_info_fmspc),
        "pceId": hex::encode(spec.tcb_info_pce_id),
        "tcbType": 0,
        "tcbEvaluationDataNumber": spec.evaluation_number,
        "tdxModule": module,
        "tdxModuleIdentities": [identity],
        "tcbLevels": [
            level(5, DATES[0], json!(spec.best_status), json!(spec.advisories)),
            level(3, DATES[1], json!(spec.lower_status), json!(["INTEL-SA-09999"])),
        ],
    });
    info.to_string().into_bytes()
}

/// QE identity: levels that demand security version 5 or 3.
pub fn qe_identity(spec: &Spec) -> Vec<u8> {
    let [issued, next] = window(spec);
    let identity = json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": issued,
        "nextUpdate": next,
        "tcbEvaluationDataNumber": spec.evaluation_number,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_SIGNER),
        "isvprodid": 2,
        "tcbLevels": [
            isv_level(5, DATES[0], &json!("UpToDate")),
            isv_level(3, DATES[1], &json!(spec.qe_lower_status)),
        ],
    });
    identity.to_string().into_bytes()
}

fn isv_level(least: u16, date: &str, status: &Value) -> Value {
    json!({"tcb": {"isvsvn": least}, "tcbDate": date, "tcbStatus": status})
}

fn window(spec: &Spec) -> [Timestamp; 2] {
    let date = |span| spec.now.checked_add(span).expect("a date");
    [
        date(SignedDuration::from_hours(-24)),
        date(spec.collateral_left),
    ]
}
