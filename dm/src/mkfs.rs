//! Making the filesystem with the system's own tool. No secret reaches it: it sees the mapped device only.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::MapError;
use crate::geometry::{BLOCK_BYTES, BLOCK_SECTORS, Layout};
use crate::mapper::Filesystem;

/// Where distributions put it.
const MKE2FS: [&str; 2] = ["/sbin/mke2fs", "/usr/sbin/mke2fs"];
/// Most characters of its output that are reported.
const MAX_OUTPUT: usize = 400;

/// Makes a filesystem on a mapped device.
pub(crate) fn make(filesystem: Filesystem, device: &Path, layout: &Layout) -> Result<(), MapError> {
    let Filesystem::Ext4 = filesystem;
    let program = MKE2FS.into_iter().find(|path| Path::new(path).exists());
    run(program.unwrap_or(MKE2FS[0]), device, &options(layout))
}

/// What `mke2fs` would choose by itself for the whole volume, for one of which only the begin is there yet: blocks,
/// inode ratio, as much journal as that begin bears, and room for the group descriptors of the rest.
fn options(layout: &Layout) -> Vec<String> {
    if layout.is_ready() {
        return Vec::new();
    }
    let (ready, whole) = (
        layout.ready_sectors() / BLOCK_SECTORS,
        layout.data_sectors() / BLOCK_SECTORS,
    );
    let journal_mib = match whole {
        0..0x4_0000 => 16,
        0x4_0000..0x8_0000 => 32,
        _ => 64,
    };
    let bearable_mib = (ready / 4 * BLOCK_BYTES) >> 20;
    let journal = format!("size={}", journal_mib.min(bearable_mib.max(4)));
    let resize = format!("resize={}", whole.min(u64::from(u32::MAX)));
    let fixed = [
        ["-b", "4096"],
        ["-i", "16384"],
        ["-I", "256"],
        ["-J", &journal],
        ["-E", &resize],
    ];
    fixed.concat().into_iter().map(str::to_owned).collect()
}

fn run(program: &'static str, device: &Path, options: &[String]) -> Result<(), MapError> {
    let failed = |detail: String| MapError::Filesystem {
        device: device.to_owned(),
        program,
        detail,
    };
    let output = Command::new(program)
        .args(["-t", "ext4", "-q", "-F"])
        .args(options)
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
    use crate::geometry::Integrity;

    fn whole() -> Layout {
        Layout::for_disk(Integrity::HmacSha256, 32 << 20).unwrap()
    }

    /// `dumpe2fs -h` of what is made on the first 128 MiB of volumes of these sizes.
    #[test]
    fn filesystem_on_the_begin_of_a_volume_is_made_for_the_whole_of_it() {
        for (disk, journal, reserved) in [(1 << 30, "16M", 1), (1 << 40, "32M", 126)] {
            let layout = Layout::for_disk(Integrity::HmacSha256, disk).unwrap();
            let layout = layout.with_ready((128 << 20) / 512).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("clear");
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(128 << 20).unwrap();
            make(Filesystem::Ext4, &path, &layout).unwrap();
            let said = Command::new("/sbin/dumpe2fs")
                .arg("-h")
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            let value = |name: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            assert_eq!(value("Block size:"), "4096", "{said}");
            assert_eq!(value("Block count:"), "32768");
            assert_eq!(value("Total journal size:"), journal);
            let blocks: u64 = value("Reserved GDT blocks:").parse().unwrap_or(0);
            assert!(blocks >= reserved, "{blocks}");
            assert!(value("Filesystem features:").contains("64bit"));
        }
    }

    #[test]
    fn makes_an_ext4_filesystem_on_a_plain_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clear");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        make(Filesystem::Ext4, &path, &whole()).unwrap();
        let begin = std::fs::read(&path).unwrap();
        assert_eq!(begin.get(0x438..0x43a), Some(&[0x53, 0xef][..]));
    }

    #[test]
    fn missing_or_failing_program_is_an_error_that_names_it() {
        let absent = run("/nonexistent/mke2fs", Path::new("/dev/null"), &[]).unwrap_err();
        assert!(matches!(
            absent,
            MapError::Filesystem {
                program: "/nonexistent/mke2fs",
                ..
            }
        ));
        let failing =
            make(Filesystem::Ext4, Path::new("/nonexistent/device"), &whole()).unwrap_err();
        assert!(
            matches!(failing, MapError::Filesystem { ref detail, .. } if detail.contains("exit status"))
        );
    }
}
