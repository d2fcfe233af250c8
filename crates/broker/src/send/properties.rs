//! The properties of a message on its way in: one pass, no allocation.
//!
//! Pure. The string is kept as the producer sent it but for `WAIT`, which is not stored, and a
//! closing separator. Invariant: of a key that comes twice the last value counts.

use rt::Rt;

/// What the broker must know of a message's properties.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent findings of one pass"
)]
pub(super) struct Scanned<'a> {
    /// What is stored, before and after a `WAIT` that is not.
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    pub(super) tags: Option<&'a str>,
    pub(super) uniq_key: Option<&'a str>,
    pub(super) delay_level: i32,
    pub(super) is_transaction: bool,
    pub(super) is_timer: bool,
    /// `PGROUP`, the producer group of a transactional message.
    pub(super) producer_group: Option<&'a str>,
    /// `CHECK_IMMUNITY_TIME_IN_SECONDS`.
    pub(super) check_immunity: Option<&'a str>,
    /// Whether the producer waits for the log to be written.
    pub(super) waits: bool,
    needs_separator: bool,
}

const NAME_END: u8 = 1;
const PAIR_END: u8 = 2;

/// Where the first byte stands that `is_mark`, which are control characters below 3; the length when
/// there is none.
fn next_mark(bytes: &[u8], is_mark: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    loop {
        at += low_at(&bytes[at..]);
        match bytes.get(at) {
            Some(byte) if !is_mark(*byte) => at += 1,
            _ => return at,
        }
    }
}

/// Where the first byte below 3 stands; the length when there is none.
fn low_at(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The lowest bit that is left stands for the first such byte.
        let found = word.wrapping_sub(ONES * 3) & !word & (ONES * 0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| *byte < 3).unwrap_or(rest.len())
}

/// Length of the part that [`missing_key`] may add.
pub(super) const UNIQUE_LEN: usize = 1 + 9 + 32 + 1;

impl<'a> Scanned<'a> {
    pub(super) fn read(properties: &'a str) -> Self {
        let mut scanned = Self {
            before: properties.as_bytes(),
            waits: true,
            needs_separator: !properties.is_empty()
                && properties.as_bytes().last() != Some(&PAIR_END),
            ..Self::default()
        };
        let bytes = properties.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let pair = &bytes[start..];
            let name_len = next_mark(pair, |byte| byte == NAME_END || byte == PAIR_END);
            let len = if pair.get(name_len) == Some(&NAME_END) {
                name_len + 1 + next_mark(&pair[name_len + 1..], |byte| byte == PAIR_END)
            } else {
                name_len
            };
            let end = (start + len + 1).min(bytes.len());
            if name_len + 1 < len {
                let name = &pair[..name_len];
                if name == b"WAIT" {
                    scanned.before = &bytes[..start];
                    scanned.after = &bytes[end..];
                }
                scanned.note(name, &properties[start + name_len + 1..start + len]);
            }
            start = end;
        }
        if scanned.after.is_empty() && scanned.before.last() == Some(&PAIR_END) {
            scanned.needs_separator = false;
        }
        scanned.needs_separator &= !(scanned.before.is_empty() && scanned.after.is_empty());
        scanned
    }

    fn note(&mut self, name: &[u8], value: &'a str) {
        match name {
            b"TAGS" => self.tags = Some(value),
            b"UNIQ_KEY" => self.uniq_key = Some(value),
            b"WAIT" => self.waits = !value.eq_ignore_ascii_case("false"),
            b"DELAY" => self.delay_level = value.parse().unwrap_or(0),
            b"TRAN_MSG" => self.is_transaction = value.eq_ignore_ascii_case("true"),
            b"PGROUP" => self.producer_group = Some(value),
            b"CHECK_IMMUNITY_TIME_IN_SECONDS" => self.check_immunity = Some(value),
            b"TIMER_DELAY_MS" | b"TIMER_DELAY_SEC" | b"TIMER_DELIVER_MS" => self.is_timer = true,
            _ => {}
        }
    }
}

/// The `UNIQ_KEY` in what [`missing_key`] has added, if it has added one.
pub(super) fn made_key(added: &[u8]) -> Option<&str> {
    let pair = added.get(added.len().checked_sub(UNIQUE_LEN - 1)?..)?;
    std::str::from_utf8(&pair[9..UNIQUE_LEN - 2]).ok()
}

