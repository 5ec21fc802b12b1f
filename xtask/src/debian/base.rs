//! Systems as debootstrap makes them, in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::deps;
use crate::error::{XtaskError, io};
use crate::workspace::cache;

/// Where this machine's sources of packages name none.
const MIRROR: &str = "http://deb.debian.org/debian";

/// A system of this machine's release with `packages`, each with what needs it, for the versions that the archive has now.
/// `sources` has `root.sh`.
///
/// # Errors
/// [`XtaskError::Vm`] with debootstrap's words.
pub fn system(sources: &Path, packages: &[(&str, &str)]) -> Result<PathBuf, XtaskError> {
    let suite = suite()?;
    let names = names(&suite, packages);
    let mut policy = Command::new("apt-cache");
    let versions = command::run(policy.arg("policy").args(&names).env("LC_ALL", "C"))?;
    let script = sources.join("root.sh");
    let text = fs::read_to_string(&script).map_err(io(format!("read {}", script.display())))?;
    let candidates = versions.lines().filter(|line| line.contains("Candidate:"));
    let key: String = candidates.chain([text.as_str()]).collect();
    let place = cache()?.join(format!("debian-{suite}-{:016x}", fnv(key.as_bytes())));
    if place.is_dir() {
        return Ok(place);
    }
    let partial = place.with_extension(format!("partial-{}", std::process::id()));
    let mut make = deps::as_root("sh")?;
    make.arg(script)
        .arg(&partial)
        .args([&suite, &mirror(&suite)?, &names.join(",")]);
    command::run(&mut make)?;
    command::run(deps::as_root("mv")?.arg("-T").arg(&partial).arg(&place))?;
    Ok(place)
}

/// The packages as a release calls them: since Debian 13 those of libraries with 64-bit times say so.
fn names(suite: &str, packages: &[(&str, &str)]) -> Vec<String> {
    let names = packages.iter().map(|(name, _)| *name);
    names
        .map(
            |name| match name.starts_with("libtss2-") && suite != "bookworm" {
                true => format!("{name}t64"),
                false => name.to_owned(),
            },
        )
        .collect()
}

/// The release of this machine: the programs are linked against its libraries.
fn suite() -> Result<String, XtaskError> {
    let path = "/etc/os-release";
    let text = fs::read_to_string(path).map_err(io(format!("read {path}")))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| XtaskError::Package(format!("{path} names no release")))
}

/// The mirror that this machine takes the release from.
fn mirror(suite: &str) -> Result<String, XtaskError> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format"]);
    apt.arg("$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)");
    let targets = command::run(apt.arg("Created-By: Packages"))?;
    Ok(among(&targets, suite).unwrap_or_else(|| MIRROR.to_owned()))
}

/// The first of Debian's own places that debootstrap can read from; one for updates has a name of its own for the release.
fn among(targets: &str, suite: &str) -> Option<String> {
    let wanted = format!("Debian|{suite}|main|");
    let mut places = targets
        .lines()
        .filter_map(|line| line.strip_prefix(&wanted));
    let read = ["http://", "https://", "file:/"];
    let place = places.find(|place| read.iter().any(|scheme| place.starts_with(scheme)));
    place.map(|place| place.trim_end_matches('/').to_owned())
}

/// FNV-1a: tells versions apart, nothing more.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_called_as_their_release_does() {
        let packages = [("libtss2-tcti-device0", "the agent"), ("systemd", "all")];
        let has = |suite, name: &str| names(suite, &packages).iter().any(|found| found == name);
        assert!(has("bookworm", "libtss2-tcti-device0"));
        assert!(has("trixie", "libtss2-tcti-device0t64") && has("trixie", "systemd"));
    }

    #[test]
    fn mirror_is_the_first_that_debootstrap_can_read_the_release_from() {
        let targets = "Other|bookworm|main|http://other.example/\n\
                       Debian|bookworm-security|main|http://security.example/\n\
                       Debian|bookworm|contrib|http://contrib.example/\n\
                       Debian|bookworm|main|cdrom://disc/\n\
                       Debian|bookworm|main|https://near.example/debian/\n\
                       Debian|bookworm|main|http://far.example/debian/\n";
        let found = among(targets, "bookworm");
        assert_eq!(found.as_deref(), Some("https://near.example/debian"));
        assert_eq!(among(targets, "trixie"), None);
    }

    #[test]
    fn keys_match_the_published_check_values() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
