//! What is broken first, what to do about it, and the block of lines for people.

use super::{Cause, Diagnosis, Machine, Probe, SourceFound};
use crate::connect::ConnectError;
use crate::discover::FindError;
use crate::discover::resolver::ResolveError;
use std::io::ErrorKind;

/// A clock before this has never been set: 2024-01-01.
const BUILT_AFTER: i64 = 1_704_067_200;

/// The first thing to mend: what answered is told before what is silent, and what is near before what is far.
pub(super) fn cause(machine: &Machine, sources: &[SourceFound], probes: &[Probe]) -> Cause {
    if probes.iter().any(|probe| probe.problem.is_none()) {
        return Cause::None;
    }
    let any = |is: fn(&ConnectError) -> bool| {
        let mut problems = probes.iter().filter_map(|probe| probe.problem.as_ref());
        problems.any(is)
    };
    let find = |is: fn(&FindError) -> bool| {
        let mut problems = sources.iter().filter_map(|source| source.problem.as_ref());
        problems.any(is)
    };
    if any(|e| matches!(e, ConnectError::NotPinned { .. })) {
        Cause::NotPinned
    } else if any(|e| {
        matches!(
            e,
            ConnectError::NoTls13 { .. } | ConnectError::NoHttp2 { .. }
        )
    }) {
        Cause::Protocol
    } else if any(|e| {
        matches!(
            e,
            ConnectError::TlsTimeout { .. } | ConnectError::Handshake { .. }
        )
    }) {
        Cause::Tls
    } else if any(|e| io(e) == Some(ErrorKind::ConnectionRefused)) {
        Cause::Refused
    } else if !machine.has_link() {
        Cause::Link
    } else if !machine.has_address() {
        Cause::Address
    } else if find(|e| matches!(e, FindError::Dns(ResolveError::NoServer { .. }))) {
        Cause::NoResolver
    } else if any(|e| {
        matches!(
            io(e),
            Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
        )
    }) {
        Cause::Route
    } else if !probes.is_empty() {
        Cause::Silent
    } else if find(|e| matches!(e, FindError::Metadata(_))) {
        Cause::Metadata
    } else {
        Cause::Dns
    }
}

fn io(error: &ConnectError) -> Option<ErrorKind> {
    match error {
        ConnectError::Unreachable { source, .. } => Some(source.kind()),
        _ => None,
    }
}

/// What to do, in one line.
pub(super) fn advice(cause: Cause, sources: &[SourceFound], probes: &[Probe]) -> String {
    let not_pinned = || {
        let shown = probes.iter().find_map(|probe| probe.certificate.as_ref());
        let key = shown.map_or("unreadable", |shown| shown.spki_sha256.as_str());
        format!(
            "another server or a TLS-terminating proxy answers (SPKI {key}): let layer 4 through to the key service; \
             if its CA or key was changed, build the image with the new pin"
        )
    };
    let text = match cause {
        Cause::None => "the service can be reached: look at what else the agent says",
        Cause::NotPinned => return not_pinned(),
        Cause::Protocol => {
            "something answers that is not the service's unlock address: check the port, and that no proxy ends TLS"
        }
        Cause::Tls => {
            "TCP connects and TLS does not come about: check for a proxy or an MTU black hole on the way, and that the port is the service's"
        }
        Cause::Link => {
            "no network link is up: check the virtual NIC, and that its driver is in the initramfs"
        }
        Cause::Address => {
            "no link has an address: check DHCP, or give `ip=` on the kernel command line"
        }
        Cause::NoResolver => {
            "a name is to be resolved and no DNS server is known: set `service.resolvers`, let DHCP name one, or list addresses"
        }
        Cause::Dns => {
            "no name leads to an address: check the DNS records and the DNS server, or list addresses"
        }
        Cause::Metadata => {
            "the metadata service names no endpoint: set `dawnkey-endpoints` there and let the machine reach it"
        }
        Cause::Route => {
            "there is no route to the service: check the default route and the service's network"
        }
        Cause::Refused => {
            "the machine answers and nothing listens there: start the key service, or check address and port"
        }
        Cause::Silent => {
            "nothing answers: check that the service runs, and firewalls and security groups between here and there"
        }
    };
    let missing = sources
        .iter()
        .filter(|source| source.problem.is_some())
        .count();
    match (cause, missing) {
        (Cause::None, 1..) => format!(
            "{text}; {missing} of {} sources name no address",
            sources.len()
        ),
        _ => text.to_owned(),
    }
}

