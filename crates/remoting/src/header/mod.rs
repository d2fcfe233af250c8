//! Command headers: a flat list of named values, whatever the wire form.
//!
//! A header struct is declared once, with `#[derive(RemotingHeader)]`, in the file of its
//! capability. What must always hold: reading is one pass over the fields; of a name that comes
//! twice the last value counts, as in Java's maps; a missing or malformed field is named in the
//! error. Answers to Java's `CommandCustomHeader`.

use smallvec::SmallVec;
use std::borrow::Cow;

pub use macros::RemotingHeader;

pub mod admin;
pub mod client;
pub mod group;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod send;
pub mod topic;

/// A header that can be written.
pub trait EncodeHeader {
    /// Feeds every field that is present to `sink`, in the order of declaration.
    fn encode(&self, sink: &mut impl FieldSink);
}

/// A header that can also be read, borrowing from its fields for `'f`.
pub trait RemotingHeader<'f>: EncodeHeader + Sized {
    /// Its fields in the order of declaration.
    const FIELDS: &'static [FieldSpec];

    /// Reads it from the fields of a frame; fields that it does not know are ignored.
    fn decode(fields: &'f HeaderFields<'_>) -> Result<Self, HeaderError>;
}

/// One field of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether a header without it is an error.
    pub required: bool,
    /// What routing reads from it.
    pub route: Option<RouteRole>,
}

/// What the router reads from a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteRole {
    /// The topic's name.
    Topic,
    /// The queue's number in its topic.
    QueueId,
    /// The name of a producer or consumer group.
    Group,
    /// A physical offset, which names its shard.
    PhyOffset,
}

/// Receives the fields of a header. One implementation per wire form.
pub trait FieldSink {
    /// Takes a field of text.
    fn text(&mut self, name: &str, value: &str);

    /// Takes a field that holds a number.
    fn number(&mut self, name: &str, value: i64) {
        self.text(name, itoa::Buffer::new().format(value));
    }
}

/// A header without fields: the frame has none at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoHeader;

impl EncodeHeader for NoHeader {
    fn encode(&self, _sink: &mut impl FieldSink) {}
}

impl<'f> RemotingHeader<'f> for NoHeader {
    const FIELDS: &'static [FieldSpec] = &[];

    fn decode(_fields: &'f HeaderFields<'_>) -> Result<Self, HeaderError> {
        Ok(Self)
    }
}

/// A field as it came: name and value.
type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Room for the fields of every header of the hot path; more take memory.
const INLINE_FIELDS: usize = 16;

/// The fields of one frame, borrowed from it where the wire form allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderFields<'a>(SmallVec<[Field<'a>; INLINE_FIELDS]>);

impl<'a> HeaderFields<'a> {
    /// The value of `name`: a scan, which beats a hash at the size of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut from_last = self.0.iter().rev();
        // The first bytes differ nearly always, and a short name has no more.
        let first = name.as_bytes().first();
        from_last
            .find(|(key, _)| key.as_bytes().first() == first && key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// The value of the field that has `role` in a header of these `specs`.
    pub fn get_route(&self, specs: &[FieldSpec], role: RouteRole) -> Option<&str> {
        let spec = specs.iter().find(|spec| spec.route == Some(role))?;
        self.get(spec.name)
    }

    /// Names and values in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Forgets all fields.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether reading took no memory: all text is borrowed and all fields lie inline. Fields for
    /// which `may_be_copied` says so are left out.
    #[cfg(test)]
    pub(crate) fn took_no_memory(&self, may_be_copied: impl Fn(&str) -> bool) -> bool {
        let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        let fine = |(name, value): &Field<'_>| {
            is_borrowed(name) && (is_borrowed(value) || may_be_copied(name))
        };
        !self.0.spilled() && self.0.iter().all(fine)
    }

    /// The same fields, free of the frame they came in.
    pub fn into_owned(self) -> HeaderFields<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let fields = self.0.into_iter();
        HeaderFields(
            fields
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
        )
    }
}

/// Fields pass on as they came, for frames that are only forwarded.
impl EncodeHeader for HeaderFields<'_> {
    fn encode(&self, sink: &mut impl FieldSink) {
        for (name, value) in self.iter() {
            sink.text(name, value);
        }
    }
}

/// Why a header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field is absent. The text is that of Java's `FastCodesHeader`.
    #[error("the custom field <{field}> is null")]
    Missing {
        /// Its name on the wire.
        field: &'static str,
    },
    /// A value is not of the field's type.
    #[error("the custom field <{field}> has a bad value: {value:?}")]
    Malformed {
        /// Its name on the wire.
        field: &'static str,
        /// The value's first characters.
        value: String,
    },
}

/// The most characters of a bad value that an error repeats.
const SHOWN_CHARS: usize = 64;

impl HeaderError {
    fn malformed(field: &'static str, value: &str) -> Self {
        let value = value.chars().take(SHOWN_CHARS).collect();
        Self::Malformed { field, value }
    }
}

/// A type that can stand in a header field.
pub trait FieldValue<'f>: Sized {
    /// Whether a header without the field is an error.
    const REQUIRED: bool;

    /// Whether an empty text is a value. Where it is none, an optional field counts as absent.
    const MAY_BE_EMPTY: bool = false;

    /// Feeds the value, if present, to `sink`.
    fn write(&self, name: &'static str, sink: &mut impl FieldSink);

    /// Reads what was found under `name`.
    fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError>;
}

