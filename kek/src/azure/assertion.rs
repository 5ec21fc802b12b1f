//! Proof of an application's certificate: a JWT (RFC 7519) signed PS256 that stands for a client secret.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PSS_SHA256, RsaKeyPair};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// How long an assertion holds; it is used at once.
const SECONDS: u64 = 300;

/// A certificate, its private key, and who shows it to whom.
pub(super) struct Certificate {
    key: RsaKeyPair,
    thumbprint: String,
    audience: String,
    client: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a PEM file with a certificate and its RSA key. An error says what is missing.
    pub(super) fn new(
        pem: &[u8],
        authority: &str,
        tenant: &str,
        client: &str,
    ) -> Result<Self, &'static str> {
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if !plain(tenant) || !plain(client) {
            return Err("`tenant` and `client` are ids or domains");
        }
        let certificate =
            CertificateDer::from_pem_slice(pem).map_err(|_| "no certificate in PEM")?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| "no private key in PEM (PKCS#8)")?;
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| "not an RSA key")?;
        Ok(Self {
            key,
            thumbprint: BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate)),
            audience: format!("{authority}/{tenant}/oauth2/v2.0/token"),
            client: client.to_owned(),
        })
    }

    /// An assertion that holds from `now`, in seconds of Unix time.
    fn sign(&self, now: u64) -> Result<String, &'static str> {
        let encode = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
        let thumbprint = &self.thumbprint;
        let header = format!(r#"{{"alg":"PS256","typ":"JWT","x5t#S256":"{thumbprint}"}}"#);
        let claims = format!(
            r#"{{"aud":"{}","iss":"{client}","sub":"{client}","jti":"{}","nbf":{now},"exp":{}}}"#,
            self.audience,
            Uuid::new_v4(),
            now + SECONDS,
            client = self.client,
        );
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| "the key does not sign")?;
        Ok(format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature)
        ))
    }
}

impl ClientAssertion for Certificate {
    fn secret<'a, 'b, 'c>(
        &'a self,
        _options: Option<ClientMethodOptions<'b>>,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<String>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let signed = self.sign(now.as_secs());
        Box::pin(async move { signed.map_err(|e| Error::with_message(ErrorKind::Credential, e)) })
    }
}