/// A closing separator when one is missing, and a `UNIQ_KEY` when the producer set none, as
/// brokers do from 5.0 on.
pub(super) fn missing_key<'u, R: Rt>(
    scanned: &Scanned<'_>,
    rt: &R,
    room: &'u mut [u8; UNIQUE_LEN],
) -> &'u [u8] {
    room[0] = PAIR_END;
    let start = usize::from(!scanned.needs_separator);
    if scanned.uniq_key.is_some() {
        return &room[start..1];
    }
    room[1..10].copy_from_slice(b"UNIQ_KEY\x01");
    for half in [10, 26] {
        let mut bits = rt.random_u64();
        for byte in &mut room[half..half + 16] {
            *byte = b"0123456789ABCDEF"[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    room[UNIQUE_LEN - 1] = PAIR_END;
    &room[start..]
}

/// The value of a property of a stored message.
pub(crate) fn find_property<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    let pairs = properties.split(char::from(PAIR_END));
    let pairs = pairs.filter_map(|pair| pair.split_once(char::from(NAME_END)));
    let mut values = pairs.filter(|(key, value)| *key == name && !value.is_empty());
    values.next_back().map(|(_, value)| value)
}

/// Sets a property, in place of one of the same name.
pub(crate) fn set_property(properties: &mut String, name: &str, value: &str) {
    let mut kept = String::with_capacity(properties.len() + name.len() + value.len() + 2);
    for pair in properties
        .split(char::from(PAIR_END))
        .filter(|pair| !pair.is_empty())
    {
        if pair
            .split_once(char::from(NAME_END))
            .is_none_or(|(key, _)| key != name)
        {
            kept.push_str(pair);
            kept.push(char::from(PAIR_END));
        }
    }
    kept.push_str(name);
    kept.push(char::from(NAME_END));
    kept.push_str(value);
    kept.push(char::from(PAIR_END));
    *properties = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(scanned: &Scanned<'_>) -> String {
        let mut all = scanned.before.to_vec();
        all.extend_from_slice(scanned.after);
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn wait_is_read_and_not_stored() {
        for (sent, expected, needs_separator) in [
            ("", "", false),
            ("TAGS\x01A\x02", "TAGS\x01A\x02", false),
            ("TAGS\x01A", "TAGS\x01A", true),
            ("WAIT\x01true\x02TAGS\x01A", "TAGS\x01A", true),
            ("TAGS\x01A\x02WAIT\x01false", "TAGS\x01A\x02", false),
            (
                "TAGS\x01A\x02WAIT\x01false\x02K\x01v\x02",
                "TAGS\x01A\x02K\x01v\x02",
                false,
            ),
            ("WAIT\x01false", "", false),
            ("WAIT\x01false\x02", "", false),
        ] {
            let scanned = Scanned::read(sent);
            assert_eq!(kept(&scanned), expected, "{sent:?}");
            assert_eq!(scanned.needs_separator, needs_separator, "{sent:?}");
            assert_eq!(scanned.waits, !sent.contains("false"), "{sent:?}");
        }
    }

    #[test]
    fn keys_that_matter_are_found_and_the_last_one_counts() {
        let scanned = Scanned::read(
            "UNIQ_KEY\x01u\x02TAGS\x01A\x02TAGS\x01B\x02DELAY\x013\x02TRAN_MSG\x01true",
        );
        assert_eq!(scanned.uniq_key, Some("u"));
        assert_eq!(scanned.tags, Some("B"));
        assert_eq!(scanned.delay_level, 3);
        assert!(scanned.is_transaction && !scanned.is_timer);
        let empty = Scanned::read("TAGS\x01\x02\x02\x01x\x02DELAY\x01abc");
        assert_eq!((empty.tags, empty.delay_level), (None, 0));
    }

    #[test]
    fn every_byte_is_a_mark_exactly_when_it_is_asked_for() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let expected = if byte == PAIR_END { at } else { 20 };
                assert_eq!(next_mark(&bytes, |byte| byte == PAIR_END), expected);
                bytes[19] = NAME_END;
                let found = next_mark(&bytes, |byte| byte == NAME_END || byte == PAIR_END);
                let is_mark = byte == NAME_END || byte == PAIR_END;
                assert_eq!(
                    found,
                    if is_mark { at.min(19) } else { 19 },
                    "{byte} at {at}"
                );
            }
        }
        assert_eq!(next_mark(&[], |_| true), 0);
    }

    #[test]
    fn odd_properties_are_read_pair_by_pair() {
        for (sent, tags) in [
            ("TAGS\x01a\x01b\x02", Some("a\x01b")),
            ("\x02\x02TAGS\x01A", Some("A")),
            ("TAGS\x02\x01A", None),
            ("TAGS\x00\x01A", None),
            ("\x01TAGS\x01A", None),
            ("TAGS\x01", None),
        ] {
            assert_eq!(Scanned::read(sent).tags, tags, "{sent:?}");
        }
    }

    #[test]
    fn a_property_is_set_once() {
        let mut properties = "A\x011\x02B\x012".to_owned();
        set_property(&mut properties, "A", "3");
        set_property(&mut properties, "C", "4");
        assert_eq!(properties, "B\x012\x02A\x013\x02C\x014\x02");
        assert_eq!(find_property(&properties, "A"), Some("3"));
        assert_eq!(find_property(&properties, "D"), None);
    }
}
