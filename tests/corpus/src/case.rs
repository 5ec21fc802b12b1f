//! A case and its files.

use std::path::{Path, PathBuf};

use dawnkey_attest::{snp::certs::documents, verify::UnixTime};
use jiff::Timestamp;
use serde_json::Value;

/// Why a folder, or a case of it, cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file cannot be read.
    #[error("{role}: cannot read {path}: {source}", path = .path.display())]
    File {
        /// Role of the file.
        role: String,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The list of cases is not what it should be.
    #[error("{path}: {problem}", path = .path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A field of a case is not what it should be.
    #[error("{field}: {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

/// A [`CorpusError::Field`].
pub fn field(field: impl Into<String>, problem: impl ToString) -> CorpusError {
    CorpusError::Field {
        field: field.into(),
        problem: problem.to_string(),
    }
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    dir: PathBuf,
    json: Value,
}

impl Case {
    /// All cases of a folder, in its order.
    ///
    /// # Errors
    /// [`CorpusError::File`] and [`CorpusError::List`].
    pub fn load_all(dir: &Path) -> Result<Vec<Self>, CorpusError> {
        let path = dir.join("cases.json");
        let text = std::fs::read(&path).map_err(|source| CorpusError::File {
            role: "list of cases".to_owned(),
            path: path.clone(),
            source,
        })?;
        let list = |problem: String| CorpusError::List {
            path: path.clone(),
            problem,
        };
        let json: Value = serde_json::from_slice(&text).map_err(|error| list(error.to_string()))?;
        let cases = json.get("cases").unwrap_or(&json).as_array();
        let cases = cases.ok_or_else(|| list("it has no list of cases".to_owned()))?;
        let named = |case: &Value| case["id"].is_string() && case["family"].is_string();
        if !cases.iter().all(named) {
            return Err(list("a case has no id or no family".to_owned()));
        }
        let with_dir = |json: &Value| Self {
            dir: dir.to_owned(),
            json: json.clone(),
        };
        Ok(cases.iter().map(with_dir).collect())
    }

    /// Its family.
    pub fn family(&self) -> &str {
        self.json["family"].as_str().unwrap_or_default()
    }

    /// Family and id, for reports.
    pub fn name(&self) -> String {
        let id = self.json["id"].as_str().unwrap_or_default();
        let family = self.family();
        match id.strip_prefix(family) {
            Some(rest) if rest.starts_with('/') => id.to_owned(),
            _ => format!("{family}/{id}"),
        }
    }

    /// What must come of it.
    pub fn expected(&self) -> &Value {
        &self.json["expected"]
    }

    /// What is demanded beyond the defaults.
    pub fn policy(&self) -> &Value {
        &self.json["policy"]
    }

    /// Roles of its files.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        let files = self.json["files"].as_object();
        files.into_iter().flatten().map(|(role, _)| role.as_str())
    }

    /// The file of a role, if the case has one.
    ///
    /// # Errors
    /// [`CorpusError::File`] where it is named but cannot be read.
    pub fn file(&self, role: &str) -> Result<Option<Vec<u8>>, CorpusError> {
        let Some(path) = self.json["files"][role].as_str() else {
            return Ok(None);
        };
        let path = self.dir.join(path);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(CorpusError::File {
                role: role.to_owned(),
                path,
                source,
            }),
        }
    }

    /// A file that the family cannot do without.
    ///
    /// # Errors
    /// As [`Case::file`], and [`CorpusError::Field`] where the role is missing.
    pub fn needed(&self, role: &str) -> Result<Vec<u8>, CorpusError> {
        let missing = || field("files", format!("the role {role} is missing"));
        self.file(role)?.ok_or_else(missing)
    }

    /// The DER documents in the files of some roles, whether they are PEM or DER.
    ///
    /// # Errors
    /// As [`Case::file`], and [`CorpusError::Field`] for damaged PEM.
    pub fn ders(&self, roles: &[&str]) -> Result<Vec<Vec<u8>>, CorpusError> {
        let mut found = Vec::new();
        for role in roles {
            if let Some(bytes) = self.file(role)? {
                found.extend(documents(&bytes).map_err(|error| field(*role, error))?);
            }
        }
        Ok(found)
    }

    /// The first of [`Case::ders`].
    ///
    /// # Errors
    /// As [`Case::ders`].
    pub fn der(&self, role: &str) -> Result<Option<Vec<u8>>, CorpusError> {
        Ok(self.ders(&[role])?.into_iter().next())
    }

    /// The time of judging.
    ///
    /// # Errors
    /// [`CorpusError::Field`] where it is not RFC 3339.
    pub fn time(&self) -> Result<Timestamp, CorpusError> {
        let text = self.json["verify_time"].as_str().unwrap_or_default();
        text.parse()
            .map_err(|error: jiff::Error| field("verify_time", error))
    }

    /// [`Case::time`] as the entry point takes it.
    ///
    /// # Errors
    /// As [`Case::time`]; times before 1970 are refused.
    pub fn now(&self) -> Result<UnixTime, CorpusError> {
        let seconds = u64::try_from(self.time()?.as_second());
        let seconds = seconds.map_err(|_| field("verify_time", "it is before 1970"))?;
        Ok(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            seconds,
        )))
    }
}
