//! What a case demands, on the defaults of the format.

use dawnkey_attest::{
    bytes::Bytes,
    claims::Claims,
    snp::{SnpPolicy, policy::TcbFloors, tcb::TcbFloor, vek::VekKind},
    tdx::{Flag, TdxPolicy},
    tpm::hash::Hash,
    verify::part::PartClaims,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::case::{Case, CorpusError, field};

/// Every key a policy may have.
const KEYS: [&str; 17] = [
    "expected_nonce",
    "expected_report_data",
    "expected_measurement",
    "expected_mr_td",
    "expected_rtmr0",
    "expected_rtmr1",
    "expected_rtmr2",
    "expected_rtmr3",
    "min_reported_tcb",
    "max_vmpl",
    "allowed_signing_keys",
    "allow_debug",
    "allowed_tcb_status",
    "allow_service_td",
    "require_sept_ve_disable",
    "min_tcb_evaluation_data_number",
    "min_hash",
];

/// Demands on claims.
#[derive(Debug, Clone)]
pub struct Demands {
    snp: SnpPolicy,
    tdx: TdxPolicy,
    min_hash: Option<Hash>,
    now: Timestamp,
}

/// A demand that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Class of the reason.
    pub reason: &'static str,
    /// The reason in full.
    pub detail: String,
}

impl Demands {
    /// The demands of a case.
    ///
    /// # Errors
    /// [`CorpusError::Field`] for an unknown key or a value of another form.
    pub fn of(case: &Case) -> Result<Self, CorpusError> {
        let asked = case.policy();
        let keys = asked.as_object().into_iter().flatten().map(|(key, _)| key);
        if let Some(key) = keys.into_iter().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(field(format!("policy.{key}"), "no such key is known"));
        }
        Ok(Self {
            snp: snp(asked)?,
            tdx: tdx(asked)?,
            min_hash: min_hash(asked)?,
            now: case.time()?,
        })
    }

    /// The first demand that verified claims do not meet.
    pub fn judge(&self, claims: &Claims) -> Option<Refusal> {
        if let Some(Err(error)) = claims.snp.as_ref().map(|snp| self.snp.judge(snp)) {
            return Some(Refusal {
                reason: error.reason_class(),
                detail: error.to_string(),
            });
        }
        let refusals = claims.tdx.as_ref().map(|tdx| self.tdx.judge(tdx, self.now));
        if let Some(refusal) = refusals.unwrap_or_default().first() {
            return Some(Refusal {
                reason: refusal.reason_class(),
                detail: refusal.to_string(),
            });
        }
        let weakest = self.min_hash?;
        (!uses_at_least(claims, weakest)).then(|| Refusal {
            reason: "weak_hash",
            detail: format!(
                "bank, signature or digest of a quote is weaker than {}",
                weakest.name()
            ),
        })
    }
}

/// Whether bank, signature and digest of every TPM quote use `weakest` or a wider digest.
fn uses_at_least(claims: &Claims, weakest: Hash) -> bool {
    let fits = |name: &str| Hash::from_name(name).is_some_and(|hash| hash >= weakest);
    let alone = match &claims.part {
        Some(PartClaims::Quote(part)) => part.quotes.iter().all(|one| one.is_at_least(weakest)),
        _ => true,
    };
    let beside = claims.tpm.as_ref().is_none_or(|tpm| {
        fits(&tpm.signature_hash) && tpm.pcr_select.iter().all(|one| fits(&one.bank))
    });
    alone && beside
}

