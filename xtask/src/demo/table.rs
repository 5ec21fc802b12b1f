//! The demo's tables.

use std::fs;

use dawnkey_qemu_tests::image::Sizes;
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::operator::Binaries;
use serde_json::Value;

use crate::error::{XtaskError, io};

/// Milliseconds of every stage in the guest, one column per boot, with outcome and round trips.
///
/// # Errors
/// [`XtaskError::Vm`] when a boot's agent printed no JSON report.
pub fn stages(boots: &[Boot]) -> Result<String, XtaskError> {
    let reports: Vec<Value> = boots
        .iter()
        .map(|boot| boot.results.step("unlock")?.json())
        .collect::<Result<_, _>>()?;
    let mut stages: Vec<&str> = Vec::new();
    for report in &reports {
        for name in report
            .get("stages_ms")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            if !stages.contains(&name.as_str()) {
                stages.push(name);
            }
        }
    }
    let mut text = row("", (1..=boots.len()).map(|number| format!("boot {number}")));
    text += &row(
        "outcome",
        reports.iter().map(|report| plain(report.get("outcome"))),
    );
    for stage in stages {
        let cells = reports
            .iter()
            .map(|report| plain(report.get("stages_ms").and_then(|stages| stages.get(stage))));
        text += &row(&format!("{stage}, ms"), cells);
    }
    text += &row(
        "round trips",
        reports
            .iter()
            .map(|report| plain(report.get("round_trips"))),
    );
    text += &row(
        "power-on to power-off, s",
        boots
            .iter()
            .map(|boot| format!("{:.1}", boot.elapsed.as_secs_f64())),
    );
    Ok(text)
}

/// What Dawnkey adds to an initramfs, and the programs' sizes.
///
/// # Errors
/// [`XtaskError::Io`] when a binary is gone.
pub fn sizes(sizes: &Sizes, binaries: &Binaries) -> Result<String, XtaskError> {
    let mut text = row(
        "bytes added to the initramfs (zstd)",
        [sizes.full.saturating_sub(sizes.plain).to_string()],
    );
    for (name, path) in [
        ("dawnkey-agent", &binaries.agent),
        ("dawnkey-keyservice", &binaries.keyservice),
        ("dawnkey", &binaries.dawnkey),
    ] {
        let bytes = fs::metadata(path)
            .map_err(io(format!("size of {}", path.display())))?
            .len();
        text += &row(&format!("{name}, bytes"), [bytes.to_string()]);
    }
    Ok(text)
}

fn row(name: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: String = cells
        .into_iter()
        .map(|cell| format!("{cell:>14}"))
        .collect();
    format!("{name:<36}{cells}\n")
}

/// A JSON value without quotes; a dash for none.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|n| n.fract() != 0.0)
            .map_or_else(|| number.to_string(), |n| format!("{n:.1}")),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_plain_text() {
        assert_eq!(plain(None), "-");
        assert_eq!(plain(Some(&serde_json::json!("refused"))), "refused");
        assert_eq!(plain(Some(&serde_json::json!(12.34))), "12.3");
        assert_eq!(plain(Some(&serde_json::json!(7))), "7");
    }
}
