//! What a URI becomes: a section of the service's configuration, and perhaps a secret that goes elsewhere.

use super::uri::{Uri, UriError};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use zeroize::Zeroizing;

/// A section of the configuration.
#[derive(Debug)]
pub(super) struct Section {
    /// `[store]`.
    header: &'static str,
    fields: Vec<(&'static str, String)>,
    /// What an operator has to know or to decide.
    pub(super) notes: Vec<&'static str>,
    /// What may not stand in a configuration.
    pub(super) secret: Option<Secret>,
}

/// The content of a credential file.
pub(super) struct Secret {
    pub(super) content: Zeroizing<String>,
    /// Which field names the file; none when the file is not the place that the service reads.
    field: Option<&'static str>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

const STATIC_KEYS: &str = "static keys: give the service the platform's identity instead (drop `credentials`) and revoke them";
const NO_AAD: &str =
    "Key Vault takes no associated data: read docs/kms/azure.md, then set allow_without_aad = true";
const MASTER_SECRET: &str = "encrypt the file with `systemd-creds encrypt --name=master-secret`, name the result in LoadCredentialEncrypted=, \
     and delete the file";

impl Section {
    fn new(header: &'static str, fields: &[(&'static str, &str)]) -> Self {
        let own = |&(name, value): &(&'static str, &str)| (name, value.to_owned());
        Self {
            header,
            fields: fields.iter().map(own).collect(),
            notes: Vec::new(),
            secret: None,
        }
    }

    /// The section of a URI. `aws_key` is the ARN of the key where the URI names it in another way.
    pub(super) fn of(uri: &Uri, aws_key: Option<&str>) -> Result<Self, UriError> {
        match (uri.scheme.as_str(), uri.provider.as_str()) {
            ("kms", "aws") => aws_kms(uri, aws_key),
            ("kms", "azure") => azure_key_vault(uri),
            ("kms", "gcp") => gcp_kms(uri),
            ("kms", "cluster-kms") => cluster(uri),
            ("kms", _) => Err(UriError::Provider("aws, azure, gcp, cluster-kms")),
            (_, "aws") => s3(uri),
            (_, "azure") => azure_blob(uri),
            (_, "gcp") => gcs(uri),
            (_, "no-store") => Ok(no_store()),
            _ => Err(UriError::Provider("aws, azure, gcp, no-store")),
        }
    }

    /// Names the file that the secret was written to.
    pub(super) fn written_to(&mut self, path: &str) {
        if let Some(field) = self.secret.as_ref().and_then(|secret| secret.field) {
            self.fields.push((field, format!("file:{path}")));
        }
    }

    /// As TOML, with the notes as comments above.
    pub(super) fn toml(&self) -> String {
        let notes = self.notes.iter().map(|note| format!("# {note}\n"));
        let fields = self.fields.iter().map(|(name, value)| {
            let value = toml::Value::String(value.clone());
            format!("{name} = {value}\n")
        });
        notes
            .chain([format!("{}\n", self.header)])
            .chain(fields)
            .collect()
    }

    fn with_secret(
        mut self,
        field: Option<&'static str>,
        content: String,
        note: &'static str,
    ) -> Self {
        let content = Zeroizing::new(content);
        self.secret = Some(Secret { content, field });
        self.notes.push(note);
        self
    }

    /// Credentials of AWS, where the URI has them.
    fn with_aws_keys(self, uri: &Uri) -> Result<Self, UriError> {
        if uri.get("accessKeyID").is_none() && uri.get("accessKey").is_none() {
            return Ok(self);
        }
        let (id, secret) = (
            quoted(uri.need("accessKeyID")?),
            quoted(uri.need("accessKey")?),
        );
        let content = format!("access_key_id = {}\nsecret_access_key = {}\n", *id, *secret);
        Ok(self.with_secret(Some("credentials"), content, STATIC_KEYS))
    }

    /// An application of Azure with a secret, where the URI has one.
    fn with_azure_secret(self, uri: &Uri) -> Result<Self, UriError> {
        let names = ["tenantID", "clientID", "clientSecret"];
        if names.iter().all(|name| uri.get(name).is_none()) {
            return Ok(self);
        }
        let [tenant, client, secret] = names.map(|name| uri.need(name).map(quoted));
        let content = format!(
            "tenant_id = {}\nclient_id = {}\nclient_secret = {}\n",
            *tenant?, *client?, *secret?
        );
        Ok(self.with_secret(Some("credentials"), content, STATIC_KEYS))
    }

    /// A credential file of Google's that is there already.
    fn with_google_file(mut self, uri: &Uri) -> Result<Self, UriError> {
        match uri.get("credentialsPath") {
            None => {}
            Some(path) if path.starts_with('/') => {
                self.fields.push(("credentials", format!("file:{path}")));
            }
            Some(_) => {
                let right = "an absolute path";
                return Err(UriError::Value {
                    name: "credentialsPath",
                    right,
                });
            }
        }
        Ok(self)
    }
}

/// A string of TOML.
fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(toml::Value::String(text.to_owned()).to_string())
}

