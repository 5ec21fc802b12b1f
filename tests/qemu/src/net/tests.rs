#![allow(clippy::unwrap_used)]

use super::*;

/// A datagram from 10.0.2.15 to this port of 10.0.2.3 with so many bytes of payload.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0, 0x45, 0];
    let length = u16::try_from(28 + payload.len()).unwrap();
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 3]);
    frame.extend([0x9c, 0x40]);
    frame.extend(port.to_be_bytes());
    frame.extend((length - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// What QEMU would see: the ends of a network of its own.
struct Qemu {
    network: Network,
    ends: BTreeMap<&'static str, UnixStream>,
    _dir: tempfile::TempDir,
}

impl Qemu {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::new(&dir.path().join("net")).unwrap();
        let end = |name: &'static str| {
            let (queue, end) = name.split_once('-').unwrap();
            let stream = UnixStream::connect(network.sockets.path(queue, end)).unwrap();
            (name, stream)
        };
        let ends = ["rx-out", "rx-in", "tx-out", "tx-in"].map(end).into();
        Qemu {
            network,
            ends,
            _dir: dir,
        }
    }

    fn send(&mut self, end: &str, frame: &[u8]) {
        super::send(self.ends.get_mut(end).unwrap(), frame).unwrap();
    }

    fn receive(&mut self, end: &str) -> Vec<u8> {
        super::receive(self.ends.get_mut(end).unwrap()).unwrap()
    }
}

#[test]
fn carries_frames_as_they_are_in_both_directions_and_late_if_told() {
    let mut qemu = Qemu::new();
    let delay = Duration::from_millis(80);
    qemu.network.weather(Weather {
        delay,
        ..Weather::default()
    });
    for (out, back) in [("rx-out", "rx-in"), ("tx-out", "tx-in")] {
        for frame in [datagram(9, b"datagram"), b"no packet at all".to_vec()] {
            let began = Instant::now();
            qemu.send(out, &frame);
            assert_eq!(qemu.receive(back), frame);
            assert!(began.elapsed() >= delay);
        }
    }
    assert_eq!(qemu.network.did(Did::Carried), 2);
}

#[test]
fn large_and_meant_packets_vanish_and_the_next_is_carried() {
    let mut qemu = Qemu::new();
    qemu.network.weather(Weather {
        largest: Some(100),
        vanish: Some(|packet| packet.to.port() == 67),
        ..Weather::default()
    });
    qemu.send("rx-out", &datagram(9, &[0; 73]));
    qemu.send("rx-out", &datagram(67, b"give me an address"));
    qemu.send("rx-out", &datagram(9, &[0; 72]));
    assert_eq!(qemu.receive("rx-in"), datagram(9, &[0; 72]));
    let did = [Did::TooLarge, Did::Vanished, Did::Carried];
    assert_eq!(did.map(|what| qemu.network.did(what)), [1, 1, 1]);
}

#[test]
fn ipv6_is_carried_unless_told_otherwise() {
    let mut state = State::default();
    let mut frame = [0; 60];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    assert!(matches!(state.fate(&frame, true), Fate::Carry(_)));
    state.weather.only_ipv4 = true;
    assert!(matches!(state.fate(&frame, true), Fate::Drop));
}

#[test]
fn loses_about_as_many_as_it_was_told() {
    let mut state = State {
        random: 1,
        ..State::default()
    };
    state.weather.lost_per_mille = 100;
    let lost = (0..10_000)
        .filter(|_| matches!(state.fate(&datagram(9, b""), true), Fate::Drop))
        .count();
    assert!((900..1100).contains(&lost), "{lost}");
}

#[test]
fn answers_for_the_dns_server() {
    let mut qemu = Qemu::new();
    qemu.network.weather(Weather {
        names: vec![("a.b".to_owned(), Says::A(vec![[1, 2, 3, 4].into()]))],
        ..Weather::default()
    });
    let query = b"\x07\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01";
    qemu.send("rx-out", &datagram(53, query));
    let answer = qemu.receive("tx-in");
    let packet = Packet::read(&answer).unwrap();
    assert_eq!(packet.from, "10.0.2.3:53".parse().unwrap());
    assert!(
        packet.payload.starts_with(&[7, 7, 0x81, 0x80]) && packet.payload.ends_with(&[1, 2, 3, 4])
    );
}
