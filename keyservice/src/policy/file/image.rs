//! `[[image]]`: reference values, checked for their sizes.

use super::{LAST_PCR, PolicyError, bytes, time, value};
use crate::policy::{Image, Register};
use crate::volume::Digest32;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

type Values = BTreeMap<Register, Vec<Vec<u8>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    name: String,
    valid_from: Option<String>,
    valid_until: Option<String>,
    pcrs: Option<Banks>,
    snp: Option<Snp>,
    tdx: Option<Tdx>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Banks {
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snp {
    measurement: Option<String>,
    measurements: Option<Vec<String>>,
    host_data: Option<String>,
    id_key_digests: Option<Vec<String>>,
    author_key_digests: Option<Vec<String>>,
    family_id: Option<String>,
    image_id: Option<String>,
    #[serde(default)]
    min_guest_svn: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tdx {
    mr_td: String,
    rtmr0: Option<String>,
    rtmr1: Option<String>,
    rtmr2: Option<String>,
    rtmr3: Option<String>,
    mr_config_id: Option<String>,
    mr_owner: Option<String>,
    mr_owner_config: Option<String>,
}

pub(super) fn read_all(
    path: &Path,
    entries: Vec<Entry>,
) -> Result<BTreeMap<String, Image>, PolicyError> {
    let mut images = BTreeMap::new();
    for entry in entries {
        let image = read(path, entry)?;
        let name = image.name.clone();
        if images.insert(name.clone(), image).is_some() {
            return Err(PolicyError::DuplicateImage {
                path: path.to_owned(),
                name,
            });
        }
    }
    Ok(images)
}

fn read(path: &Path, entry: Entry) -> Result<Image, PolicyError> {
    let name = entry.name;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(value(path, "image.name".into(), "must be printable text"));
    }
    let at = format!("image.{name}");
    let mut values = Values::new();
    if let Some(banks) = entry.pcrs {
        pcrs(path, &at, banks, &mut values)?;
    }
    let min_guest_svn = entry.snp.as_ref().map_or(0, |snp| snp.min_guest_svn);
    if let Some(table) = entry.snp {
        snp(path, &at, table, &mut values)?;
    }
    if let Some(table) = entry.tdx {
        tdx(path, &at, table, &mut values)?;
    }
    if values.is_empty() {
        let problem = "an image without PCRs, `snp` or `tdx` values would match every boot";
        return Err(value(path, at, problem));
    }
    let date = |field: &str, text: Option<String>| {
        let read = |text: String| time(path, format!("{at}.{field}"), &text);
        text.map(read).transpose()
    };
    let valid_from = date("valid_from", entry.valid_from)?;
    let valid_until = date("valid_until", entry.valid_until)?;
    if let (Some(from), Some(until)) = (valid_from, valid_until)
        && until <= from
    {
        let problem = format!("{until} is not after valid_from, {from}");
        return Err(value(path, format!("{at}.valid_until"), problem));
    }
    Ok(Image {
        name,
        valid_from,
        valid_until,
        values,
        min_guest_svn,
    })
}

fn pcrs(path: &Path, at: &str, banks: Banks, values: &mut Values) -> Result<(), PolicyError> {
    if banks.sha256.is_empty() {
        let key = format!("{at}.pcrs.sha256");
        return Err(value(path, key, "names no PCR; leave the table out"));
    }
    for (index, digest) in banks.sha256 {
        let key = format!("{at}.pcrs.sha256.{index}");
        let number = index
            .parse::<u8>()
            .ok()
            .filter(|n| *n <= LAST_PCR && n.to_string() == index)
            .ok_or_else(|| value(path, key.clone(), "a PCR is a number from 0 to 23"))?;
        let digest: Digest32 = digest
            .to_ascii_lowercase()
            .parse()
            .map_err(|e| value(path, key, format!("{e}, as a SHA-256 PCR is")))?;
        values.insert(Register::Pcr(number), vec![digest.0.to_vec()]);
    }
    Ok(())
}

/// Puts the values of one register, all of `N` bytes.
struct Put<'a> {
    path: &'a Path,
    at: &'a str,
    values: &'a mut Values,
}

impl Put<'_> {
    fn put<const N: usize>(
        &mut self,
        register: Register,
        texts: &[String],
    ) -> Result<(), PolicyError> {
        let key = format!("{}.{}", self.at, register.key());
        if texts.is_empty() {
            return Err(value(
                self.path,
                key,
                "is an empty list, which nothing meets; leave it out",
            ));
        }
        let mut all = Vec::new();
        for text in texts {
            all.push(bytes::<N>(self.path, &key, text)?.to_vec());
        }
        self.values.insert(register, all);
        Ok(())
    }

    fn one<const N: usize>(
        &mut self,
        register: Register,
        text: Option<String>,
    ) -> Result<(), PolicyError> {
        text.map_or(Ok(()), |text| self.put::<N>(register, &[text]))
    }

    /// Digests of keys: all zero is what a launch without a key has.
    fn keys(&mut self, register: Register, texts: Option<Vec<String>>) -> Result<(), PolicyError> {
        let Some(texts) = texts else { return Ok(()) };
        self.put::<48>(register, &texts)?;
        let none = |digest: &Vec<u8>| digest.iter().all(|byte| *byte == 0);
        if self.values.get(&register).into_iter().flatten().any(none) {
            let key = format!("{}.{}", self.at, register.key());
            return Err(value(self.path, key, "all zero is the digest of no key"));
        }
        Ok(())
    }
}

fn snp(path: &Path, at: &str, table: Snp, values: &mut Values) -> Result<(), PolicyError> {
    let measurements = match (table.measurement, table.measurements) {
        (Some(one), None) => vec![one],
        (None, Some(several)) => several,
        _ => {
            let key = format!("{at}.snp.measurement");
            let problem = "give either `measurement` or the list `measurements`";
            return Err(value(path, key, problem));
        }
    };
    let mut put = Put { path, at, values };
    put.put::<48>(Register::SnpMeasurement, &measurements)?;
    put.one::<32>(Register::SnpHostData, table.host_data)?;
    put.keys(Register::SnpIdKey, table.id_key_digests)?;
    put.keys(Register::SnpAuthorKey, table.author_key_digests)?;
    put.one::<16>(Register::SnpFamilyId, table.family_id)?;
    put.one::<16>(Register::SnpImageId, table.image_id)
}

fn tdx(path: &Path, at: &str, table: Tdx, values: &mut Values) -> Result<(), PolicyError> {
    let mut put = Put { path, at, values };
    put.put::<48>(Register::MrTd, &[table.mr_td])?;
    for (number, text) in (0u8..).zip([table.rtmr0, table.rtmr1, table.rtmr2, table.rtmr3]) {
        put.one::<48>(Register::Rtmr(number), text)?;
    }
    put.one::<48>(Register::MrConfigId, table.mr_config_id)?;
    put.one::<48>(Register::MrOwner, table.mr_owner)?;
    put.one::<48>(Register::MrOwnerConfig, table.mr_owner_config)
}