fn aws_kms(uri: &Uri, aws_key: Option<&str>) -> Result<Section, UriError> {
    uri.only(&["region", "accessKeyID", "accessKey", "keyName"])?;
    let region = uri.need("region")?;
    let named = aws_key.unwrap_or(uri.need("keyName")?);
    let wrong = |right| UriError::Value {
        name: "keyName",
        right,
    };
    if !named.starts_with("arn:") || !named.contains(":key/") {
        return Err(wrong(
            "an ARN; give it with --aws-key, `aws kms describe-key --key-id …` tells it",
        ));
    }
    if named.split(':').nth(3) != Some(region) {
        return Err(wrong("an ARN in the region of the URI"));
    }
    let fields = [("name", "imported"), ("kind", "aws-kms"), ("key", named)];
    Section::new("[[kek.provider]]", &fields).with_aws_keys(uri)
}

fn azure_key_vault(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&[
        "tenantID",
        "clientID",
        "clientSecret",
        "vaultName",
        "vaultType",
        "keyName",
    ])?;
    let (vault, domain, key) = (
        uri.need("vaultName")?,
        uri.need("vaultType")?,
        uri.need("keyName")?,
    );
    let key = format!("https://{vault}.{domain}/keys/{key}");
    let fields = [
        ("name", "imported"),
        ("kind", "azure-key-vault"),
        ("key", &key),
    ];
    let mut section = Section::new("[[kek.provider]]", &fields).with_azure_secret(uri)?;
    if section.secret.is_some() {
        section.fields.push(("identity", "secret".into()));
    }
    if !domain.starts_with("managedhsm.") {
        section.notes.push(NO_AAD);
    }
    Ok(section)
}

fn gcp_kms(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&[
        "projectID",
        "location",
        "keyRing",
        "credentialsPath",
        "keyName",
    ])?;
    let (project, location) = (uri.need("projectID")?, uri.need("location")?);
    let (ring, key) = (uri.need("keyRing")?, uri.need("keyName")?);
    let key = format!("projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}");
    let fields = [
        ("name", "imported"),
        ("kind", "gcp-kms"),
        ("key", key.as_str()),
    ];
    Section::new("[[kek.provider]]", &fields).with_google_file(uri)
}

fn cluster(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&["key", "salt"])?;
    let decode = |name: &'static str| {
        let padded = BASE64_URL_SAFE.decode(uri.need(name)?).map(Zeroizing::new);
        padded.map_err(|_| UriError::Value {
            name,
            right: "URL-safe base64 with padding",
        })
    };
    let (key, salt) = (decode("key")?, decode("salt")?);
    if salt.len() != 32 {
        return Err(UriError::Value {
            name: "salt",
            right: "32 bytes",
        });
    }
    if !(16..=64).contains(&key.len()) {
        return Err(UriError::Value {
            name: "key",
            right: "16 to 64 bytes",
        });
    }
    let salt = hex::encode(salt.as_slice());
    let fields = [
        ("name", "imported"),
        ("kind", "cluster"),
        ("salt", salt.as_str()),
        ("master_secret", "credential:master-secret"),
    ];
    let content = format!("{}\n", *Zeroizing::new(hex::encode(key.as_slice())));
    Ok(Section::new("[[kek.provider]]", &fields).with_secret(None, content, MASTER_SECRET))
}

fn s3(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&["bucket", "region", "accessKeyID", "accessKey"])?;
    let fields = [
        ("kind", "s3"),
        ("bucket", uri.need("bucket")?),
        ("region", uri.need("region")?),
    ];
    Section::new("[store]", &fields).with_aws_keys(uri)
}

fn azure_blob(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&[
        "account",
        "container",
        "tenantID",
        "clientID",
        "clientSecret",
    ])?;
    let (account, container) = (uri.need("account")?, uri.need("container")?);
    let fields = [
        ("kind", "azure-blob"),
        ("account", account),
        ("container", container),
    ];
    Section::new("[store]", &fields).with_azure_secret(uri)
}

fn gcs(uri: &Uri) -> Result<Section, UriError> {
    uri.only(&["projectID", "bucket", "credentialsPath"])?;
    let fields = [("kind", "gcs"), ("bucket", uri.need("bucket")?)];
    Section::new("[store]", &fields).with_google_file(uri)
}

fn no_store() -> Section {
    let fields = [("kind", "redb"), ("path", "dawnkey.redb")];
    let mut section = Section::new("[store]", &fields);
    section
        .notes
        .push("the URI names no store; records of volumes need one, here a file of the service");
    section
}

#[cfg(test)]
#[path = "section_tests.rs"]
mod tests;