impl<'f> FieldValue<'f> for &'f str {
    const REQUIRED: bool = true;
    const MAY_BE_EMPTY: bool = true;

    fn write(&self, name: &'static str, sink: &mut impl FieldSink) {
        sink.text(name, self);
    }

    fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError> {
        found.ok_or(HeaderError::Missing { field: name })
    }
}

impl<'f> FieldValue<'f> for String {
    const REQUIRED: bool = true;
    const MAY_BE_EMPTY: bool = true;

    fn write(&self, name: &'static str, sink: &mut impl FieldSink) {
        sink.text(name, self);
    }

    fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError> {
        <&str>::read(name, found).map(str::to_owned)
    }
}

impl<'f> FieldValue<'f> for bool {
    const REQUIRED: bool = true;

    fn write(&self, name: &'static str, sink: &mut impl FieldSink) {
        sink.text(name, if *self { "true" } else { "false" });
    }

    /// Java `Boolean.parseBoolean`: "true" in any case, everything else is false.
    fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError> {
        <&str>::read(name, found).map(|text| text.eq_ignore_ascii_case("true"))
    }
}

macro_rules! number_fields {
    ($($number:ty),*) => {$(
        impl<'f> FieldValue<'f> for $number {
            const REQUIRED: bool = true;

            fn write(&self, name: &'static str, sink: &mut impl FieldSink) {
                sink.number(name, i64::from(*self));
            }

            fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError> {
                let text = <&str>::read(name, found)?;
                text.parse().map_err(|_| HeaderError::malformed(name, text))
            }
        }
    )*};
}

number_fields!(i32, i64);

impl<'f, T: FieldValue<'f>> FieldValue<'f> for Option<T> {
    const REQUIRED: bool = false;

    fn write(&self, name: &'static str, sink: &mut impl FieldSink) {
        if let Some(value) = self {
            value.write(name, sink);
        }
    }

    fn read(name: &'static str, found: Option<&'f str>) -> Result<Self, HeaderError> {
        let found = found.filter(|text| T::MAY_BE_EMPTY || !text.is_empty());
        found.map(|text| T::read(name, Some(text))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::pull::PullMessageRequestHeader;
    use super::send::SendMessageRequestHeaderV2;
    use super::*;

    fn fields<'a>(pairs: &[(&'a str, &'a str)]) -> HeaderFields<'a> {
        let mut fields = HeaderFields::default();
        for (name, value) in pairs {
            fields.push(*name, *value);
        }
        fields
    }

    const SEND: [(&str, &str); 8] = [
        ("a", "pg"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "3"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
    ];

    #[test]
    fn names_default_to_camel_case_and_roles_are_recorded() {
        let spec = |name| {
            let mut specs = PullMessageRequestHeader::FIELDS.iter();
            specs.find(|f| f.name == name).unwrap()
        };
        assert_eq!(spec("queueId").route, Some(RouteRole::QueueId));
        assert!(spec("suspendTimeoutMillis").required);
        assert!(!spec("subscription").required);
    }

    #[test]
    fn the_router_reads_its_keys_under_their_wire_names() {
        let fields = fields(&SEND);
        let specs = SendMessageRequestHeaderV2::FIELDS;
        assert_eq!(fields.get_route(specs, RouteRole::Topic), Some("T"));
        assert_eq!(fields.get_route(specs, RouteRole::QueueId), Some("3"));
        assert_eq!(fields.get_route(specs, RouteRole::PhyOffset), None);
    }

    #[test]
    fn a_missing_required_field_is_named() {
        for (at, (name, _)) in SEND.iter().enumerate() {
            let mut pairs = SEND.to_vec();
            pairs.remove(at);
            let error = SendMessageRequestHeaderV2::decode(&fields(&pairs)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the custom field <{name}> is null")
            );
        }
    }

    #[test]
    fn a_malformed_number_is_named_and_cut() {
        let mut pairs = SEND.to_vec();
        let long = "9".repeat(1_000);
        pairs[4].1 = &long;
        let error = SendMessageRequestHeaderV2::decode(&fields(&pairs)).unwrap_err();
        let value = "9".repeat(SHOWN_CHARS);
        assert_eq!(error, HeaderError::Malformed { field: "e", value });
    }

    #[test]
    fn the_last_of_two_values_counts_and_unknown_fields_are_ignored() {
        let mut pairs = SEND.to_vec();
        pairs.extend([("b", "U"), ("AccessKey", "")]);
        let fields = fields(&pairs);
        let header = SendMessageRequestHeaderV2::decode(&fields).unwrap();
        assert_eq!(header.topic, "U");
        assert_eq!(fields.get("b"), Some("U"));
    }

    #[test]
    fn an_empty_text_is_a_value_only_where_text_is_wanted() {
        let mut pairs = SEND.to_vec();
        pairs.extend([("i", ""), ("j", ""), ("m", "")]);
        let fields = fields(&pairs);
        let header = SendMessageRequestHeaderV2::decode(&fields).unwrap();
        assert_eq!(header.properties, Some(""));
        assert_eq!((header.reconsume_times, header.batch), (None, None));
    }

    #[test]
    fn booleans_are_read_as_java_reads_them() {
        for (text, expected) in [("true", true), ("TRUE", true), ("1", false), ("yes", false)] {
            let mut pairs = SEND.to_vec();
            pairs.push(("m", text));
            let fields = fields(&pairs);
            let header = SendMessageRequestHeaderV2::decode(&fields).unwrap();
            assert_eq!(header.batch, Some(expected), "{text:?}");
        }
    }
}
