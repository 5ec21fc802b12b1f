//! Secure Boot as firmware measures it into PCR 7 (RTMR 0 of a TD).
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06, 3.3.4.8 "PCR\[7\]", and how EDK2 does it
//! (`SecurityPkg/Tcg/Tcg2Dxe`, `DxeImageVerificationLib`): the variables SecureBoot, PK, KEK, db and dbx, each as
//! `UEFI_VARIABLE_DATA` whether it exists or not, a separator, and with Secure Boot on the entry of db that let the
//! image run. Variables that only some firmware has (dbt, dbr, DeployedMode) are not known here.

use super::{
    MeasureError,
    authenticode::Signature,
    guid::Guid,
    pe::Pe,
    prediction::Measured,
    signature_list::{SHA256, SignatureListError, X509, signatures},
};
use crate::{eventlog::kind, tpm::hash::Hash};

/// `EFI_GLOBAL_VARIABLE`
const GLOBAL: Guid = Guid::new(
    0x8be4_df61,
    0x93ca,
    0x11d2,
    [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c],
);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`
const DATABASE: Guid = Guid::new(
    0xd719_b2cb,
    0x3d3a,
    0x4596,
    [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f],
);
/// Data of a separator event.
pub(super) const SEPARATOR: [u8; 4] = [0; 4];

/// Whether firmware enforces signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureBootMode {
    /// It does.
    On,
    /// It could, but does not: `SecureBoot` is 0.
    Off,
    /// Firmware built without Secure Boot: there is no such variable.
    Unsupported,
}

/// The mode and the contents of the key variables: EFI signature lists, empty where a variable does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureBoot {
    /// The mode.
    pub mode: SecureBootMode,
    /// Platform key.
    pub pk: Vec<u8>,
    /// Key exchange keys.
    pub kek: Vec<u8>,
    /// What may run.
    pub db: Vec<u8>,
    /// What may not.
    pub dbx: Vec<u8>,
}

impl SecureBoot {
    /// A mode without any keys.
    #[must_use]
    pub fn without_keys(mode: SecureBootMode) -> Self {
        Self {
            mode,
            pk: Vec::new(),
            kek: Vec::new(),
            db: Vec::new(),
            dbx: Vec::new(),
        }
    }

    /// Whether signatures are enforced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode == SecureBootMode::On
    }

    /// Whether the variables can be those of a machine in this mode.
    pub(super) fn check(&self) -> Result<(), MeasureError> {
        for (name, list) in [
            ("PK", &self.pk),
            ("KEK", &self.kek),
            ("db", &self.db),
            ("dbx", &self.dbx),
        ] {
            lists(name, list)?;
        }
        if self.is_on() && self.pk.is_empty() {
            return Err(MeasureError::NoPlatformKey);
        }
        Ok(())
    }

    /// What is measured before firmware looks for something to boot: five variables and a separator.
    pub(super) fn before_boot(&self) -> Vec<Measured> {
        let mode: &[u8] = match self.mode {
            SecureBootMode::On => &[1],
            SecureBootMode::Off => &[0],
            SecureBootMode::Unsupported => &[],
        };
        let variables = [
            (GLOBAL, "SecureBoot", mode),
            (GLOBAL, "PK", &self.pk),
            (GLOBAL, "KEK", &self.kek),
            (DATABASE, "db", &self.db),
            (DATABASE, "dbx", &self.dbx),
        ];
        let mut events: Vec<Measured> = variables
            .into_iter()
            .map(|(vendor, name, content)| {
                let data = variable_data(vendor, name, content);
                let description = format!("variable {name}");
                Measured::bytes(kind::EFI_VARIABLE_DRIVER_CONFIG, data, description)
            })
            .collect();
        events.push(Measured::bytes(
            kind::SEPARATOR,
            SEPARATOR,
            "separator after Secure Boot",
        ));
        events
    }

    /// What is measured when firmware lets `image` run: the entry of db that did. Nothing where Secure Boot is not on.
    ///
    /// EDK2 takes the first entry, in the order of db, whose certificate the signature leads to; with none, an entry
    /// with the image's digest.
    pub(super) fn authority(&self, image: &Pe<'_>) -> Result<Option<Measured>, MeasureError> {
        if !self.is_on() {
            return Ok(None);
        }
        let db = lists("db", &self.db)?;
        let mut problem = "it is not signed".to_owned();
        for pkcs7 in image.signatures()? {
            let signature = match Signature::parse(pkcs7) {
                Ok(signature) => signature,
                Err(why) => {
                    problem = format!("of its signature: {why}");
                    continue;
                }
            };
            if !is_digest_of(image, signature.digest)? {
                problem = "its signature is of other content".to_owned();
                continue;
            }
            let certificates = db.iter().filter(|entry| entry.kind == X509);
            let found = certificates
                .into_iter()
                .find(|entry| signature.is_trusted_by(entry.data));
            if let Some(entry) = found {
                return Ok(Some(authority(entry.whole, "certificate")));
            }
            problem = format!("its signer is {:?}", signature.signer());
        }
        let digest = image.authenticode(Hash::Sha256)?;
        let mut digests = db.iter().filter(|entry| entry.kind == SHA256);
        match digests.find(|entry| entry.data == digest) {
            Some(entry) => Ok(Some(authority(entry.whole, "digest"))),
            None => Err(MeasureError::NotAuthenticated { problem }),
        }
    }
}

fn authority(entry: &[u8], what: &str) -> Measured {
    let data = variable_data(DATABASE, "db", entry);
    Measured::bytes(
        kind::EFI_VARIABLE_AUTHORITY,
        data,
        format!("{what} in db that lets the image run"),
    )
}

fn is_digest_of(image: &Pe<'_>, digest: &[u8]) -> Result<bool, MeasureError> {
    let known = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    match known.into_iter().find(|hash| hash.size() == digest.len()) {
        Some(hash) => Ok(image.authenticode(hash)? == digest),
        None => Ok(false),
    }
}

fn lists<'a>(
    variable: &'static str,
    bytes: &'a [u8],
) -> Result<Vec<super::signature_list::Signature<'a>>, MeasureError> {
    signatures(bytes)
        .map_err(|source: SignatureListError| MeasureError::SignatureList { variable, source })
}

/// `UEFI_VARIABLE_DATA`: vendor, length of the name in characters, length of the content, name in UTF-16, content.
pub(super) fn variable_data(vendor: Guid, name: &str, content: &[u8]) -> Vec<u8> {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let characters = wide.len() as u64 / 2;
    [
        &vendor.0,
        characters.to_le_bytes().as_slice(),
        &(content.len() as u64).to_le_bytes(),
        &wide,
        content,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Digests in the log of every TD that was started without Secure Boot; the log has the content too.
    #[test]
    fn variables_that_do_not_exist_are_measured_as_empty() {
        let none = SecureBoot::without_keys(SecureBootMode::Unsupported);
        let digests: Vec<String> = none
            .before_boot()
            .into_iter()
            .map(|event| match event.content {
                super::super::prediction::Content::Bytes(bytes) => {
                    hex::encode(Hash::Sha384.digest(&[&bytes]))
                }
                super::super::prediction::Content::Digest(digest) => hex::encode(digest),
            })
            .collect();
        let starts: Vec<&str> = digests.iter().map(|digest| &digest[..16]).collect();
        assert_eq!(
            starts,
            [
                "9dc3a1f80bcec915",
                "6f2e3cbc14f9def8",
                "d607c0efb41c0d75",
                "08a74f8963b337ac",
                "18cc6e01f0c6ea99",
                "394341b7182cd227"
            ]
        );
    }

    #[test]
    fn secure_boot_is_not_on_without_a_platform_key() {
        let on = SecureBoot::without_keys(SecureBootMode::On);
        assert_eq!(on.check(), Err(MeasureError::NoPlatformKey));
        let off = SecureBoot::without_keys(SecureBootMode::Off);
        assert_eq!(off.check(), Ok(()));
    }
}
