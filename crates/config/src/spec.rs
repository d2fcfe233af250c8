//! What is known of a key, and the table macro from which everything about it comes.
//!
//! Invariant: a key's name, type, default, range and docs are stated in one place, its row.

use std::ops::RangeInclusive;

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once.
    Live,
    /// At the next start.
    Restart,
}

/// One honoured key.
#[derive(Debug)]
pub struct KeySpec {
    /// As users write it.
    pub name: &'static str,
    /// When a changed value takes effect.
    pub reload: Reload,
    /// Whether `mqbroker -m` prints it.
    pub important: bool,
    /// What a value must be, such as `a whole number`.
    pub kind: &'static str,
    /// The least and greatest number.
    pub range: Option<RangeInclusive<i128>>,
    /// What it means: sentences, one per line.
    pub doc: &'static str,
}

impl KeySpec {
    /// What a value must be, with its range: `a whole number from 1 to 10`.
    pub fn expected(&self) -> String {
        match &self.range {
            Some(range) if *range.end() >= i128::from(i64::MAX) => {
                format!("{} from {}", self.kind, range.start())
            }
            Some(range) => format!("{} from {} to {}", self.kind, range.start(), range.end()),
            None => self.kind.to_owned(),
        }
    }
}

/// A value that does not fit its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: \"{value}\" is not {expected}")]
pub struct BadValue {
    /// The key.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is expected.
    pub expected: String,
}

/// Declares a config struct: `"javaKey" [Live|Restart important?] field: Type = default, in range;`.
/// The doc comment becomes rustdoc and the printed docs; the default becomes `Default` and the
/// printed default.
macro_rules! config {
    ($(#[$outer:meta])* $vis:vis struct $name:ident { $(
        $(#[doc = $doc:literal])+
        $key:literal [$reload:ident $($important:ident)?] $field:ident: $ty:ty = $default:expr
            $(, in $range:expr)?;
    )* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name { $($(#[doc = $doc])+ pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// The keys, in the order of their declaration.
            pub const KEYS: &'static [$crate::KeySpec] = &[$($crate::KeySpec {
                name: $key,
                reload: $crate::Reload::$reload,
                important: config!(@important $($important)?),
                kind: <$ty as $crate::Value>::KIND,
                range: config!(@range $($range)?),
                doc: concat!($($doc, "\n"),+),
            }),*];

            /// Sets one key. `Ok(false)`: the key is not one of these.
            ///
            /// # Errors
            /// When the value does not fit; nothing has changed then.
            pub fn set(&mut self, key: &str, value: &str) -> Result<bool, $crate::BadValue> {
                match key {
                    $($key => {
                        self.$field = $crate::spec::read(Self::spec(key), value)?;
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Every key with its value, in the order of their declaration.
            pub fn to_properties(&self) -> Vec<(&'static str, String)> {
                vec![$(($key, $crate::Value::show(&self.$field))),*]
            }

            fn spec(key: &str) -> &'static $crate::KeySpec {
                let mut specs = Self::KEYS.iter();
                specs.find(|spec| spec.name == key).expect("each row makes a spec")
            }
        }
    };
    (@important) => { false };
    (@important important) => { true };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}
pub(crate) use config;

/// Reads a value and holds it to its key's range.
pub(crate) fn read<T: crate::Value>(spec: &'static KeySpec, text: &str) -> Result<T, BadValue> {
    let in_range = |value: &T| match (&spec.range, value.number()) {
        (Some(range), Some(number)) => range.contains(&number),
        _ => true,
    };
    T::read(text.trim())
        .filter(in_range)
        .ok_or_else(|| BadValue {
            key: spec.name,
            value: text.to_owned(),
            expected: spec.expected(),
        })
}
