//! Where built servers are kept between runs: outside the tree, under the digest of what they were made from.

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// `$DAWNKEY_SERVERS`, else `dawnkey/servers` of `$XDG_CACHE_HOME` or `~/.cache`, where guests' packages are kept too.
#[must_use]
pub fn root() -> PathBuf {
    if let Some(dir) = std::env::var_os("DAWNKEY_SERVERS") {
        return dir.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache")
    });
    cache.join("dawnkey/servers")
}

/// The directory of something that is made once. `recipe` is all that it is made from: another recipe, another
/// directory. `make` fills a directory that lies where the finished one will lie (virtual environments cannot be
/// moved); the directory counts as finished when `make` has returned. Processes wait for one another.
///
/// # Panics
/// When the directory cannot be made.
pub fn once(name: &str, recipe: &[u8], make: impl FnOnce(&Path)) -> PathBuf {
    let digest = hex::encode(Sha256::digest(recipe));
    let root = root();
    fs::create_dir_all(&root).expect("make the cache directory");
    let dir = root.join(format!("{name}-{}", digest.get(..16).unwrap_or_default()));
    let lock = fs::File::create(dir.with_extension("lock")).expect("make a lock file");
    let _held = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, e)| e)
        .expect("lock the cache");
    let finished = dir.join(".finished");
    if !finished.exists() {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("make a directory in the cache");
        make(&dir);
        fs::write(&finished, digest).expect("mark the directory as finished");
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_made_once_and_another_one_elsewhere() {
        let mut made = 0;
        let name = format!("test-{}", std::process::id());
        let first = once(&name, b"one", |_| made += 1);
        assert_eq!(once(&name, b"one", |_| made += 1), first);
        let second = once(&name, b"two", |_| made += 1);
        assert_ne!(first, second);
        assert_eq!(made, 2);
        for dir in [first, second] {
            fs::remove_dir_all(&dir).unwrap();
            fs::remove_file(dir.with_extension("lock")).unwrap();
        }
    }
}