fn snp(asked: &Value) -> Result<SnpPolicy, CorpusError> {
    let mut policy = SnpPolicy::permissive();
    policy.report_data = bytes::<64>(asked, "expected_report_data")?.map(|bytes| bytes.0);
    let measurement = bytes::<48>(asked, "expected_measurement")?;
    policy.measurements = measurement.map(|bytes| vec![bytes.0]);
    policy.allow_debug = flag(asked, "allow_debug", policy.allow_debug)?;
    if let Some(most) = number(asked, "max_vmpl")? {
        policy.max_vmpl = most;
    }
    if let Some(names) = list(asked, "allowed_signing_keys")? {
        let kind = |name: &Value| match name.as_str() {
            Some("VCEK") => Ok(VekKind::Vcek),
            Some("VLEK") => Ok(VekKind::Vlek),
            _ => Err(field(
                "policy.allowed_signing_keys",
                format!("{name} is no key"),
            )),
        };
        policy.signing_keys = names.iter().map(kind).collect::<Result<_, _>>()?;
    }
    let floors = &asked["min_reported_tcb"];
    if !floors.is_null() {
        let reported = TcbFloor {
            fmc: number(floors, "fmc")?,
            boot_loader: number(floors, "boot_loader")?,
            tee: number(floors, "tee")?,
            snp: number(floors, "snp")?,
            microcode: number(floors, "microcode")?,
        };
        policy.floors.push(TcbFloors {
            reported,
            ..TcbFloors::default()
        });
    }
    Ok(policy)
}

fn tdx(asked: &Value) -> Result<TdxPolicy, CorpusError> {
    let mut policy = TdxPolicy {
        allow_debug: flag(asked, "allow_debug", false)?,
        allow_service_td: flag(asked, "allow_service_td", true)?,
        require_sept_ve_disable: flag(asked, "require_sept_ve_disable", false)?,
        migratable: Flag::Any,
        min_tcb_evaluation_data_number: number(asked, "min_tcb_evaluation_data_number")?,
        ..TdxPolicy::default()
    };
    if let Some(names) = list(asked, "allowed_tcb_status")? {
        let status = |name: &Value| {
            serde_json::from_value(name.clone())
                .map_err(|error| field("policy.allowed_tcb_status", error))
        };
        policy.allowed_tcb_status = names.iter().map(status).collect::<Result<_, _>>()?;
    }
    policy.expected.report_data = bytes(asked, "expected_report_data")?;
    policy.expected.mr_td = bytes(asked, "expected_mr_td")?;
    for (index, value) in policy.expected.rtmr.iter_mut().enumerate() {
        *value = bytes(asked, &format!("expected_rtmr{index}"))?;
    }
    Ok(policy)
}

fn min_hash(asked: &Value) -> Result<Option<Hash>, CorpusError> {
    let Some(name) = asked["min_hash"].as_str() else {
        return Ok(None);
    };
    let hash = Hash::from_name(name);
    let hash = hash.ok_or_else(|| field("policy.min_hash", format!("{name} is not known")))?;
    Ok(Some(hash))
}

fn bytes<const N: usize>(asked: &Value, key: &str) -> Result<Option<Bytes<N>>, CorpusError> {
    let Some(text) = asked[key].as_str() else {
        return Ok(None);
    };
    let wrong = || {
        field(
            format!("policy.{key}"),
            format!("it is not {N} bytes in hex"),
        )
    };
    Bytes::from_hex(text).ok_or_else(wrong).map(Some)
}

fn flag(asked: &Value, key: &str, default: bool) -> Result<bool, CorpusError> {
    match &asked[key] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        other => Err(field(
            format!("policy.{key}"),
            format!("{other} is neither true nor false"),
        )),
    }
}

fn list<'a>(asked: &'a Value, key: &str) -> Result<Option<&'a Vec<Value>>, CorpusError> {
    match &asked[key] {
        Value::Null => Ok(None),
        Value::Array(list) => Ok(Some(list)),
        other => Err(field(
            format!("policy.{key}"),
            format!("{other} is no list"),
        )),
    }
}

fn number<T: TryFrom<u64>>(asked: &Value, key: &str) -> Result<Option<T>, CorpusError> {
    let wrong = |found: &Value| field(format!("policy.{key}"), format!("{found} is out of range"));
    match &asked[key] {
        Value::Null => Ok(None),
        found => {
            let number = found.as_u64().and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| wrong(found)).map(Some)
        }
    }
}
