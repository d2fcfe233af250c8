//! The binary header form.
//!
//! `i16 code | i8 language | i16 version | i32 opaque | i32 flag | i32 length, remark | i32 length,
//! fields`, each field `i16 length, name | i32 length, value`; all big-endian. What must always
//! hold: reading borrows everything from the frame. Java: `RocketMQSerializable`.

use super::{Head, RawHead};
use crate::code::RequestCode;
use crate::header::{EncodeHeader, FieldSink, HeaderFields};
use crate::language::LanguageCode;
use std::borrow::Cow;

/// Why a binary header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// A length word or what it announces goes past the end.
    #[error("the header ends inside its {0}")]
    Truncated(&'static str),
    /// A length word is negative.
    #[error("negative length of the header's {0}")]
    Negative(&'static str),
    /// Text is no UTF-8.
    #[error("the header's {0} is no UTF-8")]
    Utf8(&'static str),
    /// Bytes follow the fields.
    #[error("{0} bytes follow the header's fields")]
    Trailing(usize),
}

/// Reads a header that fills `bytes`, its fields into `fields`, which is empty.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    fields: &mut HeaderFields<'a>,
) -> Result<RawHead<'a>, BinaryError> {
    let mut rest = Reader(bytes);
    let code = i16::from_be_bytes(rest.take("code")?);
    let language = LanguageCode::from_wire(u8::from_be_bytes(rest.take("language")?));
    let version = i16::from_be_bytes(rest.take("version")?);
    let opaque = i32::from_be_bytes(rest.take("opaque")?);
    let flag = i32::from_be_bytes(rest.take("flag")?);
    let remark = rest.bytes32("remark")?;
    let remark = std::str::from_utf8(remark).map_err(|_| BinaryError::Utf8("remark"))?;
    let pairs = rest.bytes32("fields")?;
    if !rest.0.is_empty() {
        return Err(BinaryError::Trailing(rest.0.len()));
    }
    decode_fields(pairs, fields)?;
    Ok(RawHead {
        code: widen(code),
        language,
        version: i32::from(version),
        opaque,
        flag,
        remark: (!remark.is_empty()).then_some(Cow::Borrowed(remark)),
    })
}

fn decode_fields<'a>(pairs: &'a [u8], fields: &mut HeaderFields<'a>) -> Result<(), BinaryError> {
    let mut texts = Texts {
        bytes: pairs,
        at: 0,
        valid: valid_start(pairs),
        begin: 0,
    };
    while texts.at < pairs.len() {
        let name_len = i16::from_be_bytes(texts.word("field name")?);
        let name = texts.next(i32::from(name_len), "field name")?;
        let value_len = i32::from_be_bytes(texts.word("field value")?);
        let value = texts.next(value_len, "field value")?;
        fields.push(name, value);
    }
    Ok(())
}

/// Reads texts that lie one behind the other, with length words between them. They are checked in
/// long stretches rather than one by one, since most length words are valid text themselves.
struct Texts<'a> {
    bytes: &'a [u8],
    /// Up to where they are read.
    at: usize,
    /// A stretch that is valid, and where it begins.
    valid: &'a str,
    begin: usize,
}

impl<'a> Texts<'a> {
    #[inline]
    fn word<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BinaryError> {
        let word = self.bytes[self.at..].first_chunk();
        self.at += N;
        word.copied().ok_or(BinaryError::Truncated(what))
    }

    /// Takes the next `len` bytes as text.
    #[inline]
    fn next(&mut self, len: i32, what: &'static str) -> Result<&'a str, BinaryError> {
        let len = usize::try_from(len).map_err(|_| BinaryError::Negative(what))?;
        let (begin, end) = (self.at, self.at + len);
        if end > self.bytes.len() {
            return Err(BinaryError::Truncated(what));
        }
        self.at = end;
        if end > self.begin + self.valid.len() {
            // Either this text is invalid or the stretch ended before it.
            self.begin = begin;
            self.valid = valid_start(&self.bytes[begin..]);
        }
        let text = self.valid.get(begin - self.begin..end - self.begin);
        text.ok_or(BinaryError::Utf8(what))
    }
}

/// The longest start that is UTF-8.
fn valid_start(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = &bytes[..error.valid_up_to()];
        std::str::from_utf8(valid).expect("it was found valid")
    })
}

