//! Where things lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::XtaskError;

/// The source tree, its build directory and the cache outside of both.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Root of the source tree.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
}

impl Workspace {
    /// The tree this program was built from, and the target directory in use.
    ///
    /// # Errors
    /// [`XtaskError::Usage`] when the program runs far from its tree.
    pub fn find() -> Result<Self, XtaskError> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .parent()
            .filter(|root| root.join("Cargo.toml").is_file())
            .ok_or_else(|| {
                XtaskError::Usage(format!("no workspace above {}", manifest.display()))
            })?;
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Workspace {
            root: root.to_path_buf(),
            target,
        })
    }

    /// Cargo, in the root, with the toolchain of `rust-toolchain.toml`.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }

    /// A directory of this project under the target directory.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.target.join("dawnkey").join(name)
    }
}

/// Packages fetched for guests: `$XDG_CACHE_HOME/dawnkey`, outside the source tree.
///
/// # Errors
/// [`XtaskError::Usage`] when there is neither a cache nor a home directory.
pub fn cache() -> Result<PathBuf, XtaskError> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or_else(|| XtaskError::Usage("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?;
    Ok(base.join("dawnkey"))
}
