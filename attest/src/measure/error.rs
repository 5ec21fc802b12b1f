//! Why an image cannot be measured.

use super::signature_list::SignatureListError;

/// Why an image cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// Not a PE32+ file.
    #[error("{what} is not a 64-bit PE file: {problem}")]
    NotPe {
        /// Which file.
        what: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// Header fields point outside the file or at one another.
    #[error("{what} has a malformed PE header: {problem}")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// No systemd-stub.
    #[error("the image has no systemd-stub (no .sdmagic section with its version)")]
    NoStub,
    /// A stub whose measurements are not known here.
    #[error("systemd-stub {found:?} is not known here, known are versions 252 and 257")]
    UnknownStub {
        /// Version text found.
        found: String,
    },
    /// A section every bootable UKI has is missing.
    #[error("the image has no {section} section")]
    MissingSection {
        /// Its name.
        section: &'static str,
    },
    /// A section is there twice.
    #[error("the image has the section {section} twice: multi-profile images are not supported")]
    DoubleSection {
        /// Its name.
        section: String,
    },
    /// A key variable is not in the form of UEFI's signature lists.
    #[error("the variable {variable} holds no EFI signature lists: {source}")]
    SignatureList {
        /// Which variable.
        variable: &'static str,
        /// What is wrong.
        source: SignatureListError,
    },
    /// Secure Boot is on, but nobody could have turned it on.
    #[error("Secure Boot is on without a platform key (PK)")]
    NoPlatformKey,
    /// Firmware would not run the image.
    #[error("nothing in db lets the image run: {problem}")]
    NotAuthenticated {
        /// Who signed it, or that nobody did.
        problem: String,
    },
}
