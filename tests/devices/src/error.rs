//! What can go wrong in a stand-in.

/// Failure of a stand-in or of making its material.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A file or socket operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file with keys and templates is not usable.
    #[error("material {path}: {problem}")]
    Material {
        /// Where it was read from.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The kernel said something that this program does not expect.
    #[error("the kernel's {what} is malformed: {problem}")]
    Kernel {
        /// Which message.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The material is of another platform than the device.
    #[error("asked for {wanted}, the material is for {found}")]
    Platform {
        /// What was asked for.
        wanted: &'static str,
        /// What the material is for.
        found: &'static str,
    },
    /// A key or a certificate could not be made, or evidence did not verify.
    #[error("{0}")]
    Pki(String),
}

/// Attaches what was attempted to an I/O error.
pub(crate) trait IoContext<T> {
    /// Names the attempt; called only on failure.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, DeviceError> {
        self.map_err(|source| DeviceError::Io {
            what: what(),
            source,
        })
    }
}
