//! `dawnkey master-secret give`: the master secret goes to a service that waits for it, sealed to its process.

use super::terminal;
use crate::admin::Admin;
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output, fields};
use crate::profile::ProfileArgs;
use clap::Args;
use dawnkey_keyservice::master;
use dawnkey_proto::message::printable;
use dawnkey_proto::seal::seal_master;
use dawnkey_proto::wire;
use dawnkey_secret::MasterSecret;
use serde::Serialize;
use std::io::IsTerminal;

/// What a master secret looks like.
const FORM: &str = "16 to 64 bytes in hex, or as they are";

/// Give the master secret to a service that waits for it
///
/// For providers with `master_secret = "operator"`: once after each start, to each replica (its own address in the
/// profile). The secret is read from standard input, from the file descriptor of --fd, or from a terminal that does not
/// show it; never from the command line or the environment. It is sealed to a key that the service's process has made, and
/// stays in that process's memory. The store knows a check value of the first secret that it was ever given: another one
/// is refused, and one that is there is never replaced. Giving the same one again does nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey master-secret give
  systemd-creds decrypt --name=master-secret master-secret.cred - | dawnkey master-secret give
  dawnkey master-secret give cluster --fd 3 3< <(vault kv get -mount=secret -field=master dawnkey)
  for n in 1 2 3; do dawnkey master-secret give --profile admin-$n.toml < /run/operator/secret; done")]
pub(super) struct GiveArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// The provider's name in the configuration; needed when several wait
    provider: Option<String>,
    /// Read the secret from this inherited file descriptor
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
}

#[derive(Debug, Serialize)]
struct GivenView {
    provider: String,
    /// The service had the same one.
    already: bool,
    /// The store knew none before.
    first: bool,
}

impl GiveArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        crate::volume::harden()?;
        let mut admin = Admin::connect(self.profile.load()?)?;
        let asked = admin.call_kek("ask who waits", "master secrets", async |client| {
            client.masters(wire::KekMastersRequest {}).await
        })?;
        let provider = chosen(self.provider.as_deref(), &asked.masters)?;
        if !asked
            .masters
            .iter()
            .any(|m| m.provider == provider && m.known)
        {
            output::note(
                "the store knows no master secret of this provider yet: from now on only this one is right",
            );
        }
        let secret = self.read()?;
        let sealed = seal_master(&asked.hpke_public_key, &provider, &secret);
        drop(secret);
        let sealed = sealed.map_err(|e| {
            Failure::new(
                Exit::Refused,
                e,
                "the service's HPKE key",
                "a key service of this version",
            )
        })?;
        let answer = admin.call_kek("give the master secret", &provider, async |client| {
            let request = wire::KekGiveMasterRequest {
                provider: provider.clone(),
                encapsulated_key: sealed.encapsulated_key,
                ciphertext: sealed.ciphertext,
            };
            client.give_master(request).await
        })?;
        let view = GivenView {
            provider: printable(&provider),
            already: answer.already,
            first: answer.first,
        };
        output.show(&view, || {
            let state = match (view.already, view.first) {
                (true, _) => "was there already",
                (false, true) => "taken; the first one of this store",
                (false, false) => "taken",
            };
            fields(&[
                ("provider", view.provider.clone()),
                ("master secret", state.to_owned()),
            ])
        })?;
        Ok(Exit::Done)
    }

    fn read(&self) -> Result<MasterSecret, Failure> {
        let unusable = |e: master::MasterError| Failure::local(e, "the master secret", FORM);
        if let Some(fd) = self.fd {
            return master::from_fd(fd).map_err(unusable);
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return master::from_fd(0).map_err(unusable);
        }
        output::note("master secret (not shown):");
        let mut line = terminal::line(&stdin)?;
        master::parse(&mut line).ok_or_else(|| {
            Failure::local(
                "read the master secret: what was typed is none",
                "the terminal",
                FORM,
            )
        })
    }
}

/// The provider that was named, or the only one that there is or that waits.
fn chosen(named: Option<&str>, masters: &[wire::KekMaster]) -> Result<String, Failure> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let waiting: Vec<&wire::KekMaster> = masters.iter().filter(|m| !m.given).collect();
    match (waiting.as_slice(), masters) {
        ([one], _) => Ok(one.provider.clone()),
        ([], [only]) => Ok(only.provider.clone()),
        ([], _) => Err(Failure::new(
            Exit::Refused,
            "give a master secret: no provider waits for one",
            "the service",
            "a provider with master_secret = \"operator\", or its name",
        )),
        (several, _) => {
            let names: Vec<String> = several.iter().map(|m| printable(&m.provider)).collect();
            Err(Failure::usage(
                "give a master secret: several providers wait for one",
                names.join(", "),
                "the name of one of them",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(provider: &str, given: bool) -> wire::KekMaster {
        wire::KekMaster {
            provider: provider.into(),
            given,
            known: true,
        }
    }

    #[test]
    fn the_one_that_waits_is_chosen_and_never_one_of_several() {
        let all = [master("a", true), master("b", false)];
        assert_eq!(chosen(None, &all), Ok("b".into()));
        assert_eq!(chosen(Some("a"), &all), Ok("a".into()));
        assert_eq!(chosen(None, &[master("a", true)]), Ok("a".into()));
        let two = [master("a", false), master("b", false)];
        assert_eq!(chosen(None, &two).unwrap_err().exit, Exit::Usage);
        assert_eq!(chosen(None, &[]).unwrap_err().exit, Exit::Refused);
    }
}
