//! Launches of one SNP guest: the firmware gives each its own report id.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{IoContext, VmError};

/// Offset of the report id.
const REPORT_ID: usize = 0x140;

/// Writes the platform of `from` with the report id of launch `number` to `to`.
///
/// # Errors
/// [`VmError::Lab`] when the platform has no report of SNP.
pub(crate) fn anew(from: &Path, number: u32, to: &Path) -> Result<(), VmError> {
    let problem = |problem: String| VmError::Lab(format!("{}: {problem}", from.display()));
    let text = fs::read(from).doing(|| format!("read {}", from.display()))?;
    let mut platform: Value =
        serde_json::from_slice(&text).map_err(|error| problem(error.to_string()))?;
    let report = platform.get("report").and_then(Value::as_str);
    let mut report = report.unwrap_or_default().to_owned();
    let id = format!("{number:08x}");
    let place = REPORT_ID * 2..REPORT_ID * 2 + id.len();
    if report.get(place.clone()).is_none() {
        return Err(problem("no report of SEV-SNP".to_owned()));
    }
    report.replace_range(place, &id);
    if let Some(slot) = platform.get_mut("report") {
        *slot = Value::String(report);
    }
    fs::write(to, platform.to_string()).doing(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn launches_differ_in_their_report_id_only() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let report = "00".repeat(1184);
        fs::write(
            &from,
            format!("{{\"platform\":\"snp\",\"report\":\"{report}\"}}"),
        )
        .unwrap();
        anew(&from, 0x2f, &to).unwrap();
        let made: Value = serde_json::from_slice(&fs::read(&to).unwrap()).unwrap();
        let made = made["report"].as_str().unwrap();
        assert_eq!(made.len(), report.len());
        let differs: Vec<usize> = (0..made.len())
            .filter(|at| made.as_bytes().get(*at) != report.as_bytes().get(*at))
            .collect();
        assert_eq!(differs, [REPORT_ID * 2 + 6, REPORT_ID * 2 + 7]);
        fs::write(&from, "{}").unwrap();
        assert!(matches!(anew(&from, 1, &to), Err(VmError::Lab(_))));
    }
}
