//! Messages in the form in which they are stored and pulled.
//!
//! A unit is one stored message; the bodies of pull, view and query answers are units one after
//! the other, exactly as they lie in the log. What must always hold: the fixed part stands at the
//! same place in every unit, encoding allocates nothing, and decoding is total. Answers to Java's
//! `MessageDecoder` and `MessageExtEncoder`.

pub mod batch;
mod decode;
mod encode;
mod id;
pub mod properties;
pub mod sys_flag;

pub use decode::{MessageError, StoredMessage, decode_message};
pub use encode::MessageFields;
pub use id::{OffsetMessageId, offset_message_id, parse_offset_message_id};

/// Magic of a unit whose topic has a length of one byte: 0xDAA320A7.
/// Source: Java `MessageDecoder.MESSAGE_MAGIC_CODE`.
pub const MAGIC_V1: i32 = -626_843_481;

/// Magic of a unit whose topic has a length of two bytes. Clients before 5.0 know only the first,
/// so this is for topics that need it. Source: Java `MessageDecoder.MESSAGE_MAGIC_CODE_V2`.
pub const MAGIC_V2: i32 = MAGIC_V1 + 4;

/// The longest topic of a unit of version 1, in bytes: Java reads the length as a signed byte.
pub const TOPIC_LEN_MAX_V1: usize = 127;

/// The longest topic of a unit of version 2, in bytes.
pub const TOPIC_LEN_MAX: usize = 32_767;

/// The longest properties, in bytes: Java reads the length as a signed short.
pub const PROPERTIES_LEN_MAX: usize = 32_767;

/// Where fields stand in a unit, in bytes from its start. Those behind the hosts depend on the
/// hosts' lengths.
pub mod layout {
    /// `i32`, the length of the unit.
    pub const TOTAL_SIZE_AT: usize = 0;
    /// `i32`.
    pub const MAGIC_AT: usize = 4;
    /// `i32`, CRC-32 of the body without its highest bit.
    pub const BODY_CRC_AT: usize = 8;
    /// `i32`.
    pub const QUEUE_ID_AT: usize = 12;
    /// `i32`.
    pub const FLAG_AT: usize = 16;
    /// `i64`.
    pub const QUEUE_OFFSET_AT: usize = 20;
    /// `i64`.
    pub const PHY_OFFSET_AT: usize = 28;
    /// `i32`.
    pub const SYS_FLAG_AT: usize = 36;
    /// `i64`, milliseconds since the epoch.
    pub const BORN_TIMESTAMP_AT: usize = 40;
    /// Address and `i32` port; 8 or 20 bytes.
    pub const BORN_HOST_AT: usize = 48;
    /// Bytes of a host with an IPv4 address.
    pub const HOST_V4_LEN: usize = 8;
    /// Bytes of a host with an IPv6 address.
    pub const HOST_V6_LEN: usize = 20;
    /// The shortest unit: IPv4 hosts, no body, topic or properties.
    pub const UNIT_LEN_MIN: usize = 91;

    const _: () =
        assert!(UNIT_LEN_MIN == BORN_HOST_AT + HOST_V4_LEN + 8 + HOST_V4_LEN + 4 + 8 + 4 + 1 + 2);
}

