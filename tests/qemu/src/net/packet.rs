//! The little of Ethernet, IPv4, TCP and UDP that a hostile network reads and makes. Everything else is no packet here and
//! passes as it is.

use std::net::{Ipv4Addr, SocketAddrV4};

const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST_ACK: u8 = 0x14;

/// A TCP or UDP packet of a frame, not a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whether it is UDP; TCP otherwise.
    pub udp: bool,
    /// Where from.
    pub from: SocketAddrV4,
    /// Where to.
    pub to: SocketAddrV4,
    /// Bytes of the IPv4 packet: what an MTU counts.
    pub length: usize,
    /// The first packet of a TCP connection.
    pub opens: bool,
    sequence: u32,
    /// What UDP carries.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a frame; `None` for anything that is no such packet.
    #[must_use]
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        if be16(frame, 12)? != IPV4 {
            return None;
        }
        let ip = frame.get(ETHERNET..)?;
        let header = usize::from(*ip.first()? & 0x0f) * 4;
        let length = usize::from(be16(ip, 2)?);
        let fragment = be16(ip, 6)? & 0x3fff;
        let protocol = *ip.get(9)?;
        let udp = protocol == UDP;
        if ip.first()? >> 4 != 4 || header < 20 || fragment != 0 || !(udp || protocol == TCP) {
            return None;
        }
        let inner = ip.get(header..length)?;
        let (sequence, opens) = match udp {
            true => (0, false),
            false => (be32(inner, 4)?, inner.get(13)? & (SYN | ACK) == SYN),
        };
        Some(Packet {
            udp,
            from: SocketAddrV4::new(address(ip, 12)?, be16(inner, 0)?),
            to: SocketAddrV4::new(address(ip, 16)?, be16(inner, 2)?),
            length,
            opens,
            sequence,
            payload: if udp { inner.get(8..)? } else { &[] },
        })
    }

    /// The frame with which the other end would refuse this connection.
    pub(super) fn refusal(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut tcp = self.ports();
        tcp.extend([0; 4]);
        tcp.extend(self.sequence.wrapping_add(1).to_be_bytes());
        tcp.extend([5 << 4, RST_ACK, 0, 0, 0, 0, 0, 0]);
        let mut pseudo = [self.to.ip().octets(), self.from.ip().octets()].concat();
        pseudo.extend([0, TCP, 0, 20]);
        pseudo.extend(&tcp);
        let sum = checksum(&pseudo).to_be_bytes();
        tcp.get_mut(16..18)?.copy_from_slice(&sum);
        self.answer(frame, TCP, &tcp)
    }

    /// The frame with which the other end would answer this datagram.
    pub(super) fn reply(&self, frame: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let mut udp = self.ports();
        udp.extend(u16::try_from(payload.len() + 8).ok()?.to_be_bytes());
        // No checksum, which IPv4 allows.
        udp.extend([0, 0]);
        udp.extend(payload);
        self.answer(frame, UDP, &udp)
    }

    fn ports(&self) -> Vec<u8> {
        [self.to.port(), self.from.port()]
            .iter()
            .flat_map(|port| port.to_be_bytes())
            .collect()
    }

    fn answer(&self, frame: &[u8], protocol: u8, inner: &[u8]) -> Option<Vec<u8>> {
        let mut ip = vec![0x45, 0];
        ip.extend(u16::try_from(20 + inner.len()).ok()?.to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        ip.extend(self.to.ip().octets());
        ip.extend(self.from.ip().octets());
        let sum = checksum(&ip).to_be_bytes();
        ip.get_mut(10..12)?.copy_from_slice(&sum);
        let mut answer = [frame.get(6..12)?, frame.get(..6)?, frame.get(12..14)?].concat();
        answer.extend(ip);
        answer.extend(inner);
        Some(answer)
    }
}

/// Whether a frame carries IPv6.
pub(super) fn is_ipv6(frame: &[u8]) -> bool {
    be16(frame, 12) == Some(IPV6)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(two.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    be32(bytes, at).map(Ipv4Addr::from)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let high = pair.first().copied().unwrap_or_default();
        let low = pair.get(1).copied().unwrap_or_default();
        u64::from(u16::from_be_bytes([high, low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A SYN from 10.0.2.15:40000 to 10.0.2.100:8443 with sequence number 0x01020304.
    fn syn() -> Vec<u8> {
        let mut frame = vec![1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0]);
        frame.extend([10, 0, 2, 15, 10, 0, 2, 100]);
        frame.extend([0x9c, 0x40, 0x20, 0xfb, 1, 2, 3, 4, 0, 0, 0, 0]);
        frame.extend([0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
        frame
    }

    #[test]
    fn reads_ports_addresses_and_the_first_packet_of_a_connection() {
        let frame = syn();
        let packet = Packet::read(&frame).unwrap();
        assert_eq!(packet.to, "10.0.2.100:8443".parse().unwrap());
        assert_eq!(packet.from, "10.0.2.15:40000".parse().unwrap());
        assert!(packet.opens && !packet.udp && packet.length == 40);
    }

    #[test]
    fn cut_and_odd_frames_are_no_packets() {
        let frame = syn();
        for length in 0..frame.len() {
            assert_eq!(Packet::read(frame.get(..length).unwrap()), None, "{length}");
        }
        let mut fragment = syn();
        fragment[21] = 1;
        assert_eq!(Packet::read(&fragment), None);
    }

    #[test]
    fn refusal_goes_back_with_checksums_that_hold() {
        let frame = syn();
        let back = Packet::read(&frame).unwrap().refusal(&frame).unwrap();
        let read = Packet::read(&back).unwrap();
        assert_eq!(read.to, "10.0.2.15:40000".parse().unwrap());
        assert_eq!(&back[..12], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]);
        assert_eq!(checksum(&back[14..34]), 0);
        assert_eq!(be32(&back, 42).unwrap(), 0x0102_0305);
        let pseudo = [&back[26..34], &[0, TCP, 0, 20], &back[34..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