/// The codes above 16 bits arrive cut (200,050 as 3,442). Java does not recover them; no other code
/// has these numbers.
fn widen(code: i16) -> i32 {
    match i32::from(code) + (3 << 16) {
        wide if RequestCode::from_wire(wide).is_some() => wide,
        _ => i32::from(code),
    }
}

/// Writes a header to the end of `out`.
pub(crate) fn encode(out: &mut Vec<u8>, head: Head<'_>, header: &impl EncodeHeader) {
    // Java RocketMQSerializable writes the code and the version as shorts.
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(head.language as u8);
    out.extend_from_slice(&(head.version as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    put_text32(out, head.remark.unwrap_or_default());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    header.encode(&mut BinarySink { out });
    let len = length32(out.len() - length_at - 4);
    out[length_at..][..4].copy_from_slice(&len.to_be_bytes());
}

/// Writes fields in the binary form.
struct BinarySink<'a> {
    out: &'a mut Vec<u8>,
}

impl FieldSink for BinarySink<'_> {
    // Names are constants: where this is inlined, their lengths and bytes are too.
    #[inline]
    fn text(&mut self, name: &str, value: &str) {
        // Only a forwarded field can have such a name; no header declares one.
        let Ok(name_len) = i16::try_from(name.len()) else {
            return;
        };
        self.out.extend_from_slice(&name_len.to_be_bytes());
        self.out.extend_from_slice(name.as_bytes());
        put_text32(self.out, value);
    }
}

