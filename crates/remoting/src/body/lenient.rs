//! Members that peers write in more than one way, read as fastjson reads them.
//!
//! Numbers may be quoted, enumerations may be names or ordinals, and null stands for a default.
//! What must always hold: an unknown name is no error, since one new word must not make a whole
//! heartbeat unreadable.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads null as the default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a number that may be quoted; null is 0.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Loose::deserialize(deserializer)? {
        Loose::Number(number) => Ok(number),
        Loose::Text(text) => text.trim().parse().map_err(D::Error::custom),
        Loose::Other => Ok(0),
    }
}

/// Reads numbers that may be quoted; those that are none, or no 32-bit ones, are left out.
pub(super) fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    let all: Vec<Loose> = or_default(deserializer)?;
    let number = |loose: Loose| match loose {
        Loose::Number(number) => i32::try_from(number).ok(),
        Loose::Text(text) => text.trim().parse().ok(),
        Loose::Other => None,
    };
    Ok(all.into_iter().filter_map(number).collect())
}

/// A word: a name, or an ordinal that stands for one of `names`.
pub(super) fn word<'de, D: Deserializer<'de>>(
    deserializer: D,
    names: &[&str],
) -> Result<Option<String>, D::Error> {
    Ok(match Loose::deserialize(deserializer)? {
        Loose::Text(text) => Some(text),
        Loose::Number(ordinal) => {
            let at = usize::try_from(ordinal).ok();
            at.and_then(|at| names.get(at))
                .map(|name| (*name).to_owned())
        }
        Loose::Other => None,
    })
}

/// A number or a text; anything else is neither.
enum Loose {
    Number(i64),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(Loose::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Loose, E> {
        i64::try_from(value).map(Loose::Number).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(Loose::Number(value as i64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Loose, E> {
        Ok(Loose::Text(text))
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Loose, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Loose, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}
