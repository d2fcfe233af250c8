//! The keys of a stored message, and the 64 bits under which the index knows each of them.
//!
//! Pure. A message has the key of its `UNIQ_KEY` and one per word of its `KEYS`; a rolled-back half
//! of a transaction has none. Invariant: the hash of a key depends on topic, key and the shard's
//! secret only, so that nobody outside can choose keys that collide. Answers to Java's
//! `IndexService.buildIndex` and `buildKey`.

use crate::consume_queue::BLOCK_BACK_MAX;
use crate::record::{self, MessageText};

/// Length of an entry on disk, in bytes.
pub(crate) const ENTRY_LEN: usize = 16;
const POSITION_BITS: u32 = base::PhyOffset::POSITION_BITS;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;

/// Which keys of a message are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `UNIQ_KEY` and the words of `KEYS`.
    Any,
    /// The words of `KEYS`.
    Keys,
    /// `UNIQ_KEY`.
    Unique,
}

/// A key and the place of a message that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: u64,
    /// Position of the message; in the high bits the steps back to its block, as in the queue index.
    word: u64,
}

impl Entry {
    pub(crate) fn new(hash: u64, block: u64, position: u64, align: usize) -> Self {
        let steps = (position - block) / align as u64;
        assert!(steps <= BLOCK_BACK_MAX as u64, "checked in settings");
        let word = position | steps << POSITION_BITS;
        Self { hash, word }
    }

    /// Where the message starts.
    pub(crate) fn position(self) -> u64 {
        self.word & POSITION_MASK
    }

    /// Where the block starts that holds the message.
    pub(crate) fn block(self, align: usize) -> u64 {
        let align = align as u64;
        (self.position() / align).saturating_sub(self.word >> POSITION_BITS) * align
    }

    /// By hash, then by place in the log.
    pub(crate) fn order(self) -> (u64, u64) {
        (self.hash, self.position())
    }

    pub(crate) fn encode(self, out: &mut [u8]) {
        out[0..8].copy_from_slice(&self.hash.to_le_bytes());
        out[8..16].copy_from_slice(&self.word.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            hash: crate::block::u64_at(bytes, 0),
            word: crate::block::u64_at(bytes, 8),
        }
    }
}

/// The keys in a message's properties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keys<'a> {
    unique: Option<&'a [u8]>,
    /// Words with blanks between them.
    words: &'a [u8],
}

impl<'a> Keys<'a> {
    /// Reads them. Of a property that stands twice the last one counts, an empty one is left out.
    pub(crate) fn of(text: &MessageText<'a>) -> Self {
        let mut keys = Self::default();
        if text.sys_flag & record::TRANSACTION_MASK == record::TRANSACTION_ROLLBACK {
            return keys;
        }
        let mut rest = text.properties;
        while !rest.is_empty() {
            let len = memchr::memchr(PROPERTY_SEPARATOR, rest).unwrap_or(rest.len());
            let (item, more) = rest.split_at(len);
            rest = more.get(1..).unwrap_or(&[]);
            if let Some(value) = item.strip_prefix(UNIQ_KEY).filter(|v| !v.is_empty()) {
                keys.unique = Some(value);
            } else if let Some(value) = item.strip_prefix(KEYS).filter(|v| !v.is_empty()) {
                keys.words = value;
            }
        }
        keys
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.unique.into_iter().chain(self.words())
    }

    fn words(self) -> impl Iterator<Item = &'a [u8]> {
        let words = self.words.split(|byte| *byte == b' ');
        words.filter(|word| !word.is_empty())
    }

    /// Whether `key` is one of them.
    pub(crate) fn has(self, kind: KeyKind, key: &[u8]) -> bool {
        let unique = kind != KeyKind::Keys && self.unique == Some(key);
        unique || (kind != KeyKind::Unique && self.words().any(|word| word == key))
    }
}

const PROPERTY_SEPARATOR: u8 = 2;
const UNIQ_KEY: &[u8] = b"UNIQ_KEY\x01";
const KEYS: &[u8] = b"KEYS\x01";

/// Hashes keys of one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHasher(u64);

impl KeyHasher {
    /// For the keys of `topic` on the shard of this secret.
    pub(crate) fn new(secret: u32, topic: &[u8]) -> Self {
        Self(absorb(SEED ^ u64::from(secret), topic))
    }

