//! Requests and answers of KMIP 1.4, one operation each.

use super::ttlv::{Item, Malformed, Value};
use zeroize::Zeroizing;

/// The version that is spoken: the first whose Encrypt and Decrypt carry associated data and tag.
pub(super) const VERSION: (i32, i32) = (1, 4);

/// Tags (KMIP 1.4, clause 9.1.3.1).
pub(super) mod tag {
    pub const ATTRIBUTE: u32 = 0x42_0008;
    pub const ATTRIBUTE_NAME: u32 = 0x42_000a;
    pub const ATTRIBUTE_VALUE: u32 = 0x42_000b;
    pub const AUTHENTICATION: u32 = 0x42_000c;
    pub const BATCH_COUNT: u32 = 0x42_000d;
    pub const BATCH_ITEM: u32 = 0x42_000f;
    pub const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
    pub const CREDENTIAL: u32 = 0x42_0023;
    pub const CREDENTIAL_TYPE: u32 = 0x42_0024;
    pub const CREDENTIAL_VALUE: u32 = 0x42_0025;
    pub const ALGORITHM: u32 = 0x42_0028;
    pub const PARAMETERS: u32 = 0x42_002b;
    pub const IV: u32 = 0x42_003d;
    pub const NAME_TYPE: u32 = 0x42_0054;
    pub const NAME_VALUE: u32 = 0x42_0055;
    pub const OPERATION: u32 = 0x42_005c;
    pub const PROTOCOL_VERSION: u32 = 0x42_0069;
    pub const VERSION_MAJOR: u32 = 0x42_006a;
    pub const VERSION_MINOR: u32 = 0x42_006b;
    pub const REQUEST_HEADER: u32 = 0x42_0077;
    pub const REQUEST: u32 = 0x42_0078;
    pub const REQUEST_PAYLOAD: u32 = 0x42_0079;
    pub const RESPONSE: u32 = 0x42_007b;
    pub const RESPONSE_PAYLOAD: u32 = 0x42_007c;
    pub const RESULT_MESSAGE: u32 = 0x42_007d;
    pub const RESULT_REASON: u32 = 0x42_007e;
    pub const RESULT_STATUS: u32 = 0x42_007f;
    pub const ID: u32 = 0x42_0094;
    pub const USERNAME: u32 = 0x42_0099;
    pub const PASSWORD: u32 = 0x42_00a1;
    pub const DATA: u32 = 0x42_00c2;
    pub const TAG_LENGTH: u32 = 0x42_00ce;
    pub const AAD: u32 = 0x42_00fe;
    pub const AEAD_TAG: u32 = 0x42_00ff;
}

/// Operations (clause 9.1.3.2.27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Locate = 0x08,
    Get = 0x0a,
    GetAttributes = 0x0b,
    DiscoverVersions = 0x1e,
    Encrypt = 0x1f,
    Decrypt = 0x20,
}

/// Who asks, beside the certificate.
pub(super) struct Login<'a> {
    pub username: &'a str,
    pub password: &'a str,
}

/// Why there is no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The bytes are no answer.
    Garbage(String),
    /// The server says no: reason and message.
    Server(u32, String),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Garbage(malformed.to_string())
    }
}

/// A version as an item.
pub(super) fn version((major, minor): (i32, i32)) -> Item {
    let parts = vec![
        Item::integer(tag::VERSION_MAJOR, major),
        Item::integer(tag::VERSION_MINOR, minor),
    ];
    Item::structure(tag::PROTOCOL_VERSION, parts)
}

/// A whole request.
pub(super) fn request(
    call: Call,
    payload: Vec<Item>,
    login: Option<&Login<'_>>,
) -> Zeroizing<Vec<u8>> {
    let mut header = vec![version(VERSION)];
    header.extend(login.map(authentication));
    header.push(Item::integer(tag::BATCH_COUNT, 1));
    let batch = vec![
        Item::enumeration(tag::OPERATION, call as u32),
        Item::structure(tag::REQUEST_PAYLOAD, payload),
    ];
    let message = vec![
        Item::structure(tag::REQUEST_HEADER, header),
        Item::structure(tag::BATCH_ITEM, batch),
    ];
    Item::structure(tag::REQUEST, message).encode()
}

fn authentication(login: &Login<'_>) -> Item {
    let value = vec![
        Item::text(tag::USERNAME, login.username),
        Item::text(tag::PASSWORD, login.password),
    ];
    let credential = vec![
        Item::enumeration(tag::CREDENTIAL_TYPE, 1),
        Item::structure(tag::CREDENTIAL_VALUE, value),
    ];
    let credential = Item::structure(tag::CREDENTIAL, credential);
    Item::structure(tag::AUTHENTICATION, vec![credential])
}

