//! The JSON header form.
//!
//! An object with the members `code`, `extFields`, `flag`, `language`, `opaque`, `remark` and
//! `version`; everything in `extFields` is text. What must always hold: reading borrows from the
//! frame wherever no escape forces a copy, and ignores members that it does not know. Java:
//! `RemotingSerializable`.

use super::flat_json::{self, plain_len};
use super::{Head, RawHead};
use crate::header::{EncodeHeader, FieldSink, HeaderFields};
use crate::language::LanguageCode;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Reads a header that fills `bytes`, its fields into `fields`, which is empty.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    fields: &mut HeaderFields<'a>,
) -> Result<RawHead<'a>, serde_json::Error> {
    if let Some(head) = flat_json::decode(bytes, fields) {
        return Ok(head);
    }
    fields.clear();
    decode_any(bytes, fields)
}

/// The same for JSON of any shape.
pub(crate) fn decode_any<'a>(
    bytes: &'a [u8],
    fields: &mut HeaderFields<'a>,
) -> Result<RawHead<'a>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let head = json.deserialize_map(HeadVisitor { fields })?;
    json.end()?;
    Ok(head)
}

struct HeadVisitor<'v, 'a> {
    fields: &'v mut HeaderFields<'a>,
}

impl<'de> Visitor<'de> for HeadVisitor<'_, 'de> {
    type Value = RawHead<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command's header")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut head = RawHead::default();
        while let Some(Text(name)) = map.next_key()? {
            match name.as_ref() {
                "code" => head.code = map.next_value()?,
                "flag" => head.flag = map.next_value()?,
                "opaque" => head.opaque = map.next_value()?,
                "version" => head.version = map.next_value()?,
                "remark" => head.remark = map.next_value::<Scalar<'_>>()?.0,
                "language" => {
                    let name = map.next_value::<Scalar<'_>>()?.0;
                    head.language = LanguageCode::from_name(name.as_deref().unwrap_or_default());
                }
                "extFields" => {
                    if let Some(Fields(fields)) = map.next_value()? {
                        *self.fields = fields;
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(head)
    }
}

/// The members of `extFields`.
struct Fields<'a>(HeaderFields<'a>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = HeaderFields::default();
        while let Some(Text(name)) = map.next_key()? {
            if let Scalar(Some(value)) = map.next_value()? {
                fields.push(name, value);
            }
        }
        Ok(Fields(fields))
    }
}

/// Text, borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text)))
    }
}

/// A value as text: the C++ client writes small numbers and booleans bare. What is no scalar has
/// no text.
struct Scalar<'a>(Option<Cow<'a, str>>);

