//! A message of a KMIP server: reading it is total and bounded, what decodes encodes to the same bytes, and looking into it
//! finds what is there only.
#![no_main]

use dawnkey_kek::kmip::ttlv::{Item, MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(item) = Item::decode(bytes) else {
        return;
    };
    assert!(bytes.len() <= MAX);
    assert_eq!(item.encode().as_slice(), bytes);
    look(&item);
});

/// Every way in which answers are read.
fn look(item: &Item) {
    for child in item.items() {
        let (tag, first) = (child.tag, item.child(child.tag));
        assert!(first.is_some_and(|first| first.tag == tag));
        let forms = [
            item.text_of(tag).is_some(),
            item.bytes_of(tag).is_some(),
            item.enumeration_of(tag).is_some(),
            item.integer_of(tag).is_some(),
        ];
        assert!(forms.iter().filter(|has| **has).count() <= 1);
        look(child);
    }
}
