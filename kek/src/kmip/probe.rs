//! What the server says of the key.

use super::Failure;
use super::client::Client;
use super::ttlv::Value;
use crate::{Cause, Finding, Operation};

/// Bits of the cryptographic usage mask.
const ENCRYPT: i32 = 4;
const DECRYPT: i32 = 8;

/// Looks at the current key.
pub(super) async fn look(client: &Client) -> Result<Vec<Finding>, Failure> {
    let id = client.current(Operation::Inspect).await?;
    Ok(vec![
        state(client, &id).await?,
        usage(client, &id).await,
        reading(client, &id).await?,
    ])
}

async fn state(client: &Client, id: &str) -> Result<Finding, Failure> {
    let state = client.state(id, Operation::Inspect).await?;
    let name = match state {
        1 => "Pre-Active: activate it",
        2 => "Active",
        3 => "Deactivated",
        4 => "Compromised",
        5 | 6 => "Destroyed",
        _ => "unknown",
    };
    Ok(Finding {
        subject: "key is active".into(),
        good: state == 2,
        detail: format!("key {id} is {name}"),
    })
}

async fn usage(client: &Client, id: &str) -> Finding {
    let name = "Cryptographic Usage Mask";
    let subject = "key may encrypt and decrypt".to_owned();
    match client.attribute(id, Operation::Inspect, name).await {
        Ok(Value::Integer(mask)) => {
            let missing: Vec<&str> = [("Encrypt", ENCRYPT), ("Decrypt", DECRYPT)]
                .into_iter()
                .filter_map(|(name, bit)| (mask & bit == 0).then_some(name))
                .collect();
            let detail = match missing.as_slice() {
                [] => format!("{name} has Encrypt and Decrypt"),
                some => format!("{name} lacks {}", some.join(", ")),
            };
            Finding {
                subject,
                good: missing.is_empty(),
                detail,
            }
        }
        Ok(_) => Finding {
            subject,
            good: false,
            detail: format!("{name} is no integer"),
        },
        Err(failure) => Finding {
            subject,
            good: false,
            detail: format!("{name} cannot be read: {}", failure.detail),
        },
    }
}

async fn reading(client: &Client, id: &str) -> Result<Finding, Failure> {
    let subject = "key cannot be read".to_owned();
    match client.read(id).await {
        Ok(()) => Ok(Finding {
            subject,
            good: false,
            detail: "Get gives the key in clear: mark it Sensitive and not Extractable, or take Get away from this \
                     client, then re-wrap to a new key"
                .into(),
        }),
        // What says nothing about the key says nothing here.
        Err(failure)
            if matches!(
                failure.cause,
                Cause::Unreachable | Cause::Deadline | Cause::NoSuchKey
            ) =>
        {
            Err(failure)
        }
        Err(failure) => Ok(Finding {
            subject,
            good: true,
            detail: format!("Get is refused: {}", failure.detail),
        }),
    }
}
