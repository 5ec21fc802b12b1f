//! Adding an image to a policy file without touching anything else in it, comments included.

use std::collections::BTreeMap;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// Why an image cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditError {
    /// The policy is not TOML.
    #[error("parse the policy: {0}")]
    Toml(String),
    /// `image` is there and is not `[[image]]`.
    #[error("add to `image`: it is not a list of [[image]] tables")]
    NotImages,
    /// The name is taken.
    #[error("add image {0:?}: the policy has an image of this name")]
    Taken(String),
    /// The volume policy is absent.
    #[error("allow the image for [volume-policy.{0}]: the policy has no such table")]
    NoVolumePolicy(String),
    /// The volume policy's `images` is not a list.
    #[error("allow the image for [volume-policy.{0}]: its `images` is not a list")]
    NotList(String),
}

/// An image to be added.
#[derive(Debug, Clone)]
pub(super) struct Image<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Until when it may ask for keys, RFC 3339.
    pub(super) valid_until: Option<&'a str>,
    /// Values of the SHA-256 bank, in hex.
    pub(super) pcrs: &'a BTreeMap<u8, String>,
}

/// Adds the image; with `volume_policy`, also to the images of that volume policy. Returns the new text.
pub(super) fn add_image(
    text: &str,
    image: &Image<'_>,
    volume_policy: Option<&str>,
) -> Result<String, EditError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|e: toml_edit::TomlError| EditError::Toml(e.message().to_owned()))?;
    let images = document
        .entry("image")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .ok_or(EditError::NotImages)?;
    let taken = |t: &Table| t.get("name").and_then(Item::as_str) == Some(image.name);
    if images.iter().any(taken) {
        return Err(EditError::Taken(image.name.to_owned()));
    }
    images.push(table(image));
    if let Some(name) = volume_policy {
        allow(&mut document, name, image.name)?;
    }
    Ok(document.to_string())
}

/// The `[[image]]` table alone, for a policy that is put together by other means.
pub(crate) fn snippet(name: &str, pcrs: &BTreeMap<u8, String>) -> String {
    let mut images = ArrayOfTables::new();
    images.push(table(&Image {
        name,
        valid_until: None,
        pcrs,
    }));
    let mut document = DocumentMut::new();
    document.insert("image", Item::ArrayOfTables(images));
    document.to_string().trim_start().to_owned()
}

fn table(image: &Image<'_>) -> Table {
    let mut sha256 = Table::new();
    for (index, digest) in image.pcrs {
        sha256.insert(&index.to_string(), value(digest));
    }
    let mut pcrs = Table::new();
    pcrs.set_implicit(true);
    pcrs.insert("sha256", Item::Table(sha256));
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("name", value(image.name));
    if let Some(until) = image.valid_until {
        table.insert("valid_until", value(until));
    }
    table.insert("pcrs", Item::Table(pcrs));
    table
}

fn allow(document: &mut DocumentMut, policy: &str, image: &str) -> Result<(), EditError> {
    let images = document
        .get_mut("volume-policy")
        .and_then(|policies| policies.get_mut(policy))
        .and_then(Item::as_table_like_mut)
        .ok_or_else(|| EditError::NoVolumePolicy(policy.to_owned()))?
        .entry("images")
        .or_insert_with(|| value(Array::new()))
        .as_array_mut()
        .ok_or_else(|| EditError::NotList(policy.to_owned()))?;
    if !images.iter().any(|i| i.as_str() == Some(image)) {
        images.push(image);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
# who gets which key
version = 1

[[image]]
name = \"old\" # last year's
[image.pcrs.sha256]
4 = \"aa\"

[volume-policy.state]
images = [\"old\"] # these
rollback = \"refuse\" # never \"warn\" here
";

    fn pcrs() -> BTreeMap<u8, String> {
        BTreeMap::from([(11, "bb".to_owned()), (4, "cc".to_owned())])
    }

    fn image(pcrs: &BTreeMap<u8, String>) -> Image<'_> {
        Image {
            name: "new",
            valid_until: Some("2027-01-01T00:00:00Z"),
            pcrs,
        }
    }

    #[test]
    fn adds_an_image_and_keeps_every_comment() {
        let pcrs = pcrs();
        let edited = add_image(POLICY, &image(&pcrs), Some("state")).unwrap();
        assert_eq!(
            edited,
            "\
# who gets which key
version = 1

[[image]]
name = \"old\" # last year's
[image.pcrs.sha256]
4 = \"aa\"

[[image]]
name = \"new\"
valid_until = \"2027-01-01T00:00:00Z\"

[image.pcrs.sha256]
4 = \"cc\"
11 = \"bb\"

[volume-policy.state]
images = [\"old\", \"new\"] # these
rollback = \"refuse\" # never \"warn\" here
"
        );
    }

    #[test]
    fn adds_the_first_image_of_a_policy() {
        let pcrs = pcrs();
        let edited = add_image("version = 1\n", &image(&pcrs), None).unwrap();
        let parsed: toml::Table = edited.parse().unwrap();
        assert_eq!(
            parsed["image"][0]["pcrs"]["sha256"]["11"].as_str(),
            Some("bb")
        );
    }

    #[test]
    fn a_snippet_is_what_add_image_would_append() {
        let pcrs = pcrs();
        let alone = Image {
            valid_until: None,
            ..image(&pcrs)
        };
        let edited = add_image("version = 1\n", &alone, None).unwrap();
        assert_eq!(edited, format!("version = 1\n\n{}", snippet("new", &pcrs)));
    }

    #[test]
    fn refuses_taken_names_absent_policies_and_wrong_shapes() {
        let pcrs = pcrs();
        let edit = |text: &str, policy| add_image(text, &image(&pcrs), policy).unwrap_err();
        let taken = POLICY.replace("\"old\"", "\"new\"");
        assert_eq!(edit(&taken, None), EditError::Taken("new".into()));
        let absent = EditError::NoVolumePolicy("data".into());
        assert_eq!(edit(POLICY, Some("data")), absent);
        assert_eq!(edit("image = 1\n", None), EditError::NotImages);
        let no_list = POLICY.replace("[\"old\"]", "\"old\"");
        assert_eq!(
            edit(&no_list, Some("state")),
            EditError::NotList("state".into())
        );
        assert!(matches!(edit("= 1", None), EditError::Toml(_)));
    }
}
