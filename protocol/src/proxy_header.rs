//! The PROXY protocol, versions 1 and 2: what a load balancer says about the client before the client's bytes.
//!
//! A reader says how many bytes it needs next and never needs one that belongs to the client. Both forms are bounded;
//! TLVs are skipped. Whom to believe is the caller's business.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::Reader;

/// The longest line of version 1, its end included.
const V1_MAX: usize = 107;
/// The shortest line of version 1: `PROXY UNKNOWN` and its end.
const V1_MIN: usize = 15;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 in front of the addresses.
const V2_HEAD: usize = 16;
/// Most bytes of version 2 behind its head. Addresses take 36; the rest are TLVs, of which load balancers send a
/// few hundred bytes.
const V2_MAX: usize = 4096;

/// What is not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyHeaderError {
    /// It begins with neither signature.
    #[error("no PROXY header")]
    Missing,
    /// A line of version 1 that has not its form, or no end.
    #[error("a PROXY line that is not understood")]
    Line,
    /// A block of version 2 that has not its form.
    #[error("a PROXY block of version 2 that is not understood")]
    Block,
    /// More bytes than any header has.
    #[error("a PROXY header of {0} bytes")]
    TooLong(usize),
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Read exactly this many more bytes (at least one), append them, and ask again.
    Need(usize),
    /// The header is complete.
    Done(ProxiedPeer),
}

/// Whom the header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedPeer {
    /// The client's address.
    Client(SocketAddr),
    /// Nobody: a health check of the load balancer itself, or an address of no TCP. The connection's own peer is
    /// the client.
    Itself,
}

/// Looks at the bytes read so far.
///
/// # Errors
/// [`ProxyHeaderError`].
pub fn progress(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let (first, second) = (begins_like(bytes, V1_PREFIX), begins_like(bytes, V2_SIGNATURE));
    match V2_SIGNATURE.len().checked_sub(bytes.len()) {
        _ if !first && !second => Err(ProxyHeaderError::Missing),
        // Shorter than any header, so they belong to one.
        Some(missing @ 1..) => Ok(Progress::Need(missing)),
        Some(0) | None if second => block(bytes),
        Some(0) | None => line(bytes),
    }
}

/// Whether `bytes`, as far as they go, could be the beginning of something with this signature.
fn begins_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn line(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            // A CR stands at the end of a line and nowhere else.
            V1_MAX.. => Err(ProxyHeaderError::Line),
            length if length < V1_MIN => Ok(Progress::Need(V1_MIN - length)),
            _ if bytes.ends_with(b"\r") => Ok(Progress::Need(1)),
            // At least CR and LF are missing.
            length => Ok(Progress::Need((V1_MAX - length).min(2))),
        };
    };
    let text = std::str::from_utf8(text).map_err(|_| ProxyHeaderError::Line)?;
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().ok_or(ProxyHeaderError::Line);
    let peer = match word()? {
        "UNKNOWN" => return Ok(Progress::Done(ProxiedPeer::Itself)),
        family @ ("TCP4" | "TCP6") => {
            let (from, to) = (address(family, word()?)?, address(family, word()?)?);
            let (from_port, _) = (port(word()?)?, port(word()?)?);
            let _ = to;
            SocketAddr::new(from, from_port)
        }
        _ => return Err(ProxyHeaderError::Line),
    };
    if words.next().is_some() {
        return Err(ProxyHeaderError::Line);
    }
    Ok(Progress::Done(ProxiedPeer::Client(peer)))
}

fn address(family: &str, text: &str) -> Result<IpAddr, ProxyHeaderError> {
    let address = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        _ => text.parse::<Ipv6Addr>().map(IpAddr::V6),
    };
    address.map_err(|_| ProxyHeaderError::Line)
}

fn port(text: &str) -> Result<u16, ProxyHeaderError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(ProxyHeaderError::Line)
}

