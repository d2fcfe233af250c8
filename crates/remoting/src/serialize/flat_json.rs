//! JSON headers of the shape that every client writes, read in one pass.
//!
//! An object without blanks, whose members are text, whole numbers, `true`, `false` or `null`, and
//! one object of such members, `extFields`. What must always hold: a header is either read exactly
//! as the general reader in `json` reads it, or left to that one; nothing is an error here. The
//! tests hold both readers against each other.

use super::RawHead;
use crate::header::HeaderFields;
use crate::language::LanguageCode;
use std::borrow::Cow;

/// Reads a header that fills `bytes`, its fields into `fields`. `None` when it has not the usual
/// shape; `fields` may hold anything then.
pub(super) fn decode<'a>(bytes: &'a [u8], fields: &mut HeaderFields<'a>) -> Option<RawHead<'a>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut rest = Flat { text, at: 0 };
    let mut head = RawHead::default();
    rest.object(|rest, name| {
        match name {
            "code" => head.code = rest.number()?,
            "flag" => head.flag = rest.number()?,
            "opaque" => head.opaque = rest.number()?,
            "version" => head.version = rest.number()?,
            "remark" => head.remark = rest.scalar()?.0,
            "language" => {
                let name = rest.scalar()?.0;
                head.language = LanguageCode::from_name(name.as_deref().unwrap_or_default());
            }
            "extFields" => rest.fields(fields)?,
            _ => drop(rest.scalar()?),
        }
        Some(())
    })?;
    (rest.at == text.len()).then_some(head)
}

/// A value as text; `null` has none.
struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'a> Scalar<'a> {
    fn plain(text: &'a str) -> Self {
        Self(Some(Cow::Borrowed(text)))
    }
}

/// What is left to read. `at` is between two characters.
struct Flat<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Flat<'a> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// Reads an object; `member` reads the value that follows a name.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.eat(b':')?;
            member(self, &name)?;
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }

    /// The last `extFields` counts, so one that came before is forgotten.
    fn fields(&mut self, fields: &mut HeaderFields<'a>) -> Option<()> {
        fields.clear();
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.eat(b':')?;
            if let Scalar(Some(value)) = self.scalar()? {
                fields.push(name, value);
            }
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }

    fn number(&mut self) -> Option<i32> {
        self.digits()?.parse().ok()
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        let word = match self.next()? {
            b'"' => return self.string().map(|text| Scalar(Some(text))),
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return self.digits().map(Scalar::plain),
        };
        let after = self.text[self.at..].strip_prefix(word)?;
        self.at = self.text.len() - after.len();
        Some(match word {
            "null" => Scalar(None),
            _ => Scalar::plain(word),
        })
    }

    /// A whole number, as it is written. Longer ones, and a zero with a sign, may read differently
    /// from how they are written.
    fn digits(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        let is_zero = digits.starts_with('0');
        let is_plain = if is_zero {
            count == 1 && digits.len() == rest.len()
        } else {
            (1..=DIGITS_MAX).contains(&count)
        };
        // What follows decides whether it is whole; the caller takes nothing but `,` and `}`.
        let number = &rest[..rest.len() - digits.len() + count];
        self.at += number.len();
        is_plain.then_some(number)
    }

    /// Text in quotes; without a copy when it has no escapes.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.eat(b'"')?;
        let plain = self.plain()?;
        if self.eat(b'"').is_some() {
            return Some(Cow::Borrowed(plain));
        }
        let mut text = String::with_capacity(plain.len() + ESCAPED_ROOM);
        text.push_str(plain);
        loop {
            text.push(self.escape()?);
            text.push_str(self.plain()?);
            if self.eat(b'"').is_some() {
                return Some(Cow::Owned(text));
            }
        }
    }

    /// Everything up to a quote, a backslash or a control character.
    fn plain(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.at += plain_len(&self.text.as_bytes()[begin..])?;
        self.text.get(begin..self.at)
    }

    fn escape(&mut self) -> Option<char> {
        self.eat(b'\\')?;
        let name = self.next()?;
        self.at += 1;
        Some(match name {
            b'"' | b'\\' | b'/' => char::from(name),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
                let digit = |code, digit: &u8| Some(code << 4 | char::from(*digit).to_digit(16)?);
                let code = digits.iter().try_fold(0, digit)?;
                self.at += 4;
                // Half of a pair is no character.
                char::from_u32(code)?
            }
            _ => return None,
        })
    }
}

/// The most digits that always read as they are written.
const DIGITS_MAX: usize = 18;

/// Room for what follows a first escape: the rest of usual properties, in bytes.
const ESCAPED_ROOM: usize = 120;

/// How many bytes lie before the first quote, backslash or control character.
pub(super) fn plain_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes[at..].iter();
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    rest.copied()
        .position(|byte| is_special(&byte))
        .map(|found| at + found)
}

