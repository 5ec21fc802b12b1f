//! Product lines: what AMD's key distribution calls Milan, Genoa and Turin.
//!
//! A product line decides the root (`ARK-<name>`), the layout of TCB versions and the length of a chip id. From
//! report version 3 on the CPUID values in the report say which line it is; in version 2 only the endorsement
//! certificate's product name does. Sources: AMD 57230 rev 1.00 §3 (product names), 56860 rev 1.58 table 24.

use serde::{Deserialize, Serialize, de::Error as _};

/// A product line of AMD's key distribution service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// Family 19h, models 00h–0Fh.
    Milan,
    /// Family 19h, models 10h–1Fh and A0h–AFh: Genoa, Bergamo and Siena share one key hierarchy.
    Genoa,
    /// Family 1Ah, models 00h–11h.
    Turin,
    /// A line this version has no rules for, by the name its certificates carry.
    Other(String),
}

/// Longest product name taken from a certificate, bytes.
const MAX_NAME: usize = 32;

impl Product {
    /// The line of a CPU, `None` when family and model are not known to belong to one.
    #[must_use]
    pub fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            (0x1a, 0x50..=0x57 | 0x90..=0xaf | 0xc0..=0xc7) => {
                Some(Self::Other("Venice".to_owned()))
            }
            _ => None,
        }
    }

    /// The line named in a certificate: `Milan-B0` is Milan; the stepping after the hyphen is dropped.
    /// `None` if the text is empty, too long or not plain ASCII letters and digits.
    #[must_use]
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        let line = name.split('-').next().unwrap_or_default();
        if line.is_empty()
            || line.len() > MAX_NAME
            || !line.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return None;
        }
        Some(match line {
            "Milan" => Self::Milan,
            "Genoa" => Self::Genoa,
            "Turin" => Self::Turin,
            other => Self::Other(other.to_owned()),
        })
    }

    /// The name as certificates and AMD's key distribution spell it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
            Self::Other(name) => name,
        }
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Product {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Product {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_certificate_name(&name)
            .ok_or_else(|| D::Error::custom(format!("{name:?} is not the name of a product line")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siena_and_bergamo_belong_to_genoa() {
        assert_eq!(Product::from_cpuid(0x19, 0xa0), Some(Product::Genoa));
        assert_eq!(Product::from_cpuid(0x19, 0x11), Some(Product::Genoa));
    }

    #[test]
    fn unknown_models_have_no_line() {
        for (family, model) in [
            (0x17, 0x31),
            (0x19, 0x21),
            (0x19, 0xb0),
            (0x1a, 0x20),
            (0, 0),
        ] {
            assert_eq!(
                Product::from_cpuid(family, model),
                None,
                "{family:#x}/{model:#x}"
            );
        }
    }

    #[test]
    fn drops_the_stepping_of_a_certificate_name() {
        assert_eq!(
            Product::from_certificate_name("Milan-B0"),
            Some(Product::Milan)
        );
        assert_eq!(
            Product::from_certificate_name("Venice"),
            Some(Product::Other("Venice".into()))
        );
    }

    #[test]
    fn refuses_names_that_are_no_names() {
        for name in ["", "-B0", "a b", "Milan\0", &"x".repeat(33)] {
            assert_eq!(Product::from_certificate_name(name), None, "{name:?}");
        }
    }
}
