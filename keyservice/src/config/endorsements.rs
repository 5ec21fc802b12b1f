//! `[endorsements]`: where vendors' certificates and statements are kept, and whether they are fetched.

use dawnkey_endorse::{OnlineSettings, Settings};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    path: PathBuf,
    /// No default: whether a key service speaks to the internet is its operator's decision.
    online: bool,
    amd_url: Option<String>,
    intel_url: Option<String>,
    intel_root_crl_url: Option<String>,
    ca_bundle: Option<PathBuf>,
    #[serde(default = "refresh_hours")]
    refresh_hours: u32,
}

fn refresh_hours() -> u32 {
    12
}

impl Section {
    /// Settings with absolute paths; or the key that is wrong, and how.
    pub(super) fn settings(
        self,
        at: impl Fn(PathBuf) -> PathBuf,
    ) -> Result<Settings, (&'static str, String)> {
        if !(1..=24 * 7).contains(&self.refresh_hours) {
            let problem = "must be 1 to 168; statements of vendors live for a month";
            return Err(("endorsements.refresh_hours", problem.to_owned()));
        }
        let usual = OnlineSettings::default();
        let online = OnlineSettings {
            amd_url: self.amd_url.unwrap_or(usual.amd_url),
            intel_url: self.intel_url.unwrap_or(usual.intel_url),
            intel_root_crl_url: self.intel_root_crl_url.unwrap_or(usual.intel_root_crl_url),
            ca_bundle: self.ca_bundle.map_or(usual.ca_bundle, &at),
        };
        online
            .services()
            .map_err(|e| ("endorsements", e.to_string()))?;
        Ok(Settings {
            path: at(self.path),
            online: self.online.then_some(online),
            refresh: Duration::from_secs(u64::from(self.refresh_hours) * 3600),
        })
    }
}
