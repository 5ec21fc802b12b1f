//! A TD's event log: the ACPI table `CCEL` and the area it names, as the kernel exports both.
//!
//! Source: UEFI 2.10 §38.4 and ACPI 6.5 §5.2.34; the kernel copies the area to `/sys/firmware/acpi/tables/data/CCEL`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::CollectError;

/// The table.
pub const TABLE: &str = "/sys/firmware/acpi/tables/CCEL";
/// The area.
pub const DATA: &str = "/sys/firmware/acpi/tables/data/CCEL";
/// Most bytes of the area, as the wire form allows.
const MAX_LOG: u64 = 2 << 20;
/// Bytes of the table: 36 of every ACPI table's header, then type, subtype, reserved, length and start of the area.
const TABLE_LEN: usize = 56;
/// Confidential computing type of TDX.
const TYPE_TDX: u8 = 2;

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CcelPaths {
    /// The table.
    pub table: PathBuf,
    /// The area.
    pub data: PathBuf,
}

impl Default for CcelPaths {
    fn default() -> Self {
        Self {
            table: TABLE.into(),
            data: DATA.into(),
        }
    }
}

/// Reads the area; empty if the firmware has no such table, which leaves RTMRs without an explanation.
///
/// # Errors
/// [`CollectError::EventLog`], [`CollectError::EventLogTooLarge`], [`CollectError::CcelTable`].
pub fn read(paths: &CcelPaths) -> Result<Vec<u8>, CollectError> {
    let table = match read_file(&paths.table, 4096) {
        Err(CollectError::EventLog { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    check(&table).map_err(|problem| CollectError::CcelTable {
        path: paths.table.clone(),
        problem,
    })?;
    read_file(&paths.data, MAX_LOG)
}

/// The table must be a `CCEL` of a TD. Its address is the kernel's business.
fn check(table: &[u8]) -> Result<(), &'static str> {
    let Some((head, _)) = table.split_first_chunk::<TABLE_LEN>() else {
        return Err("it is shorter than 56 bytes");
    };
    if !head.starts_with(b"CCEL") {
        return Err("its signature is not CCEL");
    }
    match head.get(36) {
        Some(&TYPE_TDX) => Ok(()),
        _ => Err("its type is not 2 (TDX)"),
    }
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, CollectError> {
    let failed = |source| CollectError::EventLog {
        path: path.into(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(CollectError::EventLogTooLarge {
            path: path.into(),
            most,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn table() -> Vec<u8> {
        let mut table = b"CCEL".to_vec();
        table.resize(TABLE_LEN, 0);
        table[36] = TYPE_TDX;
        table
    }

    fn with(table: Option<&[u8]>, data: Option<&[u8]>) -> Result<Vec<u8>, CollectError> {
        let dir = tempfile::tempdir().unwrap();
        let paths = CcelPaths {
            table: dir.path().join("CCEL"),
            data: dir.path().join("data"),
        };
        for (path, bytes) in [(&paths.table, table), (&paths.data, data)] {
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).unwrap();
            }
        }
        read(&paths)
    }

    #[test]
    fn reads_the_area_a_sound_table_goes_with() {
        assert_eq!(with(Some(&table()), Some(b"log")).unwrap(), b"log");
    }

    #[test]
    fn no_table_is_no_log() {
        assert!(with(None, Some(b"log")).unwrap().is_empty());
    }

    #[test]
    fn refuses_a_table_that_is_cut_or_another() {
        let mut other_type = table();
        other_type[36] = 1;
        let mut other_name = table();
        other_name[0] = b'X';
        for bytes in [&table()[..55], &other_type, &other_name, b""] {
            let error = with(Some(bytes), Some(b"log"));
            assert!(matches!(error, Err(CollectError::CcelTable { .. })));
        }
    }

    #[test]
    fn refuses_a_table_without_its_area_and_an_area_that_is_too_large() {
        let error = with(Some(&table()), None);
        assert!(matches!(error, Err(CollectError::EventLog { .. })));
        let large = vec![0xff; MAX_LOG as usize + 1];
        let error = with(Some(&table()), Some(&large));
        assert!(matches!(
            error,
            Err(CollectError::EventLogTooLarge { most: MAX_LOG, .. })
        ));
    }
}
