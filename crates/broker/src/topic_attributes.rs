//! Attributes of topics and the text that changes them: `+key=value,-key`.
//!
//! Pure. What must always hold: a topic carries only attributes that are known, with values of
//! their range; a text with one bad part changes nothing. The remarks are Java's, which tools show
//! to users. Answers to Java's `AttributeParser`, `AttributeUtil` and `TopicAttributes`.

use std::collections::BTreeMap;

/// Attributes of a topic, by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Why a change of attributes is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    #[error("add/alter attribute format is wrong: {0}")]
    AddFormat(String),
    #[error("delete attribute format is wrong: {0}")]
    DeleteFormat(String),
    #[error("kv string format wrong.")]
    Format,
    #[error("key duplication: {0}")]
    Duplicate(String),
    #[error("only add attribute is supported while creating topic. key: {0}")]
    DeleteAtCreation(String),
    #[error("attempt to delete a nonexistent key: {0}")]
    DeleteUnknown(String),
    #[error("unsupported key: {0}")]
    Unsupported(String),
    #[error("attempt to update an unchangeable attribute. key: {0}")]
    Unchangeable(String),
    #[error("value is not in set: [{0}]")]
    NotInSet(String),
    #[error("{key}={value}: the value is not a number of at least -1")]
    NotInRange {
        /// The attribute.
        key: String,
        /// What was to be its value.
        value: String,
    },
    #[error("{key}={value} is not supported by this broker")]
    NotServed {
        /// The attribute.
        key: String,
        /// What was to be its value.
        value: String,
    },
}

/// The attributes after `text` is applied to `current`; `None` stands for a topic that is being
/// created.
pub(crate) fn altered(
    current: Option<&Attributes>,
    text: &str,
) -> Result<Attributes, AttributeError> {
    let mut result = current.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let change = parse(part)?;
        if seen.contains(&change.key) {
            return Err(AttributeError::Duplicate(change.key.to_owned()));
        }
        seen.push(change.key);
        apply(&mut result, current.is_none(), &change)?;
    }
    Ok(result)
}

struct Change<'a> {
    key: &'a str,
    /// `None` deletes.
    value: Option<&'a str>,
}

fn parse(part: &str) -> Result<Change<'_>, AttributeError> {
    let change = match part.split_once('=') {
        Some((key, value)) => Change {
            key: key
                .strip_prefix('+')
                .ok_or_else(|| AttributeError::AddFormat(key.to_owned()))?,
            value: Some(value),
        },
        None => Change {
            key: part
                .strip_prefix('-')
                .ok_or_else(|| AttributeError::DeleteFormat(part.to_owned()))?,
            value: None,
        },
    };
    if change.key.is_empty() || change.key.contains(['+', '-']) {
        return Err(AttributeError::Format);
    }
    Ok(change)
}

fn apply(
    attributes: &mut Attributes,
    is_creation: bool,
    change: &Change<'_>,
) -> Result<(), AttributeError> {
    let key = change.key.to_owned();
    let Some(value) = change.value else {
        if is_creation {
            return Err(AttributeError::DeleteAtCreation(key));
        }
        if !attributes.contains_key(&key) {
            return Err(AttributeError::DeleteUnknown(key));
        }
        check_changeable(&key)?;
        attributes.remove(&key);
        return Ok(());
    };
    if !is_creation {
        check_changeable(&key)?;
    }
    check_value(&key, value)?;
    attributes.insert(key, value.to_owned());
    Ok(())
}

fn check_changeable(key: &str) -> Result<(), AttributeError> {
    match key {
        "message.type" | "reserve.time" => Ok(()),
        "queue.type" | "cleanup.policy" => Err(AttributeError::Unchangeable(key.to_owned())),
        _ => Err(AttributeError::Unsupported(key.to_owned())),
    }
}

fn check_value(key: &str, value: &str) -> Result<(), AttributeError> {
    let (key, value) = (key.to_owned(), value.to_owned());
    let one_of = |set: &[&str]| {
        if set.contains(&value.as_str()) {
            return Ok(());
        }
        Err(AttributeError::NotInSet(set.join(", ")))
    };
    match key.as_str() {
        "message.type" => one_of(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "MIXED",
        ]),
        "queue.type" => {
            one_of(&["BatchCQ", "SimpleCQ"])?;
            served(value == "SimpleCQ", key, value)
        }
        "cleanup.policy" => {
            one_of(&["COMPACTION", "DELETE"])?;
            served(value == "DELETE", key, value)
        }
        "reserve.time" if value.parse::<i64>().is_ok_and(|time| time >= -1) => Ok(()),
        "reserve.time" => Err(AttributeError::NotInRange { key, value }),
        _ => Err(AttributeError::Unsupported(key)),
    }
}

fn served(is_served: bool, key: String, value: String) -> Result<(), AttributeError> {
    if is_served {
        return Ok(());
    }
    Err(AttributeError::NotServed { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(current: Option<&str>, text: &str, expected: Result<&str, &str>) {
        let current = current.map(|text| altered(None, text).unwrap());
        let result = altered(current.as_ref(), text);
        let shown = result.map_err(|error| error.to_string()).map(|attributes| {
            let parts = attributes
                .iter()
                .map(|(key, value)| format!("{key}={value}"));
            parts.collect::<Vec<_>>().join(",")
        });
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(shown, expected, "{current:?} {text}");
    }

    #[test]
    fn attributes_are_added_changed_and_deleted() {
        check(None, "", Ok(""));
        check(None, "+message.type=FIFO", Ok("message.type=FIFO"));
        check(
            Some("+message.type=FIFO"),
            "+reserve.time=5,-message.type",
            Ok("reserve.time=5"),
        );
        check(Some("+message.type=FIFO"), "", Ok("message.type=FIFO"));
        check(
            Some("+message.type=FIFO"),
            "+message.type=DELAY",
            Ok("message.type=DELAY"),
        );
    }

    #[test]
    fn bad_changes_are_refused_in_the_words_of_java() {
        for (current, text, remark) in [
            (None, "+nonsense=FIFO", "unsupported key: nonsense"),
            (
                None,
                "message.type=FIFO",
                "add/alter attribute format is wrong: message.type",
            ),
            (
                None,
                "message.type",
                "delete attribute format is wrong: message.type",
            ),
            (None, "+=x", "kv string format wrong."),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (
                Some(""),
                "-message.type",
                "attempt to delete a nonexistent key: message.type",
            ),
            (
                Some(""),
                "+queue.type=SimpleCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            (
                None,
                "+message.type=FIFO,+message.type=DELAY",
                "key duplication: message.type",
            ),
            (
                None,
                "+queue.type=BatchCQ",
                "queue.type=BatchCQ is not supported by this broker",
            ),
            (
                None,
                "+cleanup.policy=NO",
                "value is not in set: [COMPACTION, DELETE]",
            ),
            (
                None,
                "+reserve.time=-2",
                "reserve.time=-2: the value is not a number of at least -1",
            ),
        ] {
            check(current, text, Err(remark));
        }
    }
}
