//! Properties of a message: `key \x01 value \x02 key \x01 value \x02 …` in one text.
//!
//! They travel and are stored as that text; this module reads it in place and makes changed copies.
//! What must always hold: reading takes what Java takes (the last separator may be missing, an
//! empty key or value is skipped, of a key that comes twice the last value counts), and writing
//! ends every pair with its separator. Java: `MessageDecoder.string2messageProperties`,
//! `MessageConst`.

/// Between key and value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// After each pair.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// Keys that the broker knows. Source: Java `MessageConst`.
pub mod keys {
    /// The id that the producer gave; indexed.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Business keys, joined by spaces; indexed.
    pub const KEYS: &str = "KEYS";
    /// The tag.
    pub const TAGS: &str = "TAGS";
    /// "false": acknowledge without waiting for disk and replicas.
    pub const WAIT: &str = "WAIT";
    /// The delay level, from 1.
    pub const DELAY: &str = "DELAY";
    /// Deliver after so many seconds.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Deliver after so many milliseconds.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Deliver at this time, in milliseconds since the epoch.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// The topic that a delayed or half message is for.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// The queue that a delayed or half message is for.
    pub const REAL_QID: &str = "REAL_QID";
    /// The topic that a retried message came from.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// The offset message id of the first storage.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// How often it failed, when the client itself sends it again.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    /// How often it may fail, when the client itself sends it again.
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// The producer group of a transactional message.
    pub const PGROUP: &str = "PGROUP";
    /// "true": a half message.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// The cluster, added by the broker.
    pub const CLUSTER: &str = "CLUSTER";
    /// The region, added by the broker.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// Whether clients shall trace, added by the broker.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// Handle of a POP consumer; stripped from what is sent.
    pub const POP_CK: &str = "POP_CK";
    /// To whom a reply goes.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// Which request a reply belongs to.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    /// The topic of a dead letter.
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    /// The id of a dead letter.
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
}

/// The pairs in the order they stand.
pub fn iter(properties: &str) -> impl Iterator<Item = (&str, &str)> {
    properties.split(PROPERTY_SEPARATOR).filter_map(pair)
}

/// The value of `key`.
pub fn get<'a>(properties: &'a str, key: &str) -> Option<&'a str> {
    let of_key = |item: &'a str| value_of(item, key);
    properties
        .split(PROPERTY_SEPARATOR)
        .filter_map(of_key)
        .next_back()
}

/// What stands before and after the pair of `key`, or `None` if there is no such pair: removal
/// without a copy. Of a key that comes twice the last pair is taken.
pub fn around<'a>(properties: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let item = properties
        .split(PROPERTY_SEPARATOR)
        .rfind(|item| value_of(item, key).is_some())?;
    let start = item.as_ptr().addr() - properties.as_ptr().addr();
    let rest = &properties[start + item.len()..];
    let rest = rest.strip_prefix(PROPERTY_SEPARATOR).unwrap_or(rest);
    Some((&properties[..start], rest))
}

/// The properties without any pair of `key`.
#[must_use]
pub fn remove(properties: &str, key: &str) -> String {
    let mut rest = String::with_capacity(properties.len());
    for item in properties.split(PROPERTY_SEPARATOR) {
        if !item.is_empty() && value_of(item, key).is_none() {
            rest.push_str(item);
            rest.push(PROPERTY_SEPARATOR);
        }
    }
    rest
}

/// The properties with `value` as the only value of `key`.
#[must_use]
pub fn set(properties: &str, key: &str, value: &str) -> String {
    let mut changed = remove(properties, key);
    push(&mut changed, key, value);
    changed
}

/// Adds a pair at the end; it must not be there yet, else its new value counts.
pub fn push(properties: &mut String, key: &str, value: &str) {
    if !is_closed(properties) {
        properties.push(PROPERTY_SEPARATOR);
    }
    properties.push_str(key);
    properties.push(NAME_VALUE_SEPARATOR);
    properties.push_str(value);
    properties.push(PROPERTY_SEPARATOR);
}