impl Scalar<'_> {
    fn of(value: &impl ToString) -> Self {
        Self(Some(Cow::Owned(value.to_string())))
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        let text = if value { "true" } else { "false" };
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::of(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::of(&value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::of(&value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}

/// Writes a header to the end of `out`, its members sorted as Java sorts them.
pub(crate) fn encode(out: &mut Vec<u8>, head: Head<'_>, header: &impl EncodeHeader) {
    out.extend_from_slice(b"{\"code\":");
    put_number(out, i64::from(head.code));
    let mut sink = JsonSink {
        out,
        is_open: false,
    };
    header.encode(&mut sink);
    if sink.is_open {
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    put_number(out, i64::from(head.flag));
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(head.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    put_number(out, i64::from(head.opaque));
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":");
        put_text(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    put_number(out, i64::from(head.version));
    out.push(b'}');
}

/// Writes `extFields`, from the first field on; nothing if there is none.
struct JsonSink<'a> {
    out: &'a mut Vec<u8>,
    is_open: bool,
}

impl JsonSink<'_> {
    fn name(&mut self, name: &str) {
        let before: &[u8] = if self.is_open {
            b","
        } else {
            b",\"extFields\":{"
        };
        self.out.extend_from_slice(before);
        self.is_open = true;
        put_text(self.out, name);
        self.out.push(b':');
    }
}

impl FieldSink for JsonSink<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        put_text(self.out, value);
    }

    fn number(&mut self, name: &str, value: i64) {
        self.name(name);
        self.out.push(b'"');
        put_number(self.out, value);
        self.out.push(b'"');
    }
}

fn put_number(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes text in quotes; control characters, quotes and backslashes are escaped.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = plain_len(rest) {
        out.extend_from_slice(&rest[..at]);
        put_escaped(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn put_escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        control => {
            let [high, low] = [control >> 4, control & 15].map(|digit| HEX_DIGITS[digit as usize]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::NoHeader;

    type Read<'a> = (RawHead<'a>, HeaderFields<'a>);

    fn decode(bytes: &[u8]) -> Result<Read<'_>, serde_json::Error> {
        let mut fields = HeaderFields::default();
        super::decode(bytes, &mut fields).map(|head| (head, fields))
    }

    const HEAD: Head<'_> = Head {
        code: 0,
        language: LanguageCode::Java,
        version: 409,
        opaque: 3,
        flag: 1,
        remark: None,
    };

    /// A real answer of an official broker 4.9.8.
    const ANSWER: &str = r#"{"code":0,"extFields":{"queueId":"0","TRACE_ON":"true","MSG_REGION":"DefaultRegion","msgId":"7F00000100002A9F0000000000000000","queueOffset":"0"},"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":409}"#;

    #[test]
    fn a_real_answer_reads_without_a_copy_and_is_written_the_same() {
        let (header, fields) = decode(ANSWER.as_bytes()).unwrap();
        assert_eq!(
            (header.code, header.opaque, header.flag, header.version),
            (0, 3, 1, 409)
        );
        assert_eq!(fields.get("queueOffset"), Some("0"));
        assert_eq!(fields.get("MSG_REGION"), Some("DefaultRegion"));
        let mut out = Vec::new();
        encode(&mut out, HEAD, &fields);
        assert_eq!(String::from_utf8(out).unwrap(), ANSWER);
    }

    #[test]
    fn numbers_and_booleans_in_fields_become_text() {
        let text = br#"{"code":310,"extFields":{"d":4,"g":1795158980539,"m":true,"x":null,
            "Signature":"","y":{"a":[1]},"z":[{}],"f":1.5,"n":-1},"unknown":[{"a":1}]}"#;
        let (_, fields) = decode(text).unwrap();
        let pairs: Vec<_> = fields.iter().collect();
        let expected = [
            ("d", "4"),
            ("g", "1795158980539"),
            ("m", "true"),
            ("Signature", ""),
            ("f", "1.5"),
            ("n", "-1"),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn absent_and_null_members_are_accepted() {
        for text in [
            r#"{"code":34}"#,
            r#"{"code":34,"extFields":null,"remark":null,"language":null}"#,
            r#"{"code":34,"extFields":{},"language":"KLINGON","version":5}"#,
        ] {
            let (header, fields) = decode(text.as_bytes()).unwrap();
            assert_eq!(header.code, 34);
            assert_eq!(header.language, LanguageCode::Other);
            assert_eq!(header.remark, None);
            assert!(fields.is_empty());
        }
    }

    #[test]
    fn text_with_escapes_reads_and_writes() {
        let all: String = (0..0x80_u8).map(char::from).collect();
        let mut fields = HeaderFields::default();
        fields.push("properties", all.as_str());
        fields.push("订单\"", "\u{1f600}\\");
        let mut out = Vec::new();
        let head = Head {
            remark: Some("a\n\"b\""),
            ..HEAD
        };
        encode(&mut out, head, &fields);
        let (header, read) = decode(&out).unwrap();
        assert!(read.iter().eq(fields.iter()));
        assert_eq!(header.remark.as_deref(), Some("a\n\"b\""));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["extFields"]["properties"], all);
    }

    #[test]
    fn a_header_without_fields_has_no_such_member() {
        let mut out = Vec::new();
        encode(&mut out, HEAD, &NoHeader);
        let expected = r#"{"code":0,"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":409}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for len in 0..ANSWER.len() {
            assert!(decode(&ANSWER.as_bytes()[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for text in [
            "[]",
            "1",
            "{\"code\":\"x\"}",
            "{\"code\":1}x",
            "{\"code\":3000000000}",
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(decode(format!("{{\"x\":{deep}").as_bytes()).is_err());
    }
}
