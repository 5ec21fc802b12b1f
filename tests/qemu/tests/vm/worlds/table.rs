//! Which worlds there are, and what the node has to say in each. docs/scenarios.md has the same for people.

use std::time::Duration;

use dawnkey_qemu_tests::net::{Did, Packet, Says, Weather};

/// Who answers where in the guest's network.
pub const TWIN: &str = "10.0.2.101:8443";
pub const PROXY: &str = "10.0.2.102:8443";
pub const RELAY: &str = "10.0.2.103:8443";
pub const RECORDED: &str = "10.0.2.104:8443";
pub const REPLAYED: &str = "10.0.2.105:8443";
pub const FORGER: &str = "10.0.2.106:8443";

/// A world in which the volume must not open.
pub struct World {
    pub name: &'static str,
    /// Lines of `[service]` that stand in the place of `endpoints`.
    pub service: &'static str,
    /// Its budget in seconds.
    pub budget: u32,
    /// Commands before the agent starts.
    pub before: &'static str,
    pub weather: fn() -> Weather,
    /// What the network must have done, so that the test proves something.
    pub did: Option<Did>,
    /// Exit code, stable reason, a part of the message, and of the line that says what to do.
    pub ends: (i32, &'static str, &'static str),
    pub advice: &'static str,
}

const HERE: &str = r#"endpoints = ["10.0.2.100:8443"]"#;
const NAMED: &str = r#"endpoints = ["key.test:8443"]\nresolvers = ["10.0.2.3"]"#;
const SERVED: &str = r#"domain = "fleet.test"\nresolvers = ["10.0.2.3"]"#;
const NO_PIN: &str = "let layer 4 through to the key service";

/// Everything is carried.
pub fn calm() -> Weather {
    Weather::default()
}

fn to_the_service(packet: &Packet<'_>) -> bool {
    packet.to.port() == 8443 || packet.from.port() == 8443
}

/// Nothing listens at the service's port.
pub fn refused() -> Weather {
    Weather {
        refuse: Some(to_the_service),
        ..calm()
    }
}

fn lying_names() -> Weather {
    let address = Says::A(vec![[10, 0, 2, 101].into()]);
    Weather {
        names: vec![
            ("key.test".to_owned(), address.clone()),
            ("evil.test".to_owned(), address),
            (
                "_dawnkey._tcp.fleet.test".to_owned(),
                Says::Srv("evil.test".to_owned(), 8443),
            ),
        ],
        ..calm()
    }
}

pub const WORLDS: &[World] = &[
    World {
        name: "evil-twin",
        service: r#"endpoints = ["10.0.2.101:8443"]"#,
        budget: 60,
        before: "",
        weather: calm,
        did: None,
        ends: (22, "", "not the pinned key service"),
        advice: NO_PIN,
    },
    World {
        name: "dns-elsewhere",
        service: NAMED,
        budget: 60,
        before: "",
        weather: lying_names,
        did: Some(Did::Answered),
        ends: (22, "", "not the pinned key service"),
        advice: NO_PIN,
    },
    World {
        name: "srv-elsewhere",
        service: SERVED,
        budget: 60,
        before: "",
        weather: lying_names,
        did: Some(Did::Answered),
        ends: (22, "", "not the pinned key service"),
        advice: NO_PIN,
    },
    World {
        name: "dns-silent",
        service: NAMED,
        budget: 6,
        before: "",
        weather: || Weather {
            vanish: Some(|packet| packet.udp),
            ..calm()
        },
        did: Some(Did::Vanished),
        ends: (20, "", "no answer from 10.0.2.3:53"),
        advice: "no name leads to an address",
    },
    World {
        name: "tls-ended-by-a-proxy",
        service: r#"endpoints = ["10.0.2.102:8443"]"#,
        budget: 60,
        before: "",
        weather: calm,
        did: None,
        ends: (22, "", "not the pinned key service"),
        advice: NO_PIN,
    },
    World {
        name: "relay-with-the-services-key",
        service: r#"endpoints = ["10.0.2.103:8443"]"#,
        budget: 60,
        before: "",
        weather: calm,
        did: None,
        ends: (21, "binder-mismatch", "a proxy must"),
        advice: "change what the refusal names",
    },
    World {
        name: "forger-with-the-services-key",
        service: r#"endpoints = ["10.0.2.106:8443"]"#,
        budget: 60,
        before: "",
        weather: calm,
        did: None,
        ends: (31, "", "open the volume key's seal"),
        advice: "a key that does not fit belongs to another copy of the disk or to another service",
    },
    World {
        name: "replay-of-a-session",
        service: r#"endpoints = ["10.0.2.105:8443"]"#,
        budget: 6,
        before: "",
        weather: calm,
        did: None,
        ends: (20, "", "handshake broken off"),
        advice: "TCP connects and TLS does not come about",
    },
    World {
        name: "refused",
        service: HERE,
        budget: 6,
        before: "",
        weather: refused,
        did: Some(Did::Refused),
        ends: (20, "", "refused"),
        advice: "start the key service",
    },
    World {
        name: "silent",
        service: HERE,
        budget: 6,
        before: "",
        weather: || Weather {
            vanish: Some(to_the_service),
            ..calm()
        },
        did: Some(Did::Vanished),
        ends: (20, "", "no TCP connection within"),
        advice: "firewalls and security groups",
    },
    World {
        name: "mtu-black-hole",
        service: HERE,
        budget: 6,
        before: "",
        weather: || Weather {
            largest: Some(1000),
            ..calm()
        },
        did: Some(Did::TooLarge),
        ends: (20, "", "connected, but no handshake within"),
        advice: "an MTU black hole",
    },
    World {
        name: "no-address",
        service: HERE,
        budget: 6,
        before: "ip addr flush dev eth0",
        weather: calm,
        did: None,
        ends: (20, "", "Network is unreachable"),
        advice: "no link has an address: check DHCP",
    },
];

/// A world in which the volume opens all the same: name, lines of `[service]`, commands before, weather.
pub type Opening = (
    &'static str,
    &'static str,
    &'static str,
    fn() -> Weather,
    Option<Did>,
);

pub const OPENINGS: &[Opening] = &[
    ("clock-in-the-past", HERE, "date +%s", calm, None),
    (
        "clock-in-the-future",
        HERE,
        "date -s @4102444800",
        calm,
        None,
    ),
    (
        "one-of-two-names-lies",
        NAMED,
        "true",
        || Weather {
            names: vec![(
                "key.test".to_owned(),
                Says::A(vec![[10, 0, 2, 101].into(), [10, 0, 2, 100].into()]),
            )],
            ..calm()
        },
        Some(Did::Answered),
    ),
    (
        "mtu-of-1280",
        HERE,
        "true",
        || Weather {
            largest: Some(1280),
            ..calm()
        },
        // Its absence is the proof: no packet was too large.
        None,
    ),
    (
        "slow-and-lossy",
        HERE,
        "true",
        || Weather {
            delay: Duration::from_millis(300),
            lost_per_mille: 80,
            ..calm()
        },
        Some(Did::Lost),
    ),
];
