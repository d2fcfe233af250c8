//! Offset message ids: where a message is stored, as text.
//!
//! Upper-case hexadecimal of the store host's address (4 or 16 bytes), its port (4) and the
//! physical offset (8). What must always hold: writing one needs no memory but the stack. Java:
//! `MessageDecoder.createMessageId`, `decodeMessageId`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Characters of an id with an IPv4 address.
const LEN_V4: usize = 32;
/// Characters of an id with an IPv6 address.
const LEN_V6: usize = 56;

/// An offset message id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OffsetMessageId {
    text: [u8; LEN_V6],
    len: usize,
}

impl OffsetMessageId {
    /// The id of the message that `store_host` stores at `phy_offset`.
    pub fn new(store_host: SocketAddr, phy_offset: i64) -> Self {
        let mut id = Self {
            text: [0; LEN_V6],
            len: 0,
        };
        match store_host.ip() {
            IpAddr::V4(ip) => id.put(&ip.octets()),
            IpAddr::V6(ip) => id.put(&ip.octets()),
        }
        id.put(&u32::from(store_host.port()).to_be_bytes());
        id.put(&phy_offset.to_be_bytes());
        id
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).expect("hexadecimal digits are ASCII")
    }

    fn put(&mut self, bytes: &[u8]) {
        let (room, _) = self.text[self.len..].as_chunks_mut();
        for (pair, byte) in room.iter_mut().zip(bytes) {
            *pair = HEX_PAIRS[usize::from(*byte)];
        }
        self.len += 2 * bytes.len();
    }
}

/// Each byte in two digits.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id as an owned text; [`OffsetMessageId`] is the form without allocation.
pub fn offset_message_id(store_host: SocketAddr, phy_offset: i64) -> String {
    OffsetMessageId::new(store_host, phy_offset).to_string()
}

/// Reads an id: the store host and the physical offset. `None` when it is none, such as a client's
/// own id whose port or offset cannot be.
pub fn parse_offset_message_id(id: &str) -> Option<(SocketAddr, i64)> {
    let mut bytes = [0; LEN_V6 / 2];
    let bytes = &mut bytes[..match id.len() {
        LEN_V4 => LEN_V4 / 2,
        LEN_V6 => LEN_V6 / 2,
        _ => return None,
    }];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    let (rest, phy_offset) = bytes.split_last_chunk::<8>()?;
    let (ip, port) = rest.split_last_chunk::<4>()?;
    let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    let phy_offset = i64::from_be_bytes(*phy_offset);
    (phy_offset >= 0).then_some((SocketAddr::new(ip, port), phy_offset))
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_those_of_java() {
        let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
        let id = OffsetMessageId::new(host, 0);
        assert_eq!(id.as_str(), "7F00000100002A9F0000000000000000");
        let host: SocketAddr = "[fd00::1]:10911".parse().unwrap();
        let id = offset_message_id(host, 4_465);
        assert_eq!(
            id,
            "FD00000000000000000000000000000100002A9F0000000000001171"
        );
        assert_eq!(parse_offset_message_id(&id), Some((host, 4_465)));
    }

    #[test]
    fn what_is_no_id_is_not_read() {
        for id in [
            "",
            "7F00000100002A9F000000000000000",
            "7F00000100002A9F000000000000000G",
            "7F00000100012A9F0000000000000000",
            "7F00000100002A9FF000000000000000",
            "7F00000100002A9F00000000000000订",
            "+F00000100002A9F0000000000000000",
        ] {
            assert_eq!(parse_offset_message_id(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn any_id_reads_back(ip: IpAddr, port: u16, phy_offset in 0..=i64::MAX) {
            let host = SocketAddr::new(ip, port);
            let id = OffsetMessageId::new(host, phy_offset);
            prop_assert_eq!(parse_offset_message_id(id.as_str()), Some((host, phy_offset)));
            let lower = id.as_str().to_lowercase();
            prop_assert_eq!(parse_offset_message_id(&lower), Some((host, phy_offset)));
        }

        #[test]
        fn any_text_is_an_id_or_none(text in ".{0,60}") {
            let _either = parse_offset_message_id(&text);
        }
    }
}
