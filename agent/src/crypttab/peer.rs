//! The name of a socket that asks for a key: `\0RANDOM/cryptsetup/VOLUME` (crypttab(5)).
//!
//! systemd binds its end to that abstract name so that the other end knows what it wants. Requests for the encrypted
//! keys of tokens have names of the same form (`cryptsetup-tpm2`, `cryptsetup-pkcs11`, `cryptsetup-fido2-salt` and more): none of them
//! gets a byte here.

/// What the random part is made of, at most 16 hexadecimal digits of 64 bits.
const MAX_RANDOM: usize = 16;
/// What asks for the key of a volume itself.
const KEY: &str = "cryptsetup";
/// Most bytes of a foreign name that a message repeats.
const MAX_SHOWN: usize = 64;

/// A request for the key of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The volume's name, as the first field of its line gives it.
    pub volume: &'a str,
}

/// The name is not that of a request for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The socket has no name.
    #[error("its socket has no abstract name; systemd-cryptsetup gives it one")]
    Unnamed,
    /// The name has another form.
    #[error("its socket is called {found:?}, must be RANDOM/cryptsetup/VOLUME")]
    Form {
        /// The name, cut.
        found: String,
    },
    /// It wants what a token needs.
    #[error("it asks for {found:?}; only the key of a volume is given, nothing for tokens")]
    Token {
        /// What it wants.
        found: String,
    },
}

impl<'a> Asked<'a> {
    /// Reads a name without the NUL in front.
    pub fn parse(name: &'a [u8]) -> Result<Self, PeerError> {
        if name.is_empty() {
            return Err(PeerError::Unnamed);
        }
        let form = || PeerError::Form {
            found: name
                .escape_ascii()
                .to_string()
                .chars()
                .take(MAX_SHOWN)
                .collect(),
        };
        let text = std::str::from_utf8(name).map_err(|_| form())?;
        let mut parts = text.splitn(3, '/');
        let (random, kind, volume) = parts
            .next()
            .zip(parts.next())
            .zip(parts.next())
            .map(|((random, kind), volume)| (random, kind, volume))
            .ok_or_else(form)?;
        let hexadecimal = random.bytes().all(|byte| byte.is_ascii_hexdigit());
        if random.is_empty() || random.len() > MAX_RANDOM || !hexadecimal || volume.is_empty() {
            return Err(form());
        }
        match kind {
            KEY => Ok(Self { volume }),
            token if token.starts_with("cryptsetup-") => Err(PeerError::Token {
                found: token.escape_debug().take(MAX_SHOWN).collect(),
            }),
            _ => Err(form()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As systemd 252 binds it, seen on a real socket.
    #[test]
    fn reads_the_name_that_systemd_cryptsetup_binds() {
        let asked = Asked::parse(b"5cfe84d0f5c7cd7e/cryptsetup/state").unwrap();
        assert_eq!(asked.volume, "state");
        assert_eq!(Asked::parse(b"0/cryptsetup/a/b").unwrap().volume, "a/b");
    }

    #[test]
    fn refuses_requests_for_tokens_by_name() {
        for kind in [
            "cryptsetup-tpm2",
            "cryptsetup-pkcs11",
            "cryptsetup-fido2",
            "cryptsetup-fido2-salt",
        ] {
            let name = format!("5cfe84d0f5c7cd7e/{kind}/state");
            let token = PeerError::Token { found: kind.into() };
            assert_eq!(Asked::parse(name.as_bytes()), Err(token));
        }
    }

    #[test]
    fn refuses_names_of_any_other_form() {
        assert_eq!(Asked::parse(b""), Err(PeerError::Unnamed));
        for name in [
            &b"cryptsetup/state"[..],
            b"/cryptsetup/state",
            b"5cfe84d0f5c7cd7e/cryptsetup/",
            b"5cfe84d0f5c7cd7e/cryptsetup",
            b"5cfe84d0f5c7cd7e5/cryptsetup/state",
            b"5cfe84d0f5c7cd7g/cryptsetup/state",
            b"5cfe84d0f5c7cd7e/veritysetup/state",
            b"5cfe84d0f5c7cd7e/\xff/state",
            b"\0\0\0\0\0",
        ] {
            let refused = Asked::parse(name);
            assert!(
                matches!(refused, Err(PeerError::Form { .. })),
                "{refused:?}"
            );
        }
    }
}
