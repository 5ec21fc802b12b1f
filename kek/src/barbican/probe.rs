//! What Barbican says of the KEK and of who may read it.

use super::Barbican;
use super::answer::{Acl, Secret};
use crate::{Finding, KekError, Operation, Probe};

/// Looks at the secret, our roles and the secret's access list.
pub(super) async fn probe(barbican: &Barbican) -> Result<Probe, KekError> {
    let id = barbican.active.asked;
    let secret = barbican.secret(Operation::Inspect, id).await?;
    let roles = &barbican.services.session().await?.roles;
    let mut findings = vec![
        custody(),
        of_secret(&secret),
        expiry(&secret),
        of_roles(roles),
    ];
    let path = format!("/v1/secrets/{id}/acl");
    let acl = barbican.json::<Acl>(Operation::Inspect, &path, "secret_acls:get");
    findings.push(match acl.await {
        Ok(acl) => readers(&acl),
        Err(error) => finding("readers", false, format!("cannot be looked at: {error}")),
    });
    Ok(Probe { findings })
}

fn finding(subject: &str, good: bool, detail: impl Into<String>) -> Finding {
    Finding {
        subject: subject.to_owned(),
        good,
        detail: detail.into(),
    }
}

fn custody() -> Finding {
    let detail = "KEK in our memory: Barbican cannot wrap, so that this service fetches the key for every call";
    finding("custody", true, detail)
}

fn of_secret(secret: &Secret) -> Finding {
    match secret.problem() {
        None => finding("secret", true, "active, symmetric, AES, 256 bits"),
        Some((_, problem)) => finding("secret", false, problem),
    }
}

fn expiry(secret: &Secret) -> Finding {
    match &secret.expiration {
        None => finding("expiry", true, "none"),
        Some(when) => {
            let detail = format!(
                "the secret ends at {when}, and every DEK with it: rotate before, to one without expiration"
            );
            finding("expiry", false, detail)
        }
    }
}

fn of_roles(roles: &[String]) -> Finding {
    let names = roles.join(", ");
    match roles.iter().any(|role| role == "admin") {
        false => finding("roles", true, names),
        true => finding(
            "roles",
            false,
            format!(
                "{names}: \"admin\" is more than needed; `member` is enough, or `creator` with policies from before 2023"
            ),
        ),
    }
}

fn readers(acl: &Acl) -> Finding {
    let users = acl.read.users.len();
    match acl.read.project_access {
        false => finding(
            "readers",
            true,
            format!("its creator, and {users} users of its access list"),
        ),
        true => finding(
            "readers",
            false,
            "everybody with a role in the project: set project-access to false in the secret's read ACL, and list this service's user",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_that_the_key_is_in_our_memory() {
        assert!(custody().detail.contains("KEK in our memory"));
    }

    #[test]
    fn wide_roles_and_readers_and_an_end_are_no_good_findings() {
        assert!(of_roles(&["creator".to_owned()]).good);
        assert!(!of_roles(&["member".to_owned(), "admin".to_owned()]).good);
        let acl = |json| serde_json::from_str::<Acl>(json).map(|acl| readers(&acl).good);
        assert!(matches!(
            acl(r#"{"read":{"project-access":false,"users":["u"]}}"#),
            Ok(true)
        ));
        assert!(matches!(
            acl(r#"{"read":{"project-access":true}}"#),
            Ok(false)
        ));
        assert!(acl(r#"{"read":{}}"#).is_err());
    }
}
