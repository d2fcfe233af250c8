//! Hashing: maps whose order does not depend on the process, and Java's `String.hashCode`.
//!
//! Java clients and tools compute tag codes, queue choices and index slots with
//! `String.hashCode`, so ours must agree with it bit for bit.

/// A hash map with a fixed seed: iteration order is a function of its history alone.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// A hash set with a fixed seed.
pub type HashSet<K> = hashbrown::HashSet<K, foldhash::fast::FixedState>;

/// Entry types of [`HashMap`].
pub mod hash_map {
    pub use hashbrown::hash_map::{Entry, EntryRef};
}

/// Java's `String.hashCode`: over UTF-16 code units, wrapping at 32 bits.
///
/// Source: `java.lang.String.hashCode`. RocketMQ derives tag codes from it
/// (`MessageExtBrokerInner.tagsString2tagsCode`).
pub fn java_string_hash(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0, |hash: i32, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        });
    }
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_equal_those_of_java() {
        for (text, expected) in [
            ("", 0),
            ("a", 97),
            ("TagA", 2_598_919),
            ("TopicTest", -1_902_610_879),
            ("订单", 1_129_459),
            ("\u{1f600}", 1_772_899),
        ] {
            assert_eq!(java_string_hash(text), expected, "{text}");
        }
    }
}
