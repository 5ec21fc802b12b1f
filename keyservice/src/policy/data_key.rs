//! `[[data_key]]`: who may have which data keys.

use super::Policy;

/// Name of Constellation's measurement secret, which identifies the cluster: no prefix gives it by accident.
pub(crate) const MEASUREMENT_SECRET: &str = "measurementSecret";

/// One line of who may have what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRule {
    /// `spiffe://…`, `dns:NAME` or `cn:NAME` of a client certificate, or `system:serviceaccount:NAMESPACE:NAME`.
    pub caller: String,
    /// Begin of the ids that it may ask for.
    pub prefix: String,
    /// Longest key, in bytes.
    pub max_length: u32,
    /// Whether a key that does not exist is made.
    pub create: bool,
}

impl DataKeyRule {
    fn covers(&self, id: &str) -> bool {
        id.starts_with(&self.prefix) && (id != MEASUREMENT_SECRET || self.prefix == id)
    }
}

/// Policy's yes to one data key: made by [`Policy::data_key`] only.
#[derive(Debug, PartialEq, Eq)]
pub struct DataKeyGrant {
    id: String,
    length: u32,
    create: bool,
    rule: String,
}

impl DataKeyGrant {
    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Whether it is made if it does not exist.
    #[must_use]
    pub fn create(&self) -> bool {
        self.create
    }

    /// The key of the policy file that decided.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl Policy {
    /// Whether a caller of these names may have the key of an id and length; else why not.
    pub fn data_key(
        &self,
        names: &[String],
        id: &str,
        length: u32,
    ) -> Result<DataKeyGrant, String> {
        let lines = self.data_keys.iter().enumerate();
        let covering = lines.filter(|(_, line)| names.contains(&line.caller) && line.covers(id));
        let mut longest = None;
        for (n, line) in covering {
            if length <= line.max_length {
                return Ok(DataKeyGrant {
                    id: id.to_owned(),
                    length,
                    create: line.create,
                    rule: format!("data_key.{n}"),
                });
            }
            longest = longest.max(Some(line.max_length));
        }
        Err(match longest {
            Some(most) => format!("{length} bytes are asked for, policy gives at most {most}"),
            None => format!("no [[data_key]] lets {} have {id}", names.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::PolicyError;
    use super::super::testing::{FILE, parse};
    use super::*;

    const LINES: &str = r#"
[[data_key]]
caller = "system:serviceaccount:kube-system:csi"
prefix = "pvc-"
max_length = 32
create = true
[[data_key]]
caller = "spiffe://cluster/join"
prefix = "measurementSecret"
max_length = 32
[[data_key]]
caller = "cn:backup"
prefix = ""
max_length = 96
"#;

    fn grants(caller: &str, id: &str, length: u32) -> bool {
        let policy = parse(&format!("{FILE}{LINES}")).unwrap();
        policy.data_key(&[caller.to_owned()], id, length).is_ok()
    }

    #[test]
    fn a_caller_gets_ids_of_its_prefix_up_to_its_length() {
        let csi = "system:serviceaccount:kube-system:csi";
        assert!(grants(csi, "pvc-1", 32));
        assert!(!grants(csi, "pvc-1", 33));
        assert!(!grants(csi, "pv-1", 32));
        assert!(!grants("cn:csi", "pvc-1", 32));
        assert!(grants("cn:backup", "pvc-1", 96));
    }

    #[test]
    fn the_measurement_secret_is_given_only_where_a_line_names_it() {
        assert!(grants("spiffe://cluster/join", MEASUREMENT_SECRET, 32));
        assert!(!grants("cn:backup", MEASUREMENT_SECRET, 32));
    }

    #[test]
    fn refuses_lines_that_cannot_be() {
        for (at, with) in [
            ("caller = \"cn:backup\"", "caller = \"backup\""),
            (
                "caller = \"cn:backup\"",
                "caller = \"system:serviceaccount:x\"",
            ),
            ("max_length = 96", "max_length = 0"),
            ("max_length = 96", "max_length = 1025"),
            ("prefix = \"\"", "prefix = \"a/b\""),
        ] {
            let text = format!("{FILE}{}", LINES.replacen(at, with, 1));
            let refused = parse(&text).unwrap_err();
            assert!(matches!(refused, PolicyError::Value { .. }), "{with}");
        }
    }
}
