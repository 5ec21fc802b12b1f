//! The configuration files of `dawnkey init`.

use std::net::SocketAddr;
use std::path::Path;
use uuid::Uuid;

/// Name of the file with the TPMs' CAs.
pub(super) const ROOTS: &str = "tpm-ek-roots.pem";
/// Directory for what must not stay on the service's machine.
pub(super) const OFFLINE: &str = "offline";
/// Name of the file with the recipient that every DEK is sealed to.
pub(super) const RECIPIENT: &str = "recovery-recipient.pub";

/// What the files have in common.
pub(super) struct Names<'a> {
    /// The new service's id.
    pub(super) service_id: Uuid,
    /// First name in the service's certificate.
    pub(super) name: &'a str,
    /// Address for nodes.
    pub(super) unlock: SocketAddr,
    /// Address for operators.
    pub(super) admin: SocketAddr,
    /// Address for health and metrics.
    pub(super) metrics: SocketAddr,
    /// Salt of the key derivation; not a secret, but lost with it are all keys.
    pub(super) salt: [u8; 32],
    /// Whether [`ROOTS`] is part of the set.
    pub(super) roots: bool,
    /// Public line of the key that signs grants for waiting nodes.
    pub(super) grant_key: String,
}

impl Names<'_> {
    /// `keyservice.toml`.
    pub(super) fn keyservice(&self) -> String {
        format!(
            r#"# Key service. Paths are relative to this file.
service_id = "{id}"

[listen]
unlock = "{unlock}"    # nodes: attested TLS
admin = "{admin}"     # operators: TLS with a certificate of admin_ca
metrics = "{metrics}"   # health and Prometheus metrics, plain HTTP

[tls]
certificate = "server.pem"
key = "server.key"
admin_ca = "admin-ca.pem"

[store]
kind = "redb"
path = "dawnkey.redb"

[kek]
recovery_recipient = "{RECIPIENT}"   # every DEK is sealed to it, too: its private key opens them when this KEK is lost

# Every volume's key is derived from the master secret and this salt. Keep a copy of both: without them all data is lost.
[[kek.provider]]
name = "cluster"
kind = "cluster"
salt = "{salt}"
master_secret = "fd"              # or "credential:NAME", a file NAME in $CREDENTIALS_DIRECTORY; or "operator", see docs/kms/cluster.md

[policy]
file = "policy.toml"

[audit]
file = "audit.log"

# Certificates, revocation lists and TCB statements of AMD and Intel; docs/endorsements.md.
# [endorsements]
# path = "endorsements"
# online = true    # whether this service may ask the vendors
"#,
            id = self.service_id,
            unlock = self.unlock,
            admin = self.admin,
            metrics = self.metrics,
            salt = hex::encode(self.salt),
        )
    }

    /// `policy.toml`: complete but for the image and, without `--tpm-ek-root`, the roots.
    pub(super) fn policy(&self) -> String {
        let roots = match self.roots {
            true => format!("[\"{ROOTS}\"]"),
            false => "[]".to_owned(),
        };
        format!(
            r#"# Who gets which key. Check with `dawnkey policy lint policy.toml`, test with `dawnkey policy explain`.
version = 1

[roots]
tpm_ek = {roots:<24} # PEM files with the CAs of your TPMs' endorsement keys; needed

# Images come from `dawnkey measure uki` and `dawnkey policy add-image`, which write:
#
# [[image]]
# name = "node-2026-11"
# valid_until = "2027-11-01T00:00:00Z"    # optional
# [image.pcrs.sha256]
# 4 = "…"                         # boot loader or unified kernel image
# 11 = "…"                        # its sections
# 12 = "…"                        # kernel arguments from outside the image

[volume-policy.state]
trust_class = "hypervisor"        # a vTPM: the hypervisor is trusted
images = []                       # names of images that may open these volumes
pcrs_pre_cap = [15]               # must be all zero: nothing has had the key in this boot
enrol = "endorsed"                # unknown TPM keys: when a root of tpm_ek endorses them, or "never"
rollback = "refuse"               # a header older than the last confirmed: "refuse" or "warn"
instances = []                    # the only TPMs that may have these volumes; empty: the first to provision one owns it
"#
        )
    }

    /// `admin.toml`.
    pub(super) fn admin(&self) -> String {
        format!(
            r#"# Profile of `dawnkey`. Paths are relative to this file.
endpoint = "{endpoint}"
name = "{name}"
ca = "ca.pem"
certificate = "admin.pem"
key = "admin.key"
"#,
            endpoint = self.endpoint(self.admin),
            name = self.name,
        )
    }

    /// `agent.toml.example`.
    pub(super) fn agent(&self) -> String {
        format!(
            r#"# /etc/dawnkey/agent.toml of a node. It must be part of the measured image.
node_name = "node-1"

[service]
endpoints = ["{endpoint}"]
name = "{name}"
ca_file = "/etc/dawnkey/ca.pem"   # copy of ca.pem, in the measured image
budget_seconds = 60
attempt_seconds = 10

# When no service answers: an operator with offline/grant.key can open the volumes of a node that proves itself to
# `dawnkey recover`; docs/recovery.md.
# [recovery]
# keys = ["{grant_key}"]
# listen = "[::]:7444"

[tpm]
tcti = "device:/dev/tpmrm0"
event_log = "/sys/kernel/security/tpm0/binary_bios_measurements"

[[volume]]
id = "00000000-0000-0000-0000-000000000000"   # as `dawnkey volume create` printed it
name = "state"                    # opens as /dev/mapper/state
device = "/dev/vdb"               # may be formatted when the service grants it; leave out to forbid
integrity = "hmac-sha256"
filesystem = "ext4"
"#,
            endpoint = self.endpoint(self.unlock),
            name = self.name,
            grant_key = self.grant_key,
        )
    }

    /// Where clients find a listener: the wildcard address is no destination, the certificate's name is.
    fn endpoint(&self, listener: SocketAddr) -> String {
        if !listener.ip().is_unspecified() {
            return listener.to_string();
        }
        match self.name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]:{}", listener.port()),
            Err(_) => format!("{}:{}", self.name, listener.port()),
        }
    }
}