impl Diagnosis {
    /// The block: what it is about, and what was found.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for link in &self.machine.links {
            let found: Vec<_> = link.addresses.iter().map(ToString::to_string).collect();
            let addresses = match found.is_empty() {
                true => "no address".to_owned(),
                false => found.join(" "),
            };
            lines.push(("link", format!("{} {}, {addresses}", link.name, link.state)));
        }
        if self.machine.links.is_empty() {
            lines.push(("link", "none".into()));
        }
        let routes = self.machine.routes.iter();
        let routes = routes.map(|route| format!("{} by {}", route.gateway, route.link));
        lines.push(("default-route", or_none(routes.collect())));
        lines.push(("dns-server", or_none(self.machine.resolvers.clone())));
        let clock = self.machine.clock;
        let unset = if clock < BUILT_AFTER {
            ", which it never was: is there an RTC?"
        } else {
            ""
        };
        lines.push(("clock", format!("{}{unset}", date(clock))));
        for source in &self.sources {
            let found = match &source.problem {
                Some(problem) => problem.to_string(),
                None => format!("{} addresses", source.addresses),
            };
            lines.push(("source", format!("{}: {found}", source.source)));
        }
        lines.extend(self.addresses_tried.iter().flat_map(probe));
        lines.push(("advice", self.advice.clone()));
        lines
    }
}

fn or_none(found: Vec<String>) -> String {
    match found.is_empty() {
        true => "none".into(),
        false => found.join(", "),
    }
}

fn probe(probe: &Probe) -> Vec<(&'static str, String)> {
    let Probe { address, ms, .. } = probe;
    let mut lines = vec![match &probe.problem {
        None => ("service", format!("{address}: the pinned service, {ms} ms")),
        Some(problem) => ("service", format!("{problem} ({ms} ms)")),
    }];
    if let Some(shown) = &probe.certificate {
        let dates = format!(
            "valid {} to {}",
            date(shown.not_before),
            date(shown.not_after)
        );
        let clock = match shown.valid_by_clock {
            true => "",
            false => ": not now by this machine's clock, which the agent does not go by",
        };
        let key = &shown.spki_sha256;
        lines.push((
            "certificate",
            format!("{address}: SPKI {key}, {dates}{clock}"),
        ));
    }
    lines
}

/// `2026-01-31 12:00:00 UTC` of seconds since 1970 (days to a date as in H. Hinnant's `civil_from_days`).
fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::diagnose::{Link, LinkState};
    use crate::discover::Address;
    use std::time::Duration;

    fn machine() -> Machine {
        Machine {
            links: vec![Link {
                name: "eth0".into(),
                state: LinkState::Up,
                addresses: vec!["10.0.2.15".parse().unwrap()],
            }],
            ..Machine::default()
        }
    }

    fn endpoint() -> Box<Address> {
        let endpoint = "192.0.2.1:8443".parse().unwrap();
        Address::literal(&endpoint).unwrap().into()
    }

    fn probe_with(problem: ConnectError) -> Probe {
        Probe {
            address: "192.0.2.1:8443".into(),
            ms: 1,
            problem: Some(problem),
            certificate: None,
        }
    }

    fn unreachable(kind: ErrorKind) -> Probe {
        let endpoint = endpoint();
        let source = kind.into();
        probe_with(ConnectError::Unreachable { endpoint, source })
    }

    fn silent() -> Probe {
        let (endpoint, waited) = (endpoint(), Duration::from_secs(5));
        probe_with(ConnectError::TcpTimeout { endpoint, waited })
    }

    /// The cause, and that its advice has this in it.
    fn cause_of(machine: &Machine, probes: &[Probe], says: &str) -> Cause {
        let cause = cause(machine, &[], probes);
        let advice = advice(cause, &[], probes);
        assert!(advice.contains(says), "{advice}");
        cause
    }

    #[test]
    fn a_network_that_leads_nowhere_is_a_route_that_is_missing() {
        for kind in [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable] {
            // One address that is silent does not hide it.
            let probes = [silent(), unreachable(kind)];
            let cause = cause_of(&machine(), &probes, "default route");
            assert_eq!(cause, Cause::Route);
        }
    }

    #[test]
    fn addresses_of_which_none_answers_are_silent() {
        let cause = cause_of(&machine(), &[silent(), silent()], "firewalls");
        assert_eq!(cause, Cause::Silent);
        // What is near is told first.
        let down = Machine::default();
        let cause = cause_of(&down, &[silent()], "NIC");
        assert_eq!(cause, Cause::Link);
        // And what answers before what does not.
        let probes = [silent(), unreachable(ErrorKind::ConnectionRefused)];
        let cause = cause_of(&down, &probes, "start the key service");
        assert_eq!(cause, Cause::Refused);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(date(-1), "1969-12-31 23:59:59 UTC");
    }
}
