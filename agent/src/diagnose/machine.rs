//! The machine's own part: links, addresses, default routes, DNS servers, clock.

use crate::discover::system::System;
use nix::net::if_::InterfaceFlags;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most links, addresses and routes that are told.
const MOST: usize = 16;

/// A network link other than the loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether it can carry something.
    pub state: LinkState,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// State of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It can carry something.
    Up,
    /// It is up, and nothing is at its other end.
    NoCarrier,
    /// Nobody has set it up.
    Down,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::NoCarrier => "no carrier",
            Self::Down => "down",
        })
    }
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Where to.
    pub gateway: IpAddr,
    /// Over which link.
    pub link: String,
}

/// What a machine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its links.
    pub links: Vec<Link>,
    /// Its default routes.
    pub routes: Vec<Route>,
    /// The DNS servers that it was told.
    pub resolvers: Vec<String>,
    /// Seconds since 1970 by its clock.
    pub clock: i64,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let text = |file| fs::read_to_string(file).unwrap_or_default();
        let mut routes = routes_v4(&text("/proc/net/route"));
        routes.extend(routes_v6(&text("/proc/net/ipv6_route")));
        routes.truncate(MOST);
        let resolvers = System::default().resolvers();
        Self {
            links: links(),
            routes,
            resolvers: resolvers.iter().map(ToString::to_string).collect(),
            clock: clock.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
        }
    }

    /// Whether a link can carry something.
    pub(super) fn has_link(&self) -> bool {
        self.links.iter().any(|link| link.state == LinkState::Up)
    }

    /// Whether a link has an address that reaches beyond it.
    pub(super) fn has_address(&self) -> bool {
        let beyond = |address: &IpAddr| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        self.links
            .iter()
            .any(|link| link.addresses.iter().any(beyond))
    }
}

/// Links as the kernel lists them for this network namespace, each with its addresses.
fn links() -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for one in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        if one.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let at = match links
            .iter()
            .position(|link| link.name == one.interface_name)
        {
            Some(at) => at,
            None if links.len() == MOST => continue,
            None => {
                links.push(Link {
                    name: one.interface_name.clone(),
                    state: state(one.flags),
                    addresses: Vec::new(),
                });
                links.len() - 1
            }
        };
        let address = one.address.as_ref();
        let v4 = address.and_then(|a| Some(IpAddr::V4(a.as_sockaddr_in()?.ip())));
        let ip = v4.or_else(|| address.and_then(|a| Some(a.as_sockaddr_in6()?.ip().into())));
        if let Some(link) = links.get_mut(at).filter(|link| link.addresses.len() < MOST) {
            link.addresses.extend(ip);
        }
    }
    links
}

fn state(flags: InterfaceFlags) -> LinkState {
    if !flags.contains(InterfaceFlags::IFF_UP) {
        LinkState::Down
    } else if flags.contains(InterfaceFlags::IFF_RUNNING) {
        LinkState::Up
    } else {
        LinkState::NoCarrier
    }
}

/// Default routes of `/proc/net/route`: addresses are hexadecimal numbers in the machine's byte order.
fn routes_v4(text: &str) -> Vec<Route> {
    let routes = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (link, to, gateway) = (words.next()?, words.next()?, words.next()?);
        let mask = words.nth(4)?;
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (to == "00000000" && mask == "00000000").then(|| Route {
            gateway: Ipv4Addr::from(gateway.to_ne_bytes()).into(),
            link: link.to_owned(),
        })
    });
    routes.collect()
}

/// Default routes of `/proc/net/ipv6_route`, without those that lead nowhere.
fn routes_v6(text: &str) -> Vec<Route> {
    let routes = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [to, prefix, _, _, gateway, .., link] = words.as_slice() else {
            return None;
        };
        let gateway = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
        let default = to.bytes().all(|b| b == b'0') && *prefix == "00" && *link != "lo";
        default.then(|| Route {
            gateway: gateway.into(),
            link: (*link).to_owned(),
        })
    });
    routes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_default_routes_and_no_others() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                  eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\n\
                  eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\nshort line\n";
        let route = |gateway: IpAddr| Route {
            gateway,
            link: "eth0".into(),
        };
        let wanted = [route(Ipv4Addr::new(10, 0, 2, 2).into())];
        assert_eq!(routes_v4(v4), wanted);
        let zero = "0".repeat(32);
        let gateway = "fe80000000000000000000000000001a";
        let v6 = format!(
            "{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n\
             {gateway} 80 {zero} 00 {zero} 00000400 1 0 3 eth0\nshort\n"
        );
        let wanted = [route(
            "fe80::1a".parse().unwrap_or(Ipv6Addr::LOCALHOST).into(),
        )];
        assert_eq!(routes_v6(&v6), wanted);
    }

    #[test]
    fn link_local_addresses_lead_nowhere() {
        let with = |address: &str| Machine {
            links: vec![Link {
                name: "eth0".into(),
                state: LinkState::Up,
                addresses: address.parse().into_iter().collect(),
            }],
            ..Machine::default()
        };
        assert!(!with("fe80::1").has_address() && !with("").has_address());
        assert!(with("fd00::1").has_address() && with("10.0.0.1").has_address());
    }
}