/// The top bit of each special byte of eight; above the lowest of them there may be more bits.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_quote = quote.wrapping_sub(ONES) & !quote;
    let zero_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_quote | zero_backslash | control) & (ONES * 0x80)
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;
    use proptest::prelude::*;

    /// Whether the fast reader took it. When it did, the general one reads the same.
    fn reads_alike(bytes: &[u8]) -> bool {
        let mut fields = HeaderFields::default();
        let Some(head) = decode(bytes, &mut fields) else {
            return false;
        };
        let mut expected = HeaderFields::default();
        let general = json::decode_any(bytes, &mut expected).expect("what is read here is JSON");
        assert_eq!((head, fields), (general, expected));
        true
    }

    /// A send of the Java client 5.x, as it came over the wire.
    const SEND: &str = r#"{"code":310,"extFields":{"a":"pg","b":"TopicTest","c":"TBW102","d":"4","e":"3","f":"0","g":"1795158980539","h":"0","i":"UNIQ_KEY\u00017F00000100012A9F0000000000000000\u0002WAIT\u0001true\u0002","j":"0","k":"false","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":501}"#;

    #[test]
    fn usual_headers_are_read_here() {
        for text in [
            SEND,
            "{}",
            r#"{"code":0,"flag":1,"language":"JAVA","opaque":3,"remark":"a\n\"b\" \\\/\b\f\r\t","version":409}"#,
            r#"{"code":34,"extFields":{},"language":"KLINGON","version":5}"#,
            r#"{"code":-1,"extFields":{"d":4,"g":1795158980539,"m":true,"k":false,"x":null,"n":-1,"z":0},"remark":null}"#,
            r#"{"code":1,"extFields":{"a":"1"},"extFields":{"b":"订单","b":"\u8ba2"},"code":2}"#,
        ] {
            assert!(reads_alike(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn unusual_headers_are_left_to_the_general_reader() {
        for text in [
            "",
            "{",
            "[]",
            " {}",
            "{} ",
            "{}x",
            r#"{"code" :1}"#,
            r#"{"code":1,}"#,
            r#"{"code":01}"#,
            r#"{"code":-0}"#,
            r#"{"code":1.0}"#,
            r#"{"code":1e3}"#,
            r#"{"code":"1"}"#,
            r#"{"code":3000000000}"#,
            r#"{"code":-}"#,
            r#"{"extFields":null}"#,
            r#"{"extFields":{"a":1.5}}"#,
            r#"{"extFields":{"a":1795158980539179515}}"#,
            r#"{"extFields":{"a":{}}}"#,
            r#"{"extFields":{"a":[1]}}"#,
            r#"{"extFields":{"a":nul}}"#,
            r#"{"remark":"\ud83d\ude00"}"#,
            r#"{"remark":"\ud83d"}"#,
            r#"{"remark":"\x"}"#,
            r#"{"remark":"\u12"}"#,
            r#"{"remark":"\u+123"}"#,
            "{\"remark\":\"a\tb\"}",
            r#"{"unknown":{"a":1}}"#,
        ] {
            assert!(!reads_alike(text.as_bytes()), "{text}");
        }
        assert!(!reads_alike(b"{\"remark\":\"\xFF\"}"));
    }

    #[test]
    fn every_truncation_is_left_to_the_general_reader() {
        for len in 0..SEND.len() {
            assert!(!reads_alike(&SEND.as_bytes()[..len]), "{len}");
        }
    }

    #[test]
    fn every_byte_stops_plain_text_exactly_when_it_must_be_escaped() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                assert_eq!(
                    plain_len(&bytes),
                    is_special.then_some(at),
                    "{byte} at {at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_changed_headers(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 1..5),
        ) {
            const BYTES: &[u8] = b"\"\\{}[]:,0123456789-+.eEutfn \t\n/aZ\x00\x7F\xC3\xA9";
            let mut bytes = SEND.as_bytes().to_vec();
            for (at, byte, what) in changes {
                let at = at.index(bytes.len());
                let byte = BYTES[usize::from(byte) % BYTES.len()];
                match what {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            reads_alike(&bytes);
        }

        #[test]
        fn both_readers_agree_on_what_is_written(
            remark in proptest::option::of(".{0,40}"),
            pairs in proptest::collection::vec((".{0,20}", ".{0,60}"), 0..24),
            numbers: [i32; 4],
        ) {
            let mut fields = HeaderFields::default();
            for (name, value) in &pairs {
                fields.push(name.as_str(), value.as_str());
            }
            let head = super::super::Head {
                code: numbers[0], language: LanguageCode::Go, version: numbers[1],
                opaque: numbers[2], flag: numbers[3], remark: remark.as_deref(),
            };
            let mut out = Vec::new();
            json::encode(&mut out, head, &fields);
            prop_assert!(reads_alike(&out));
        }
    }
}
