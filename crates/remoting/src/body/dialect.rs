//! JSON as fastjson reads and writes it, beside the standard.
//!
//! fastjson writes integer keys without quotes (`{0:"a"}`) and object keys as objects
//! (`{{"queueId":0}:1}`), and reads single quotes and bare keys. What must always hold: reading is
//! total, and takes time and memory proportional to the text; standard JSON takes the short way.
//! Java: `RemotingSerializable` over fastjson.

use super::{BodyError, MessageQueue};
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;

/// Reads a body, standard or not.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    match serde_json::from_slice(bytes) {
        Err(error) if error.is_syntax() => {
            let standard = to_standard(bytes)?;
            Ok(serde_json::from_slice(&standard)?)
        }
        result => Ok(result?),
    }
}

/// Writes a body as fastjson does: integer keys stand without quotes.
pub fn to_vec(body: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    body.serialize(&mut Serializer::with_formatter(
        &mut out,
        FastJson::default(),
    ))?;
    Ok(out)
}

/// Writes a body that every JSON reader takes, with everything beyond ASCII escaped, as fastjson
/// does with its feature `BrowserCompatible`.
pub fn to_standard_vec(body: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    body.serialize(&mut Serializer::with_formatter(&mut out, Ascii))?;
    Ok(out)
}

/// Writes a map keyed by queues, with the keys as objects.
pub(super) fn put_by_queue<V: Serialize>(out: &mut Vec<u8>, map: &BTreeMap<MessageQueue, V>) {
    out.push(b'{');
    for (at, (queue, value)) in map.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, queue);
        out.push(b':');
        put(out, value);
    }
    out.push(b'}');
}

/// Writes plain data.
pub(super) fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("plain data with text keys, written to memory");
}

/// Reads a map keyed by queues: after [`to_standard`] each key is the text of an object.
pub(super) fn by_queue<'de, D, V>(deserializer: D) -> Result<BTreeMap<MessageQueue, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    deserializer.deserialize_map(ByQueue(PhantomData))
}

struct ByQueue<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for ByQueue<V> {
    type Value = BTreeMap<MessageQueue, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with queues as keys")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut by_queue = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, V>()? {
            let queue = from_slice(key.as_bytes()).map_err(M::Error::custom)?;
            by_queue.insert(queue, value);
        }
        Ok(by_queue)
    }
}

/// Where a key stands while it is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    #[default]
    Outside,
    /// Its quote waits for the first character: a number gets none.
    Begun,
    Quoted,
    Number,
}

/// Leaves out the quotes around integer keys.
#[derive(Debug, Default)]
struct FastJson {
    key: Key,
}

impl FastJson {
    fn quote<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Begun {
            self.key = Key::Quoted;
            writer.write_all(b"\"")?;
        }
        Ok(())
    }

    fn number<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if self.key == Key::Begun {
            self.key = Key::Number;
        }
        writer.write_all(itoa::Buffer::new().format(value).as_bytes())
    }
}

impl Formatter for FastJson {
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.key = Key::Begun;
        if first {
            Ok(())
        } else {
            writer.write_all(b",")
        }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.key = Key::Outside;
        Ok(())
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.key == Key::Begun {
            Ok(())
        } else {
            writer.write_all(b"\"")
        }
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.key {
            Key::Number => Ok(()),
            Key::Begun => writer.write_all(b"\"\""),
            Key::Outside | Key::Quoted => writer.write_all(b"\""),
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.quote(writer)?;
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.quote(writer)?;
        Ascii.write_char_escape(writer, escape)
    }

    fn write_i32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i32) -> io::Result<()> {
        self.number(writer, i64::from(value))
    }

    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.number(writer, value)
    }

    fn write_u32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u32) -> io::Result<()> {
        self.number(writer, i64::from(value))
    }
}