#[inline]
fn put_text32(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length32(text.len()).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn length32(len: usize) -> i32 {
    i32::try_from(len).expect("headers are far below 2 GiB")
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BinaryError> {
        let (word, rest) = self
            .0
            .split_first_chunk()
            .ok_or(BinaryError::Truncated(what))?;
        self.0 = rest;
        Ok(*word)
    }

    fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], BinaryError> {
        let split = self.0.split_at_checked(len);
        let (bytes, rest) = split.ok_or(BinaryError::Truncated(what))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn len32(&mut self, what: &'static str) -> Result<usize, BinaryError> {
        let len = i32::from_be_bytes(self.take(what)?);
        usize::try_from(len).map_err(|_| BinaryError::Negative(what))
    }

    fn bytes32(&mut self, what: &'static str) -> Result<&'a [u8], BinaryError> {
        let len = self.len32(what)?;
        self.bytes(len, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::NoHeader;

    fn decode(bytes: &[u8]) -> Result<(RawHead<'_>, HeaderFields<'_>), BinaryError> {
        let mut fields = HeaderFields::default();
        super::decode(bytes, &mut fields).map(|head| (head, fields))
    }

    const HEAD: Head<'_> = Head {
        code: 310,
        language: LanguageCode::Go,
        version: 317,
        opaque: -7,
        flag: 2,
        remark: Some("订单"),
    };

    fn sample() -> (HeaderFields<'static>, Vec<u8>) {
        let mut fields = HeaderFields::default();
        fields.push("a", "pg");
        fields.push("i", "KEYS\u{1}k\u{2}");
        let mut bytes = Vec::new();
        encode(&mut bytes, HEAD, &fields);
        (fields, bytes)
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let (fields, bytes) = sample();
        let (header, read) = decode(&bytes).unwrap();
        assert_eq!(header.code, 310);
        assert_eq!(header.language, LanguageCode::Go);
        assert_eq!(header.version, 317);
        assert_eq!(header.opaque, -7);
        assert_eq!(header.flag, 2);
        assert_eq!(header.remark.as_deref(), Some("订单"));
        assert!(read.iter().eq(fields.iter()));
        let mut bytes = Vec::new();
        encode(
            &mut bytes,
            Head {
                remark: None,
                ..HEAD
            },
            &NoHeader,
        );
        assert_eq!(bytes.len(), 21);
        assert_eq!(decode(&bytes).unwrap().0.remark, None);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (_, bytes) = sample();
        for len in 0..bytes.len() {
            assert!(
                matches!(decode(&bytes[..len]), Err(BinaryError::Truncated(_))),
                "{len}"
            );
        }
    }

    #[test]
    fn impossible_lengths_and_trailing_bytes_are_errors() {
        let (_, bytes) = sample();
        let with = |at: usize, word: i32| {
            let mut bytes = bytes.clone();
            bytes[at..][..4].copy_from_slice(&word.to_be_bytes());
            bytes
        };
        assert_eq!(decode(&with(13, -1)), Err(BinaryError::Negative("remark")));
        assert_eq!(
            decode(&with(13, i32::MAX)),
            Err(BinaryError::Truncated("remark"))
        );
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode(&longer), Err(BinaryError::Trailing(1)));
        let mut no_utf8 = bytes.clone();
        no_utf8[17] = 0xFF;
        assert_eq!(decode(&no_utf8), Err(BinaryError::Utf8("remark")));
    }

    #[test]
    fn codes_that_lost_their_high_bits_are_restored() {
        for (cut, code) in [(3_442, 200_050), (3_543, 200_151), (310, 310), (-1, -1)] {
            assert_eq!(widen(cut), code);
        }
    }

    /// Fields written and read one by one, each text on its own.
    fn one_by_one(pairs: &[u8]) -> Result<HeaderFields<'_>, BinaryError> {
        let text = |bytes, what| std::str::from_utf8(bytes).map_err(|_| BinaryError::Utf8(what));
        let (mut rest, mut fields) = (Reader(pairs), HeaderFields::default());
        while !rest.0.is_empty() {
            let len = i16::from_be_bytes(rest.take("field name")?);
            let len = usize::try_from(len).map_err(|_| BinaryError::Negative("field name"))?;
            let name = text(rest.bytes(len, "field name")?, "field name")?;
            let value = text(rest.bytes32("field value")?, "field value")?;
            fields.push(name, value);
        }
        Ok(fields)
    }

    fn check_fields(pairs: &[u8]) {
        let mut fields = HeaderFields::default();
        let read = decode_fields(pairs, &mut fields).map(|()| fields);
        assert_eq!(read, one_by_one(pairs), "{pairs:?}");
    }

    #[test]
    fn texts_are_checked_as_if_each_stood_alone() {
        let mut pairs = Vec::new();
        let mut sink = BinarySink { out: &mut pairs };
        // Lengths that are no text by themselves, and text that ends with a long character.
        for len in [0, 1, 127, 128, 150, 194, 195, 255, 256, 300, 0xC3A9] {
            sink.text("name", &"v".repeat(len));
            sink.text("订", &"é".repeat(len / 2));
            sink.text("", "订单");
        }
        check_fields(&pairs);
        for at in 0..pairs.len().min(3_000) {
            for byte in [0, 1, 0x7F, 0x80, 0xA9, 0xC3, 0xE8, 0xFF] {
                let mut changed = pairs[..pairs.len().min(3_100)].to_vec();
                changed[at] = byte;
                check_fields(&changed);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_read_as_fields_as_if_each_text_stood_alone(
            pieces in proptest::collection::vec((proptest::collection::vec(0x70..=0xFF_u8, 0..4), 0..3_u8), 0..8),
        ) {
            let mut pairs = Vec::new();
            for (bytes, extra) in pieces {
                pairs.extend_from_slice(&[0, bytes.len() as u8]);
                pairs.extend_from_slice(&bytes);
                pairs.extend_from_slice(&[0, 0, 0, extra * 0x60]);
                pairs.extend(std::iter::repeat_n(b'\xA9', usize::from(extra * 0x60)));
            }
            check_fields(&pairs);
        }
    }
}