/// The payload of the answer to a request for `call`.
pub(super) fn payload(bytes: &[u8], call: Call) -> Result<Item, Refused> {
    let garbage = |what: &str| Refused::Garbage(what.to_owned());
    let message = Item::decode(bytes)?;
    if message.tag != tag::RESPONSE {
        return Err(garbage("not a response message"));
    }
    let item = message
        .child(tag::BATCH_ITEM)
        .ok_or_else(|| garbage("a response without batch item"))?;
    match item.enumeration_of(tag::RESULT_STATUS) {
        Some(0) => {}
        Some(_) => {
            let reason = item.enumeration_of(tag::RESULT_REASON).unwrap_or_default();
            let said = item.text_of(tag::RESULT_MESSAGE).unwrap_or_default();
            return Err(Refused::Server(reason, said.to_owned()));
        }
        None => return Err(garbage("a response without status")),
    }
    if item.enumeration_of(tag::OPERATION) != Some(call as u32) {
        return Err(garbage("the answer to another operation"));
    }
    item.child(tag::RESPONSE_PAYLOAD)
        .cloned()
        .ok_or_else(|| garbage("a response without payload"))
}

/// The versions that a server speaks.
pub(super) fn versions(payload: &Item) -> Vec<(i32, i32)> {
    let listed = payload.items().iter();
    listed
        .filter(|item| item.tag == tag::PROTOCOL_VERSION)
        .filter_map(|item| {
            let major = item.integer_of(tag::VERSION_MAJOR)?;
            Some((major, item.integer_of(tag::VERSION_MINOR)?))
        })
        .collect()
}

/// AES-GCM with a 16-byte tag.
pub(super) fn gcm() -> Item {
    let parts = vec![
        Item::enumeration(tag::BLOCK_CIPHER_MODE, 9),
        Item::enumeration(tag::ALGORITHM, 3),
        Item::integer(tag::TAG_LENGTH, 16),
    ];
    Item::structure(tag::PARAMETERS, parts)
}

/// An attribute by which objects are located: its name in plain text.
pub(super) fn named(name: &str) -> Item {
    let value = vec![
        Item::text(tag::NAME_VALUE, name),
        Item::enumeration(tag::NAME_TYPE, 1),
    ];
    let attribute = vec![
        Item::text(tag::ATTRIBUTE_NAME, "Name"),
        Item::structure(tag::ATTRIBUTE_VALUE, value),
    ];
    Item::structure(tag::ATTRIBUTE, attribute)
}

/// The value of an attribute in an answer.
pub(super) fn attribute<'a>(payload: &'a Item, name: &str) -> Option<&'a Value> {
    let mut attributes = payload.items().iter().filter(|i| i.tag == tag::ATTRIBUTE);
    let found = attributes.find(|item| item.text_of(tag::ATTRIBUTE_NAME) == Some(name))?;
    found.child(tag::ATTRIBUTE_VALUE).map(|item| &item.value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u32, call: Call) -> Vec<u8> {
        let item = vec![
            Item::enumeration(tag::OPERATION, call as u32),
            Item::enumeration(tag::RESULT_STATUS, status),
            Item::enumeration(tag::RESULT_REASON, 12),
            Item::text(tag::RESULT_MESSAGE, "no"),
            Item::structure(
                tag::RESPONSE_PAYLOAD,
                vec![version((1, 2)), version((1, 4))],
            ),
        ];
        let message = vec![Item::structure(tag::BATCH_ITEM, item)];
        Item::structure(tag::RESPONSE, message).encode().to_vec()
    }

    #[test]
    fn reads_versions_of_an_answer() {
        let bytes = answer(0, Call::DiscoverVersions);
        let payload = payload(&bytes, Call::DiscoverVersions).ok().unwrap();
        assert_eq!(versions(&payload), [(1, 2), (1, 4)]);
    }

    #[test]
    fn a_refusal_has_reason_and_message() {
        let refused = payload(&answer(1, Call::Decrypt), Call::Decrypt).err();
        assert_eq!(refused, Some(Refused::Server(12, "no".into())));
    }

    #[test]
    fn the_answer_to_another_operation_is_garbage() {
        let refused = payload(&answer(0, Call::Encrypt), Call::Decrypt).err();
        assert!(matches!(refused, Some(Refused::Garbage(_))));
        let request = request(Call::Decrypt, Vec::new(), None);
        assert!(matches!(
            payload(&request, Call::Decrypt).err(),
            Some(Refused::Garbage(_))
        ));
    }
}
