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
    /// Whether the producer waits for the log to be written.
    pub(super) waits: bool,
    needs_separator: bool,
}

const NAME_END: char = '\u{1}';
const PAIR_END: char = '\u{2}';

/// Length of the part that [`missing_key`] may add.
pub(super) const UNIQUE_LEN: usize = 1 + 9 + 32 + 1;

impl<'a> Scanned<'a> {
    pub(super) fn read(properties: &'a str) -> Self {
        let mut scanned = Self {
            before: properties.as_bytes(),
            waits: true,
            needs_separator: !properties.is_empty() && !properties.ends_with(PAIR_END),
            ..Self::default()
        };
        let mut start = 0;
        for pair in properties.split(PAIR_END) {
            let end = (start + pair.len() + 1).min(properties.len());
            if let Some((name, value)) = pair.split_once(NAME_END)
                && !value.is_empty()
            {
                if name == "WAIT" {
                    scanned.before = &properties.as_bytes()[..start];
                    scanned.after = &properties.as_bytes()[end..];
                }
                scanned.note(name, value);
            }
            start = end;
        }
        if scanned.after.is_empty() && scanned.before.last() == Some(&(PAIR_END as u8)) {
            scanned.needs_separator = false;
        }
        scanned.needs_separator &= !(scanned.before.is_empty() && scanned.after.is_empty());
        scanned
    }

    fn note(&mut self, name: &str, value: &'a str) {
        match name {
            "TAGS" => self.tags = Some(value),
            "UNIQ_KEY" => self.uniq_key = Some(value),
            "WAIT" => self.waits = !value.eq_ignore_ascii_case("false"),
            "DELAY" => self.delay_level = value.parse().unwrap_or(0),
            "TRAN_MSG" => self.is_transaction = value.eq_ignore_ascii_case("true"),
            "TIMER_DELAY_MS" | "TIMER_DELAY_SEC" | "TIMER_DELIVER_MS" => self.is_timer = true,
            _ => {}
        }
    }
}

/// A closing separator when one is missing, and a `UNIQ_KEY` when the producer set none, as
/// brokers do from 5.0 on.
pub(super) fn missing_key<'u, R: Rt>(
    scanned: &Scanned<'_>,
    rt: &R,
    room: &'u mut [u8; UNIQUE_LEN],
) -> &'u [u8] {
    room[0] = PAIR_END as u8;
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
    room[UNIQUE_LEN - 1] = PAIR_END as u8;
    &room[start..]
}

/// The value of a property of a stored message.
pub(crate) fn find_property<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    let pairs = properties.split(PAIR_END);
    let pairs = pairs.filter_map(|pair| pair.split_once(NAME_END));
    let mut values = pairs.filter(|(key, value)| *key == name && !value.is_empty());
    values.next_back().map(|(_, value)| value)
}

/// Sets a property, in place of one of the same name.
pub(crate) fn set_property(properties: &mut String, name: &str, value: &str) {
    let mut kept = String::with_capacity(properties.len() + name.len() + value.len() + 2);
    for pair in properties.split(PAIR_END).filter(|pair| !pair.is_empty()) {
        if pair.split_once(NAME_END).is_none_or(|(key, _)| key != name) {
            kept.push_str(pair);
            kept.push(PAIR_END);
        }
    }
    kept.push_str(name);
    kept.push(NAME_END);
    kept.push_str(value);
    kept.push(PAIR_END);
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
    fn a_property_is_set_once() {
        let mut properties = "A\x011\x02B\x012".to_owned();
        set_property(&mut properties, "A", "3");
        set_property(&mut properties, "C", "4");
        assert_eq!(properties, "B\x012\x02A\x013\x02C\x014\x02");
        assert_eq!(find_property(&properties, "A"), Some("3"));
        assert_eq!(find_property(&properties, "D"), None);
    }
}
