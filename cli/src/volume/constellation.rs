//! What Constellation left behind: its master secret, and the key of a state disk that follows from it.

use crate::files;
use crate::outcome::{Failure, chain};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dawnkey_kek::cluster::Cluster;
use dawnkey_secret::{Dek, MasterSecret};
use serde::Deserialize;
use std::path::Path;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Type of the token in a state disk's header.
pub(super) const TOKEN: &str = "constellation-state-disk";
/// Bytes of the salt.
const SALT_BYTES: usize = 32;

/// `constellation-mastersecret.json`, both members in base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile<'a> {
    key: &'a str,
    salt: &'a str,
}

/// The DEK of the state disk with this LUKS UUID.
///
/// `secret` is `constellation-mastersecret.json`, or a file with the secret in hex; the salt is then in `salt`, in hex.
pub(super) fn dek(secret: &Path, salt: Option<&Path>, disk: Uuid) -> Result<Dek, Failure> {
    let (master, salt) = read(secret, salt)?;
    Cluster::new("cluster", master, salt)
        .dek(disk, 1)
        .map_err(|e| Failure::local(chain(&e), secret.display(), "a master secret"))
}

fn read(secret: &Path, salt: Option<&Path>) -> Result<(MasterSecret, [u8; SALT_BYTES]), Failure> {
    let wrong = |path: &Path, right: &str| {
        Failure::local("read the master secret and salt", path.display(), right)
    };
    let bytes = files::read_private(secret, "the master secret")?;
    let (mut key, salt_bytes, salt_place) =
        if let Ok(file) = serde_json::from_slice::<SecretFile<'_>>(&bytes) {
            if let Some(salt) = salt {
                return Err(wrong(salt, "no --salt: the master secret's file has one"));
            }
            let decode = |text: &str| BASE64.decode(text).map(Zeroizing::new);
            let right = "`key` and `salt` in base64, as Constellation wrote them";
            let key = decode(file.key).map_err(|_| wrong(secret, right))?;
            let salt = decode(file.salt).map_err(|_| wrong(secret, right))?;
            (key, salt, secret)
        } else {
            let salt =
                salt.ok_or_else(|| wrong(secret, "--salt FILE beside a master secret in hex"))?;
            let text = files::read_private(salt, "the salt")?;
            (hex_of(&bytes, secret)?, hex_of(&text, salt)?, salt)
        };
    let master =
        MasterSecret::take(&mut key).map_err(|e| wrong(secret, &format!("16 to 64 bytes; {e}")))?;
    let salt = <[u8; SALT_BYTES]>::try_from(salt_bytes.as_slice())
        .map_err(|_| wrong(salt_place, "a salt of 32 bytes"))?;
    Ok((master, salt))
}

fn hex_of(text: &[u8], path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    hex::decode(text.trim_ascii())
        .map(Zeroizing::new)
        .map_err(|_| {
            Failure::local(
                "read the master secret and salt: no hex",
                path.display(),
                "hex digits, or constellation-mastersecret.json",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two vectors that Constellation publishes.
    const VECTORS: [(u8, &str, &str); 2] = [
        (
            0xff,
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be",
        ),
        (
            0x00,
            "00000000-0000-0000-0000-000000000000",
            "2b5c829f691bfd4232f8aac464bccc07e605c7c8e82cbca09837e86d0b6d0665",
        ),
    ];

    #[test]
    fn derives_the_published_vectors_from_hex_and_from_constellations_file() {
        let dir = tempfile::tempdir().unwrap();
        for (byte, id, wanted) in VECTORS {
            let id: Uuid = id.parse().unwrap();
            let [secret, salt, json] =
                ["secret", "salt", "json"].map(|name| dir.path().join(format!("{name}-{byte}")));
            let digits = hex::encode([byte; 32]);
            let text = BASE64.encode([byte; 32]);
            let file = format!("{{\"key\":\"{text}\",\"salt\":\"{text}\"}}");
            for (path, text) in [(&secret, &digits), (&salt, &digits), (&json, &file)] {
                files::create(path, "a secret", files::PRIVATE, text.as_bytes()).unwrap();
            }
            let of_hex = dek(&secret, Some(&salt), id).unwrap();
            let of_json = dek(&json, None, id).unwrap();
            assert_eq!(hex::encode(of_hex.expose()), wanted);
            assert_eq!(hex::encode(of_json.expose()), wanted);
            assert!(dek(&secret, None, id).is_err());
            assert!(dek(&json, Some(&salt), id).is_err());
        }
    }
}