/// What to do after `dawnkey init`.
pub(super) fn next_steps(directory: &Path, roots: bool) -> String {
    let dir = directory.display();
    let trust = if roots {
        "Add an image to the policy:"
    } else {
        "Name the CAs of your TPMs in [roots] tpm_ek, and add an image to the policy:"
    };
    format!(
        "
next:
  1. Move ca.key, admin-ca.key and the directory {OFFLINE} to where only you have them; the service needs none of them.
       {OFFLINE}/recovery.key opens every volume whose record is at hand when the master secret or a KMS is lost;
       {OFFLINE}/grant.key lets `dawnkey recover` open a node that no service answers.
  2. Make the master secret, and keep a copy of it in a safe: without it all data is lost.
       dawnkey master-secret new | systemd-creds encrypt --name=master-secret - {dir}/master-secret.cred
  3. {trust}
       dawnkey measure uki IMAGE --json > image.json
       dawnkey policy add-image {dir}/policy.toml --name NAME --from image.json --volume-policy state
       dawnkey policy lint {dir}/policy.toml
  4. Start the service:
       systemd-creds decrypt --name=master-secret {dir}/master-secret.cred - |
         dawnkey-keyservice --config {dir}/keyservice.toml --master-secret-fd 0
     or, as a unit with LoadCredentialEncrypted=master-secret:{dir}/master-secret.cred, set
     master_secret = \"credential:master-secret\" in keyservice.toml and leave --master-secret-fd out.
  5. Create a volume and put its id into the node's agent.toml (see agent.toml.example):
       dawnkey volume create --policy state --profile {dir}/admin.toml
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(unlock: &str, name: &'static str) -> Names<'static> {
        Names {
            service_id: Uuid::from_u128(1),
            name,
            unlock: unlock.parse().unwrap(),
            admin: "127.0.0.1:8444".parse().unwrap(),
            metrics: "127.0.0.1:9464".parse().unwrap(),
            salt: [7; 32],
            roots: name == "ks",
            grant_key: "dawnkey-grant-1:00".to_owned(),
        }
    }

    #[test]
    fn every_template_is_toml() {
        let names = names("0.0.0.0:8443", "ks.example.org");
        for text in [
            names.keyservice(),
            names.policy(),
            names.admin(),
            names.agent(),
        ] {
            text.parse::<toml::Table>().unwrap();
            // What is switched off is right as well, once it is switched on.
            let on = text.replace("# [recovery]\n# keys", "[recovery]\nkeys");
            on.replace("\n# listen", "\nlisten")
                .parse::<toml::Table>()
                .unwrap();
        }
    }

    #[test]
    fn clients_of_a_wildcard_listener_are_sent_to_the_certificates_name() {
        let agent = names("0.0.0.0:8443", "ks.example.org").agent();
        assert!(agent.contains(r#"endpoints = ["ks.example.org:8443"]"#));
        let agent = names("[::]:8443", "fd00::1").agent();
        assert!(agent.contains(r#"endpoints = ["[fd00::1]:8443"]"#));
        let agent = names("10.0.0.1:1", "ks").agent();
        assert!(agent.contains(r#"endpoints = ["10.0.0.1:1"]"#));
    }
}
