//! `[[image]]` of a policy file for the launch values of confidential VMs.

use std::collections::BTreeMap;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// An image called `name` with one table of launch values, `[image.snp]` or `[image.tdx]`.
pub(super) fn image(name: &str, kind: &str, values: &BTreeMap<&'static str, String>) -> String {
    let mut launch = Table::new();
    for (key, hex) in values {
        launch.insert(key, value(hex));
    }
    let mut image = Table::new();
    image.insert("name", value(name));
    image.insert(kind, Item::Table(launch));
    let mut images = ArrayOfTables::new();
    images.push(image);
    let mut document = DocumentMut::new();
    document.insert("image", Item::ArrayOfTables(images));
    format!("\n{}", document.to_string().trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_image_with_one_table_of_values() {
        let values = BTreeMap::from([("mr_td", "aa".to_owned()), ("rtmr1", "bb".to_owned())]);
        assert_eq!(
            image("n1", "tdx", &values),
            "\n[[image]]\nname = \"n1\"\n\n[image.tdx]\nmr_td = \"aa\"\nrtmr1 = \"bb\"\n"
        );
    }
}
