//! Looking for a secret in files: as it is, in hex and in base64, whole or in part.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use std::path::{Path, PathBuf};

/// Bytes of a piece that is looked for: a secret that was cut is found, too.
const PIECE: usize = 16;

/// What would be seen of the secret, with the name of the form.
fn needles(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for piece in secret.chunks_exact(PIECE) {
        all.push(("raw", piece.to_vec()));
        all.push(("hex", hex::encode(piece).into_bytes()));
        all.push(("hex", hex::encode_upper(piece).into_bytes()));
    }
    // In base64 a piece looks different at each of three places; what depends on its neighbours is left out.
    for piece in secret.chunks_exact(PIECE) {
        for skipped in 0..3 {
            let whole = piece.get(skipped..).unwrap_or_default();
            let whole = &whole[..whole.len() / 3 * 3];
            all.push(("base64", BASE64_STANDARD_NO_PAD.encode(whole).into_bytes()));
            all.push(("base64", BASE64_URL_SAFE_NO_PAD.encode(whole).into_bytes()));
        }
    }
    all
}

/// Every file below `directory` that holds a piece of the secret, and how.
pub fn found(directory: &Path, secret: &[u8]) -> Vec<(PathBuf, &'static str)> {
    assert!(secret.len() >= PIECE);
    let mut found = Vec::new();
    let needles = needles(secret);
    for file in files(directory) {
        let bytes = std::fs::read(&file).unwrap();
        for (form, needle) in &needles {
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push((file.clone(), *form));
            }
        }
    }
    found
}

/// Every regular file below `directory`.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(files(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}