/// Whether a pair can be appended without a separator before it.
pub fn is_closed(properties: &str) -> bool {
    properties.is_empty() || properties.ends_with(PROPERTY_SEPARATOR)
}

/// Java takes the first separator of an item, and skips an item without key or value.
fn pair(item: &str) -> Option<(&str, &str)> {
    let (key, value) = item.split_once(NAME_VALUE_SEPARATOR)?;
    (!key.is_empty() && !value.is_empty()).then_some((key, value))
}

fn value_of<'a>(item: &'a str, key: &str) -> Option<&'a str> {
    let value = item.strip_prefix(key)?.strip_prefix(NAME_VALUE_SEPARATOR)?;
    (!key.is_empty() && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = "KEYS\u{1}k1 k2\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA";

    #[test]
    fn values_are_found_with_and_without_the_last_separator() {
        for properties in [SAMPLE.to_owned(), format!("{SAMPLE}\u{2}")] {
            assert_eq!(get(&properties, "TAGS"), Some("TagA"));
            assert_eq!(get(&properties, "KEYS"), Some("k1 k2"));
            assert_eq!(get(&properties, "KEY"), None);
            assert_eq!(get(&properties, "TagA"), None);
        }
    }

    #[test]
    fn items_that_java_skips_are_skipped() {
        let properties = "\u{2}a\u{1}\u{2}\u{1}b\u{2}ab\u{2}c\u{1}d\u{2}e\u{1}f\u{1}g\u{2}c\u{1}h";
        let pairs: Vec<_> = iter(properties).collect();
        assert_eq!(pairs, [("c", "d"), ("e", "f\u{1}g"), ("c", "h")]);
        assert_eq!(get(properties, "c"), Some("h"));
        assert_eq!(get(properties, "a"), None);
        assert_eq!(get(properties, ""), None);
    }

    #[test]
    fn a_pair_is_cut_out_without_a_copy() {
        let (before, after) = around(SAMPLE, "WAIT").unwrap();
        assert_eq!(
            [before, after].concat(),
            remove(SAMPLE, "WAIT").trim_end_matches('\u{2}')
        );
        assert_eq!(around(SAMPLE, "TAGS").unwrap().1, "");
        assert_eq!(around(SAMPLE, "KEYS").unwrap().0, "");
        assert_eq!(around(SAMPLE, "DELAY"), None);
    }

    #[test]
    fn a_set_value_is_the_only_one() {
        let changed = set(SAMPLE, "KEYS", "k3");
        assert_eq!(
            changed,
            "WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}KEYS\u{1}k3\u{2}"
        );
        assert_eq!(set("", "a", "b"), "a\u{1}b\u{2}");
        let mut properties = SAMPLE.to_owned();
        push(&mut properties, "CLUSTER", "c");
        assert_eq!(get(&properties, "TAGS"), Some("TagA"));
        assert_eq!(get(&properties, "CLUSTER"), Some("c"));
    }

    proptest! {
        #[test]
        fn a_value_set_is_found_and_the_others_stay(
            properties in "[a-c\u{1}\u{2}]{0,40}", key in "[a-c]{1,3}", value in "[a-c]{1,3}",
        ) {
            let changed = set(&properties, &key, &value);
            prop_assert_eq!(get(&changed, &key), Some(value.as_str()));
            let removed = remove(&properties, &key);
            prop_assert_eq!(get(&removed, &key), None);
            for (other, _) in iter(&properties).filter(|(other, _)| *other != key) {
                prop_assert_eq!(get(&changed, other), get(&properties, other));
            }
            match around(&properties, &key) {
                None => prop_assert_eq!(get(&properties, &key), None),
                Some((before, after)) => {
                    let count = iter(&properties).count();
                    let left = [before, after].concat();
                    prop_assert_eq!(iter(&left).count(), count - 1);
                }
            }
        }
    }
}
