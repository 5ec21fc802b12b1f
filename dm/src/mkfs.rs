//! Making the filesystem with the system's own tool. No secret reaches it: it sees the mapped device only.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::MapError;
use crate::mapper::Filesystem;

/// Where distributions put it.
const MKE2FS: [&str; 2] = ["/sbin/mke2fs", "/usr/sbin/mke2fs"];
/// Most characters of its output that are reported.
const MAX_OUTPUT: usize = 400;

/// Makes a filesystem on a mapped device.
pub(crate) fn make(filesystem: Filesystem, device: &Path) -> Result<(), MapError> {
    let Filesystem::Ext4 = filesystem;
    let program = MKE2FS.into_iter().find(|path| Path::new(path).exists());
    run(program.unwrap_or(MKE2FS[0]), device)
}

fn run(program: &'static str, device: &Path) -> Result<(), MapError> {
    let failed = |detail: String| MapError::Filesystem {
        device: device.to_owned(),
        program,
        detail,
    };
    let output = Command::new(program)
        .args(["-t", "ext4", "-q", "-F"])
        .arg(device)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr)
        .chars()
        .take(MAX_OUTPUT)
        .collect();
    Err(failed(format!("{}: {}", output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn makes_an_ext4_filesystem_on_a_plain_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clear");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        make(Filesystem::Ext4, &path).unwrap();
        let begin = std::fs::read(&path).unwrap();
        assert_eq!(begin.get(0x438..0x43a), Some(&[0x53, 0xef][..]));
    }

    #[test]
    fn missing_or_failing_program_is_an_error_that_names_it() {
        let absent = run("/nonexistent/mke2fs", Path::new("/dev/null")).unwrap_err();
        assert!(matches!(
            absent,
            MapError::Filesystem {
                program: "/nonexistent/mke2fs",
                ..
            }
        ));
        let failing = make(Filesystem::Ext4, Path::new("/nonexistent/device")).unwrap_err();
        assert!(
            matches!(failing, MapError::Filesystem { ref detail, .. } if detail.contains("exit status"))
        );
    }
}
