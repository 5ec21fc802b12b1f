//! `[kubernetes_kms]`: the Kubernetes KMS plugin.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Longest path of a Unix socket, without the zero byte at its end.
const MAX_PATH: usize = 107;

/// The Kubernetes KMS plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesKms {
    /// Its socket.
    pub socket: PathBuf,
    /// Users whose processes may connect.
    pub uids: BTreeSet<u32>,
    /// How long an unwrapped key is used before the KEK is asked again.
    pub cache: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    socket: PathBuf,
    #[serde(default = "root")]
    uids: Vec<u32>,
    #[serde(default = "ten_minutes")]
    cache_seconds: u32,
}

fn root() -> Vec<u32> {
    vec![0]
}

const fn ten_minutes() -> u32 {
    600
}

impl Section {
    /// The settings, or the key that cannot be so and why.
    pub(super) fn settings(
        self,
        at: impl Fn(PathBuf) -> PathBuf,
    ) -> Result<KubernetesKms, (&'static str, String)> {
        let socket = at(self.socket);
        let length = socket.as_os_str().len();
        if length > MAX_PATH {
            let problem =
                format!("{length} bytes are too long for a socket; at most {MAX_PATH} are");
            return Err(("kubernetes_kms.socket", problem));
        }
        if self.uids.is_empty() {
            let problem = "must name the API server's user, [0] where it runs as root";
            return Err(("kubernetes_kms.uids", problem.into()));
        }
        Ok(KubernetesKms {
            socket,
            uids: self.uids.into_iter().collect(),
            cache: Duration::from_secs(self.cache_seconds.into()),
        })
    }
}