fn block(bytes: &[u8]) -> Result<Progress, ProxyHeaderError> {
    let mut reader = Reader::new(bytes.get(V2_SIGNATURE.len()..).unwrap_or_default());
    let (Ok(version_and_command), Ok(family), Ok([high, low])) =
        (reader.u8(), reader.u8(), reader.take_array::<2>())
    else {
        return Ok(Progress::Need(V2_HEAD - bytes.len().min(V2_HEAD - 1)));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(ProxyHeaderError::TooLong(V2_HEAD + length));
    }
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Block),
    };
    match (V2_HEAD + length).checked_sub(bytes.len()) {
        Some(0) => {}
        Some(missing) => return Ok(Progress::Need(missing)),
        None => return Err(ProxyHeaderError::TooLong(bytes.len())),
    }
    let short = |_| ProxyHeaderError::Block;
    let peer = match (local, family) {
        (false, 0x11) => {
            let ([a, b, c, d], _) =
                (reader.take_array().map_err(short)?, reader.take_array::<4>().map_err(short)?);
            (IpAddr::V4(Ipv4Addr::new(a, b, c, d)), reader.take_array::<2>().map_err(short)?)
        }
        (false, 0x21) => {
            let (from, _) =
                (reader.take_array::<16>().map_err(short)?, reader.take_array::<16>().map_err(short)?);
            (IpAddr::V6(Ipv6Addr::from(from)), reader.take_array::<2>().map_err(short)?)
        }
        // Unspecified, UDP, Unix sockets: nothing that a client of ours could have. LOCAL: the proxy itself.
        (true | false, _) => return Ok(Progress::Done(ProxiedPeer::Itself)),
    };
    reader.take_array::<2>().map_err(short)?;
    Ok(Progress::Done(ProxiedPeer::Client(SocketAddr::new(peer.0, u16::from_be_bytes(peer.1)))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a header followed by the client's bytes, as a socket would; the answer and what was left unread.
    fn read(mut input: &[u8]) -> (Result<ProxiedPeer, ProxyHeaderError>, &[u8]) {
        let mut bytes = Vec::new();
        loop {
            match progress(&bytes) {
                Ok(Progress::Done(peer)) => return (Ok(peer), input),
                Err(error) => return (Err(error), input),
                Ok(Progress::Need(count)) => {
                    assert!(count > 0 && bytes.len() + count <= V2_HEAD + V2_MAX);
                    let Some((next, rest)) = input.split_at_checked(count) else {
                        return (Err(ProxyHeaderError::Missing), input);
                    };
                    bytes.extend_from_slice(next);
                    input = rest;
                }
            }
        }
    }

    fn client(text: &str) -> Result<ProxiedPeer, ProxyHeaderError> {
        Ok(ProxiedPeer::Client(text.parse().unwrap()))
    }

    fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[version_and_command, family], &length, rest].concat()
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 3306\r\n", client("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 ::1 1 3306\r\n", client("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", Ok(ProxiedPeer::Itself)),
            ("PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", Ok(ProxiedPeer::Itself)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n", Err(ProxyHeaderError::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 3306 1\r\n", Err(ProxyHeaderError::Line)),
            ("PROXY TCP4 2001:db8::1 ::1 1 3306\r\n", Err(ProxyHeaderError::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 +1 3306\r\n", Err(ProxyHeaderError::Line)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 65536 3306\r\n", Err(ProxyHeaderError::Line)),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 1 3306\r\n", Err(ProxyHeaderError::Line)),
            ("GET / HTTP/1.1\r\n\r\n", Err(ProxyHeaderError::Missing)),
        ] {
            let input = [line.as_bytes(), b"next"].concat();
            let (peer, rest) = read(&input);
            assert_eq!(peer, expected, "{line:?}");
            assert!(peer.is_err() || rest == b"next", "{line:?} took the client's bytes");
        }
        let endless = [b"PROXY ", &[b'x'; 200][..]].concat();
        assert_eq!(read(&endless).0, Err(ProxyHeaderError::Line));
    }

    #[test]
    fn blocks_of_version_2() {
        let v4 = [&[192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 0x0c, 0xea][..], b"\x04\0\x01x"].concat();
        let mut v6 = [0; 36];
        (v6[15], v6[33]) = (1, 7);
        for (block, expected) in [
            (v2(0x21, 0x11, &v4), client("192.0.2.1:56324")),
            (v2(0x21, 0x21, &v6), client("[::1]:7")),
            (v2(0x20, 0x11, &v4), Ok(ProxiedPeer::Itself)),
            (v2(0x20, 0, b""), Ok(ProxiedPeer::Itself)),
            (v2(0x21, 0x31, &[0; 216]), Ok(ProxiedPeer::Itself)),
            (v2(0x21, 0x11, &v4[..11]), Err(ProxyHeaderError::Block)),
            (v2(0x11, 0x11, &v4), Err(ProxyHeaderError::Block)),
            (v2(0x22, 0x11, &v4), Err(ProxyHeaderError::Block)),
            (v2(0x21, 0x11, &[0; V2_MAX + 1]), Err(ProxyHeaderError::TooLong(V2_HEAD + V2_MAX + 1))),
        ] {
            let input = [&block[..], b"next"].concat();
            let (peer, rest) = read(&input);
            assert_eq!(peer, expected, "{block:?}");
            assert!(peer.is_err() || rest == b"next", "{block:?} took the client's bytes");
        }
    }

    proptest! {
        #[test]
        fn anything_ends_and_stays_within_its_bounds(bytes: Vec<u8>, v1: bool, cut in 0..40_usize) {
            let signature = if v1 { V1_PREFIX } else { V2_SIGNATURE };
            let _ = read(&[signature, &bytes].concat());
            let _ = read(&bytes);
            let _ = progress(&bytes[..cut.min(bytes.len())]);
        }

        #[test]
        fn every_address_comes_through_in_both_versions(from: SocketAddr, to: SocketAddr, tlvs in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assume!(from.is_ipv4() == to.is_ipv4());
            let family = if from.is_ipv4() { 4 } else { 6 };
            let line = format!("PROXY TCP{family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            let octets = |ip| match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let rest = [
                &octets(from.ip())[..], &octets(to.ip()), &from.port().to_be_bytes(), &to.port().to_be_bytes(), &tlvs,
            ];
            let block = v2(0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, &rest.concat());
            for header in [line.into_bytes(), block] {
                let input = [&header[..], b"next"].concat();
                let (peer, left) = read(&input);
                let Ok(ProxiedPeer::Client(peer)) = peer else { return Err(TestCaseError::fail("no client")) };
                prop_assert_eq!((peer.ip(), peer.port()), (from.ip(), from.port()));
                prop_assert_eq!(left, b"next");
            }
        }
    }
}