    pub(crate) fn hash(self, key: &[u8]) -> u64 {
        fold(absorb(self.0, key), FACTORS[1])
    }
}

/// Digits of pi and of e.
const SEED: u64 = 0x243F_6A88_85A3_08D3;
const FACTORS: [u64; 2] = [0x1319_8A2E_0370_7345, 0xB7E1_5162_8AED_2A6B];

fn absorb(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = fold(state ^ bytes.len() as u64, FACTORS[1]);
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), FACTORS[0]);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last), FACTORS[0])
}

/// The two halves of the product of 128 bits, one upon the other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(properties: &str, sys_flag: u32) -> MessageText<'_> {
        MessageText {
            topic: b"T",
            properties: properties.as_bytes(),
            sys_flag,
        }
    }

    fn check(properties: &str, expected: &[&str]) {
        let text = text(properties, 0);
        let found: Vec<_> = Keys::of(&text).iter().collect();
        let expected: Vec<_> = expected.iter().map(|key| key.as_bytes()).collect();
        assert_eq!(found, expected, "{properties:?}");
    }

    #[test]
    fn keys_are_the_unique_key_and_each_word() {
        check("", &[]);
        check(
            "KEYS\u{1}a b  c\u{2}UNIQ_KEY\u{1}u\u{2}",
            &["u", "a", "b", "c"],
        );
        check("UNIQ_KEY\u{1}u", &["u"]);
        check("UNIQ_KEY\u{1}u\u{2}UNIQ_KEY\u{1}v\u{2}", &["v"]);
        check("KEYS\u{1}a\u{2}KEYS\u{1}\u{2}", &["a"]);
        check("KEYS\u{1}  \u{2}\u{2}KEYS", &[]);
        check("MYKEYS\u{1}a\u{2}KEYSX\u{1}b\u{2}keys\u{1}c", &[]);
    }

    #[test]
    fn a_rolled_back_half_has_no_keys_and_others_have_them() {
        for (flag, count) in [(0, 1), (4, 1), (8, 1), (12, 0), (13, 0)] {
            let text = text("KEYS\u{1}a", flag);
            assert_eq!(Keys::of(&text).iter().count(), count, "{flag}");
        }
    }

    #[test]
    fn a_key_counts_as_what_it_is() {
        let text = text("KEYS\u{1}a b\u{2}UNIQ_KEY\u{1}u\u{2}", 0);
        let keys = Keys::of(&text);
        for (kind, key, expected) in [
            (KeyKind::Any, "a", true),
            (KeyKind::Any, "u", true),
            (KeyKind::Any, "a b", false),
            (KeyKind::Any, "", false),
            (KeyKind::Keys, "b", true),
            (KeyKind::Keys, "u", false),
            (KeyKind::Unique, "u", true),
            (KeyKind::Unique, "a", false),
        ] {
            assert_eq!(keys.has(kind, key.as_bytes()), expected, "{kind:?} {key}");
        }
    }

    #[test]
    fn a_hash_depends_on_secret_topic_and_key_and_on_where_the_topic_ends() {
        let hash = |secret, topic: &str, key: &str| {
            KeyHasher::new(secret, topic.as_bytes()).hash(key.as_bytes())
        };
        let all = [
            hash(1, "T", "key"),
            hash(2, "T", "key"),
            hash(1, "U", "key"),
            hash(1, "T", "kez"),
            hash(1, "Tk", "ey"),
            hash(1, "T", "key\0"),
            hash(1, "T", ""),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one));
        }
        assert_eq!(
            all[0], 1_464_070_215_645_959_623,
            "the hash is part of the format"
        );
    }

    #[test]
    fn hashes_of_like_keys_spread_evenly() {
        let hasher = KeyHasher::new(7, b"TopicTest");
        let mut buckets = [0_u32; 64];
        for i in 0..64_000 {
            let hash = hasher.hash(format!("order-{i}").as_bytes());
            buckets[(hash >> 58) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|count| (800..1_200).contains(count)),
            "{buckets:?}"
        );
    }

    #[test]
    fn an_entry_tells_where_its_block_starts() {
        for (block, at) in [(4_096, 72), (4_096, 512), (512, 131_000), (1 << 40, 64)] {
            let entry = Entry::new(9, block, block + at, 512);
            assert_eq!((entry.block(512), entry.position()), (block, block + at));
            let mut bytes = [0; ENTRY_LEN];
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), entry);
        }
    }
}