/// Escapes everything beyond ASCII.
#[derive(Debug)]
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(ascii) if ascii.is_ascii() => writer.write_all(&[ascii])?,
                _ => write!(writer, "\\u{unit:04X}")?,
            }
        }
        Ok(())
    }
}

/// The deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// Turns what fastjson reads into standard JSON; an object in the place of a key becomes its text.
pub fn to_standard(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut reader = Standardiser {
        bytes,
        at: 0,
        in_key: false,
    };
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    reader.value(&mut out, 0)?;
    reader.blanks();
    match reader.peek() {
        None => Ok(out),
        Some(_) => Err(reader.error("something after the value")),
    }
}

/// Reads one text and writes it in the standard form.
struct Standardiser<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Inside an object that is a key. Such an object holds no other, else quoting the quotes of
    /// quotes would grow without bound.
    in_key: bool,
}

impl Standardiser<'_> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), BodyError> {
        self.blanks();
        match self.peek() {
            Some(_) if depth > DEPTH_MAX => Err(self.error("too much nesting")),
            Some(b'{') => self.items(out, b'}', |this, out| {
                this.key(out, depth)?;
                this.blanks();
                this.expect(out, b':')?;
                this.value(out, depth + 1)
            }),
            Some(b'[') => self.items(out, b']', |this, out| this.value(out, depth + 1)),
            Some(quote @ (b'"' | b'\'')) => self.string(out, quote),
            Some(_) => {
                let token = self.token()?;
                out.extend_from_slice(token);
                Ok(())
            }
            None => Err(self.error("the end of the text")),
        }
    }

    /// What stands between an opening bracket and `close`, separated by commas.
    fn items(
        &mut self,
        out: &mut Vec<u8>,
        close: u8,
        mut item: impl FnMut(&mut Self, &mut Vec<u8>) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        out.push(self.bytes[self.at]);
        self.at += 1;
        self.blanks();
        if self.peek() == Some(close) {
            return self.expect(out, close);
        }
        loop {
            item(self, out)?;
            self.blanks();
            if self.peek() != Some(b',') {
                return self.expect(out, close);
            }
            self.expect(out, b',')?;
        }
    }

    fn key(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), BodyError> {
        self.blanks();
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(out, quote),
            Some(b'{') if self.in_key => Err(self.error("an object as a key of a key")),
            Some(b'{') => {
                let mut object = Vec::new();
                self.in_key = true;
                self.value(&mut object, depth + 1)?;
                self.in_key = false;
                let text = std::str::from_utf8(&object);
                put(
                    out,
                    &text.map_err(|_| self.error("bytes that are no UTF-8"))?,
                );
                Ok(())
            }
            _ => {
                let token = self.token()?;
                out.push(b'"');
                out.extend_from_slice(token);
                out.push(b'"');
                Ok(())
            }
        }
    }

    fn string(&mut self, out: &mut Vec<u8>, quote: u8) -> Result<(), BodyError> {
        out.push(b'"');
        self.at += 1;
        loop {
            let byte = self.next("an open string")?;
            match byte {
                b'\\' => match self.next("an open string")? {
                    b'\'' => out.push(b'\''),
                    escaped => out.extend_from_slice(&[b'\\', escaped]),
                },
                _ if byte == quote => {
                    out.push(b'"');
                    return Ok(());
                }
                b'"' => out.extend_from_slice(b"\\\""),
                _ => out.push(byte),
            }
        }
    }

    /// A number, a literal or a bare key.
    fn token(&mut self) -> Result<&[u8], BodyError> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._$".contains(byte);
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take_while(|byte| is_part(byte)).count();
        if len == 0 {
            return Err(self.error("an unexpected character"));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    fn expect(&mut self, out: &mut Vec<u8>, wanted: u8) -> Result<(), BodyError> {
        if self.peek() != Some(wanted) {
            return Err(self.error("an unexpected character"));
        }
        out.push(wanted);
        self.at += 1;
        Ok(())
    }

    fn next(&mut self, what: &'static str) -> Result<u8, BodyError> {
        let byte = self.peek().ok_or(self.error(what))?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn error(&self, what: &'static str) -> BodyError {
        BodyError::Dialect { what, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn text_of_fastjson_becomes_standard() {
        for (text, expected) in [
            (r#"{0:"a",-1 : 2}"#, json!({ "0": "a", "-1": 2 })),
            (r"{'a':'b\'c\n',d:null}", json!({ "a": "b'c\n", "d": null })),
            (r#"{"a":['"',{}, [ ]]}"#, json!({ "a": ["\"", {}, []] })),
            (
                r#"{{"q":0,"t":"\"x"}:1,{}:2}"#,
                json!({ r#"{"q":0,"t":"\"x"}"#: 1, "{}": 2 }),
            ),
            (r"{{1:{2:'x'}}:3}", json!({ r#"{"1":{"2":"x"}}"#: 3 })),
            ("[true,1.5e3]", json!([true, 1_500.0])),
            (r#"{"订单":{0:'订单'}}"#, json!({ "订单": { "0": "订单" } })),
        ] {
            assert_eq!(
                from_slice::<Value>(text.as_bytes()).unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_fastjson_would_not_read_is_an_error() {
        let deep = "{a:".repeat(1_000_000);
        let deep_key = "{".repeat(1_000_000);
        for text in [
            "",
            "{",
            "{0",
            "{0:",
            "{0:1",
            "{0:1,",
            "{0:1}x",
            "{:1}",
            "{,}",
            "'a",
            "['\\",
            "{'a'}",
            "{{}:1",
            "{{{}:1}:1}",
            "[1,]",
            "{a:}",
            "{0:\"\u{1}\"}",
            "{a:b}",
            &deep,
            &deep_key,
        ] {
            assert!(from_slice::<Value>(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(from_slice::<Value>(b"{0:'\xFF'}").is_err());
        assert!(from_slice::<Value>(b"{{'\xFF':0}:0}").is_err());
    }

    #[test]
    fn integer_keys_are_written_bare_and_text_keys_quoted() {
        let numbers: BTreeMap<i64, &str> = BTreeMap::from([(0, "a"), (-1, "b")]);
        assert_eq!(to_vec(&numbers).unwrap(), br#"{-1:"b",0:"a"}"#);
        let nested = BTreeMap::from([("T@g\"", BTreeMap::from([(1_u32, 2_i64)]))]);
        assert_eq!(to_vec(&nested).unwrap(), br#"{"T@g\"":{1:2}}"#);
        let texts = json!({ "": "", "0": "订", "n": [1, 0.5, true, null], "\n": {} });
        assert_eq!(to_vec(&texts).unwrap(), serde_json::to_vec(&texts).unwrap());
        assert_eq!(
            from_slice::<Value>(&to_vec(&numbers).unwrap()).unwrap()["-1"],
            "b"
        );
    }

    #[test]
    fn the_standard_form_is_ascii() {
        let body = BTreeMap::from([(0, "订\u{1f600}\u{1}\"a")]);
        let text = to_standard_vec(&body).unwrap();
        assert_eq!(text, br#"{"0":"\u8BA2\uD83D\uDE00\u0001\"a"}"#);
        assert_eq!(
            from_slice::<Value>(&text).unwrap(),
            json!({ "0": "订\u{1f600}\u{1}\"a" })
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[{}\[\]:,"'\\a0 订.-]{0,60}"#) {
            if let Ok(standard) = to_standard(text.as_bytes()) {
                prop_assert!(standard.len() <= 4 * text.len() + 2);
            }
            let _either = from_slice::<Value>(text.as_bytes());
        }

        #[test]
        fn standard_text_stays_as_it_is(
            map in proptest::collection::btree_map(".{0,9}", ".{0,9}", 0..5),
        ) {
            let text = serde_json::to_vec(&map).unwrap();
            prop_assert_eq!(to_standard(&text).unwrap(), text);
        }
    }
}
