//! What each version of systemd-stub measures.
//!
//! Known are the versions whose predictions were compared with booted machines: 252 (Debian 12) and 257 (Debian 13).
//! Any other is refused: a wrong reference value would only be found out by a machine that does not unlock.

use super::MeasureError;

/// Text before the version in the `.sdmagic` section.
const MAGIC: &[u8] = b"#### LoaderInfo: systemd-stub ";

/// A systemd-stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stub {
    /// Version text, for example `252.39-1~deb12u2`.
    pub text: String,
    /// Major version.
    pub major: u32,
}

impl Stub {
    /// Major version in Debian 12.
    pub(super) const DEBIAN_12: u32 = 252;
    /// Major version in Debian 13.
    pub(super) const DEBIAN_13: u32 = 257;

    /// Reads the version from the `.sdmagic` section.
    pub(super) fn parse(section: &[u8]) -> Result<Self, MeasureError> {
        let rest = section.strip_prefix(MAGIC).ok_or(MeasureError::NoStub)?;
        let text: String = rest
            .iter()
            .take(64)
            .take_while(|byte| byte.is_ascii_graphic() && **byte != b'#')
            .map(|byte| char::from(*byte))
            .collect();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(major @ (Self::DEBIAN_12 | Self::DEBIAN_13)) => Ok(Self { text, major }),
            _ => Err(MeasureError::UnknownStub { found: text }),
        }
    }

    /// Sections measured into PCR 11, in this order; each as its name with a NUL, then its content.
    pub(super) fn measured(&self) -> &'static [&'static str] {
        match self.major {
            Self::DEBIAN_12 => &[
                ".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey",
            ],
            _ => &[
                ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname",
                ".sbat", ".pcrpkey", ".profile", ".dtbauto", ".hwids",
            ],
        }
    }

    /// Sections that are appended to the initrd as a file of `.extra`, in this order.
    pub(super) fn appended(&self) -> &'static [(&'static str, &'static str)] {
        match self.major {
            Self::DEBIAN_12 => &[
                (".pcrsig", "tpm2-pcr-signature.json"),
                (".pcrpkey", "tpm2-pcr-public-key.pem"),
            ],
            _ => &[
                (".pcrsig", "tpm2-pcr-signature.json"),
                (".pcrpkey", "tpm2-pcr-public-key.pem"),
                (".osrel", "os-release"),
                (".profile", "profile"),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_versions_of_debian() {
        let stub = Stub::parse(b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####\0").unwrap();
        assert_eq!((stub.text.as_str(), stub.major), ("252.39-1~deb12u2", 252));
        assert_eq!(
            Stub::parse(b"#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####")
                .unwrap()
                .major,
            257
        );
    }

    #[test]
    fn refuses_a_stub_it_does_not_know() {
        let error = Stub::parse(b"#### LoaderInfo: systemd-stub 255 ####").unwrap_err();
        assert_eq!(
            error,
            MeasureError::UnknownStub {
                found: "255".into()
            }
        );
        assert_eq!(
            Stub::parse(b"#### LoaderInfo: systemd-boot 257 ####"),
            Err(MeasureError::NoStub)
        );
    }
}
