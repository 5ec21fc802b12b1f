//! The form of Constellation's URIs: `kms://PROVIDER?NAME=VALUE&…` and `storage://…`.

use zeroize::Zeroizing;

/// Longest URI.
pub(super) const MAX: usize = 16 << 10;

/// Why a text is no such URI. No message shows a value: any may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UriError {
    /// Neither of the two schemes, or no provider.
    #[error("a URI begins with kms:// or storage:// and a provider")]
    Scheme,
    /// The provider is unknown.
    #[error("the provider is none of {0}")]
    Provider(&'static str),
    /// A part has no `=`, or a percent sign without two hexadecimal digits, or is not UTF-8.
    #[error("the parameters are not of the form name=value&name=value, percent-encoded")]
    Form,
    /// A parameter is missing.
    #[error("the parameter {0} is missing or empty")]
    Missing(&'static str),
    /// A parameter stands twice.
    #[error("a parameter stands twice")]
    Twice,
    /// A parameter is none of those that the provider has.
    #[error("a parameter is none of {0}")]
    Unknown(String),
    /// A value cannot be right.
    #[error("the parameter {name} cannot be right: {right}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What would be right.
        right: &'static str,
    },
}

/// A URI in its parts.
#[derive(Debug)]
pub(super) struct Uri {
    /// `kms` or `storage`.
    pub(super) scheme: String,
    /// `aws`, `cluster-kms`.
    pub(super) provider: String,
    parameters: Parameters,
}

/// Parameters with their values in clear.
struct Parameters(Vec<(String, Zeroizing<String>)>);

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parameters(redacted)")
    }
}

impl Uri {
    /// Reads a URI.
    pub(super) fn parse(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once("://").ok_or(UriError::Scheme)?;
        let (provider, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !["kms", "storage"].contains(&scheme) || provider.is_empty() {
            return Err(UriError::Scheme);
        }
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(UriError::Form)?;
            let (name, value) = (decode(name)?.to_string(), decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(UriError::Twice);
            }
            parameters.push((name, value));
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            provider: provider.to_owned(),
            parameters: Parameters(parameters),
        })
    }

    /// Refuses parameters that are none of these.
    pub(super) fn only(&self, names: &[&'static str]) -> Result<(), UriError> {
        let known = |name: &String| names.contains(&name.as_str());
        match self.parameters.0.iter().all(|(name, _)| known(name)) {
            true => Ok(()),
            false => Err(UriError::Unknown(names.join(", "))),
        }
    }

    /// A value that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.0.iter().filter(|(known, _)| known == name);
        found
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    pub(super) fn need(&self, name: &'static str) -> Result<&str, UriError> {
        self.get(name).ok_or(UriError::Missing(name))
    }
}

/// Undoes percent-encoding as Go's `url.ParseQuery` does, which wrote these URIs.
fn decode(text: &str) -> Result<Zeroizing<String>, UriError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let byte = match *first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2).ok_or(UriError::Form)?;
                rest = after;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| UriError::Form)?;
                byte[0]
            }
            other => other,
        };
        bytes.push(byte);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| UriError::Form)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_values_as_go_wrote_them() {
        let uri = Uri::parse("kms://aws?accessKey=a%2Fb%3Dc+d&region=eu").unwrap();
        assert_eq!((uri.scheme.as_str(), uri.provider.as_str()), ("kms", "aws"));
        assert_eq!(uri.get("accessKey"), Some("a/b=c d"));
        assert_eq!(uri.need("keyName"), Err(UriError::Missing("keyName")));
    }

    #[test]
    fn refuses_other_texts_without_showing_them() {
        for (text, expected) in [
            ("topsecret", UriError::Scheme),
            ("https://aws?x=topsecret", UriError::Scheme),
            ("kms://?x=topsecret", UriError::Scheme),
            ("kms://aws?topsecret", UriError::Form),
            ("kms://aws?x=topsecret%2", UriError::Form),
            ("kms://aws?x=%ff", UriError::Form),
            ("kms://aws?x=topsecret&x=1", UriError::Twice),
        ] {
            let refused = Uri::parse(text).unwrap_err();
            assert_eq!(refused, expected, "{text}");
            assert!(!refused.to_string().contains("topsecret"));
        }
        let uri = Uri::parse("kms://aws?topsecret=1").unwrap();
        assert!(!format!("{uri:?} {:?}", uri.only(&["region"])).contains("topsecret"));
    }
}