/// The code by which a consume queue filters by tag: Java's hash of the tag, 0 for none.
/// Source: Java `MessageExtBrokerInner.tagsString2tagsCode`.
pub fn tags_code(tag: &str) -> i64 {
    i64::from(base::java_string_hash(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    /// A unit of an official broker 4.9.8: topic T1, body "hello". Client ids were replaced.
    fn official_unit() -> Vec<u8> {
        let head = "000000b4 daa320a7 3610a686 00000000 00000000 0000000000000000 \
            0000000000000000 00000000 000001a1f7d036db 7f0000010000b58a 000001a1f7d036e9 \
            7f00000100002a9f 00000000 0000000000000000 00000005";
        let digits: Vec<u8> = head.bytes().filter(u8::is_ascii_hexdigit).collect();
        let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let mut unit: Vec<u8> = digits.chunks(2).map(hex).collect();
        unit.extend_from_slice(b"hello\x02T1\x00\x52");
        unit.extend_from_slice(OFFICIAL_PROPERTIES.as_bytes());
        unit
    }

    const OFFICIAL_PROPERTIES: &str = "KEYS\u{1}k1\u{2}UNIQ_KEY\u{1}\
        0A0000010000000000000000000000AA\u{2}CLUSTER\u{1}DefaultCluster\u{2}TAGS\u{1}TagA";

    fn local(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn fields<'a>(topic: &'a str, body: &'a [u8], properties: &'a [&'a [u8]]) -> MessageFields<'a> {
        MessageFields {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0x01a1_f7d0_36db,
            born_host: local(0xb58a),
            store_host: local(10_911),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties,
        }
    }

    #[test]
    fn an_official_unit_reads_and_is_written_byte_for_byte() {
        let unit = official_unit();
        assert_eq!(unit.len(), 180);
        let (message, size) = decode_message(&unit).unwrap();
        assert_eq!(size, unit.len());
        assert_eq!(message.topic, "T1");
        assert_eq!(message.body, b"hello");
        assert!(message.body_crc_matches());
        assert_eq!(message.born_host, local(0xb58a));
        assert_eq!(message.store_host, local(10_911));
        assert_eq!(properties::get(message.properties, "TAGS"), Some("TagA"));
        let pieces = OFFICIAL_PROPERTIES.split_at(7);
        let pieces = [pieces.0.as_bytes(), pieces.1.as_bytes()];
        let fields = fields("T1", b"hello", &pieces);
        let mut written = vec![0xAA; fields.encoded_len()];
        fields.encode_into(&mut written, 0, 0, 0x01a1_f7d0_36e9);
        assert_eq!(written, unit);
    }

    #[test]
    fn every_truncation_of_a_unit_is_an_error() {
        let unit = official_unit();
        for len in 0..unit.len() {
            assert!(decode_message(&unit[..len]).is_err(), "{len}");
            // The same with a total size that matches what is left.
            if len >= 4 {
                let mut cut = unit[..len].to_vec();
                cut[..4].copy_from_slice(&(len as i32).to_be_bytes());
                assert!(decode_message(&cut).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn units_that_cannot_be_are_errors() {
        let unit = official_unit();
        let with = |at: usize, word: i32| {
            let mut unit = unit.clone();
            unit[at..][..4].copy_from_slice(&word.to_be_bytes());
            unit
        };
        for size in [-1, 0, 90, 179, 181, i32::MAX, i32::MIN] {
            let error = decode_message(&with(0, size)).unwrap_err();
            assert!(!error.to_string().is_empty(), "{size}: {error}");
        }
        assert_eq!(decode_message(&with(4, 7)), Err(MessageError::Magic(7)));
        for len in [-1, 6, i32::MAX] {
            assert!(decode_message(&with(84, len)).is_err(), "body {len}");
        }
        let mut longer = with(0, 181);
        longer.push(0);
        assert_eq!(decode_message(&longer), Err(MessageError::Trailing(1)));
    }

    #[test]
    fn a_long_topic_takes_the_second_magic_and_both_hosts_may_be_v6() {
        for (topic_len, magic) in [(127, MAGIC_V1), (128, MAGIC_V2), (300, MAGIC_V2)] {
            let topic = "t".repeat(topic_len);
            let mut fields = fields(&topic, b"", &[]);
            fields.born_host = (Ipv6Addr::LOCALHOST, 1).into();
            for v6_store in [false, true] {
                if v6_store {
                    fields.store_host = (Ipv6Addr::LOCALHOST, 65_535).into();
                }
                let mut unit = vec![0; fields.encoded_len()];
                fields.encode_into(&mut unit, 5, 6, 7);
                let (message, _) = decode_message(&unit).unwrap();
                assert_eq!(message.magic, magic);
                assert_eq!(message.topic, topic);
                assert_eq!(message.born_host, fields.born_host);
                assert_eq!(message.store_host, fields.store_host);
                let bits = message.sys_flag & (sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
                assert_eq!(bits, if v6_store { 0x30 } else { 0x10 });
            }
        }
    }

    #[test]
    fn tag_codes_are_the_hashes_of_java() {
        assert_eq!(tags_code("TagA"), 2_598_919);
        assert_eq!(tags_code(""), 0);
        assert_eq!(tags_code("TopicTest"), -1_902_610_879);
    }

    fn host() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<(u32, u16)>().prop_map(|(ip, port)| (Ipv4Addr::from(ip), port).into()),
            any::<(u128, u16)>().prop_map(|(ip, port)| (Ipv6Addr::from(ip), port).into()),
        ]
    }

    proptest! {
        #[test]
        fn any_message_reads_back(
            topic in "[a-z%订]{0,140}", body: Vec<u8>, properties in "[a-z\u{1}\u{2}]{0,80}",
            born_host in host(), store_host in host(),
            numbers: (i32, i32, i32, i32), longs: (i64, i64, i64, i64, i64),
        ) {
            let pieces = [properties.as_bytes()];
            let host_bits = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
            let fields = MessageFields {
                topic: &topic,
                queue_id: numbers.0,
                flag: numbers.1,
                sys_flag: numbers.2,
                born_timestamp_ms: longs.0,
                born_host,
                store_host,
                reconsume_times: numbers.3,
                prepared_transaction_offset: longs.1,
                body: &body,
                properties: &pieces,
            };
            let mut unit = vec![0xEE; fields.encoded_len()];
            fields.encode_into(&mut unit, longs.2, longs.3, longs.4);
            let (message, size) = decode_message(&unit).unwrap();
            prop_assert_eq!(size, unit.len());
            prop_assert_eq!(message.topic, &topic);
            prop_assert_eq!(message.body, &body);
            prop_assert_eq!(message.properties, &properties);
            prop_assert!(message.body_crc_matches());
            prop_assert_eq!(message.queue_id, numbers.0);
            prop_assert_eq!(message.flag, numbers.1);
            prop_assert_eq!(message.sys_flag & !host_bits, numbers.2 & !host_bits);
            prop_assert_eq!(message.reconsume_times, numbers.3);
            prop_assert_eq!(message.born_timestamp_ms, longs.0);
            prop_assert_eq!(message.prepared_transaction_offset, longs.1);
            prop_assert_eq!(message.queue_offset, longs.2);
            prop_assert_eq!(message.phy_offset, longs.3);
            prop_assert_eq!(message.store_timestamp_ms, longs.4);
            prop_assert_eq!((message.born_host, message.store_host), (born_host, store_host));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes: Vec<u8>, from in 0_usize..180) {
            let _either = decode_message(&bytes);
            let mut unit = official_unit();
            bytes.truncate(unit.len() - from);
            unit[from..][..bytes.len()].copy_from_slice(&bytes);
            let _either = decode_message(&unit);
        }
    }
}
