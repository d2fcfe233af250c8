//! Batches: several messages in the body of one send.
//!
//! Each is `i32 size | i32 magic | i32 crc | i32 flag | i32 length, body | i16 length, properties`;
//! the size counts itself, magic and crc are 0. What must always hold: splitting borrows, and stops
//! at the first unit that cannot be read. Java: `MessageDecoder.encodeMessage`, `MessageExtEncoder`.

use super::MessageError;

/// Bytes of a unit without body and properties.
const UNIT_LEN_MIN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The user's flag; opaque.
    pub flag: i32,
    /// As the producer made it.
    pub body: &'a [u8],
    /// See [`properties`](super::properties).
    pub properties: &'a str,
}

/// The messages of a batch in their order.
///
/// ```
/// use remoting::message::batch::{BatchMessage, append, split};
/// let mut body = Vec::new();
/// append(&mut body, BatchMessage { flag: 0, body: b"one", properties: "" });
/// append(&mut body, BatchMessage { flag: 0, body: b"two", properties: "TAGS\u{1}a\u{2}" });
/// let bodies: Result<Vec<_>, _> = split(&body).map(|unit| unit.map(|m| m.body)).collect();
/// assert_eq!(bodies.unwrap(), [b"one", b"two"]);
/// ```
pub fn split(body: &[u8]) -> Batch<'_> {
    Batch(body)
}

/// See [`split`].
#[derive(Debug, Clone)]
pub struct Batch<'a>(&'a [u8]);

impl<'a> Iterator for Batch<'a> {
    type Item = Result<BatchMessage<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let unit = take_unit(&mut self.0);
        if unit.is_err() {
            self.0 = &[];
        }
        Some(unit)
    }
}

fn take_unit<'a>(rest: &mut &'a [u8]) -> Result<BatchMessage<'a>, MessageError> {
    let available = rest.len();
    let truncated = MessageError::Truncated("batch unit");
    let (size, _) = rest.split_first_chunk().ok_or(truncated)?;
    let size = i32::from_be_bytes(*size);
    let unit = usize::try_from(size)
        .ok()
        .filter(|size| *size >= UNIT_LEN_MIN);
    let split = unit.and_then(|size| rest.split_at_checked(size));
    let (unit, after) = split.ok_or(MessageError::Size { size, available })?;
    *rest = after;
    let (head, unit) = unit.split_first_chunk::<20>().ok_or(truncated)?;
    let word = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let body_len = usize::try_from(word(16)).map_err(|_| MessageError::Negative("body"))?;
    let split = unit.split_at_checked(body_len);
    let (body, unit) = split.ok_or(MessageError::Truncated("body"))?;
    let split = unit.split_first_chunk();
    let (len, unit) = split.ok_or(MessageError::Truncated("properties"))?;
    let len = i16::from_be_bytes(*len);
    let len = usize::try_from(len).map_err(|_| MessageError::Negative("properties"))?;
    let split = unit.split_at_checked(len);
    let (properties, unit) = split.ok_or(MessageError::Truncated("properties"))?;
    let properties = std::str::from_utf8(properties);
    let properties = properties.map_err(|_| MessageError::Utf8("properties"))?;
    match unit.len() {
        0 => Ok(BatchMessage {
            flag: word(12),
            body,
            properties,
        }),
        len => Err(MessageError::Trailing(len)),
    }
}

/// Adds a message to the end of a batch.
///
/// # Panics
/// When body or properties are longer than their length words can tell.
pub fn append(batch: &mut Vec<u8>, message: BatchMessage<'_>) {
    let BatchMessage {
        flag,
        body,
        properties,
    } = message;
    let properties_len = i16::try_from(properties.len()).expect("properties are below 32 KiB");
    let size = UNIT_LEN_MIN + body.len() + properties.len();
    let size = i32::try_from(size).expect("bodies are far below 2 GiB");
    for word in [size, 0, 0, flag, body.len() as i32] {
        batch.extend_from_slice(&word.to_be_bytes());
    }
    batch.extend_from_slice(body);
    batch.extend_from_slice(&properties_len.to_be_bytes());
    batch.extend_from_slice(properties.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: BatchMessage<'_> = BatchMessage {
        flag: 7,
        body: b"hello",
        properties: "TAGS\u{1}a\u{2}",
    };

    #[test]
    fn every_truncation_is_an_error() {
        let mut batch = Vec::new();
        append(&mut batch, ONE);
        assert_eq!(batch.len(), UNIT_LEN_MIN + 5 + 7);
        for len in 1..batch.len() {
            assert!(split(&batch[..len]).any(|unit| unit.is_err()), "{len}");
            if len >= 4 {
                let mut cut = batch[..len].to_vec();
                cut[..4].copy_from_slice(&(len as i32).to_be_bytes());
                assert!(split(&cut).any(|unit| unit.is_err()), "{len}");
            }
        }
    }

    #[test]
    fn impossible_units_end_the_batch() {
        let mut batch = Vec::new();
        append(&mut batch, ONE);
        append(&mut batch, ONE);
        for (at, word) in [
            (0, -1),
            (0, 0),
            (0, 21),
            (16, -1),
            (16, i32::MAX),
            (0, i32::MAX),
        ] {
            let mut batch = batch.clone();
            batch[at..][..4].copy_from_slice(&i32::to_be_bytes(word));
            let units: Vec<_> = split(&batch).collect();
            assert_eq!(units.len(), 1, "{at} {word}");
            assert!(units[0].is_err());
        }
        assert_eq!(split(&[]).count(), 0);
    }

    proptest! {
        #[test]
        fn a_batch_splits_into_what_it_was_made_of(
            messages in proptest::collection::vec((any::<i32>(), any::<Vec<u8>>(), ".{0,30}"), 0..9),
        ) {
            let mut batch = Vec::new();
            let messages: Vec<_> = messages.iter().map(|(flag, body, properties)| {
                BatchMessage { flag: *flag, body, properties }
            }).collect();
            for message in &messages {
                append(&mut batch, *message);
            }
            let split: Result<Vec<_>, _> = split(&batch).collect();
            prop_assert_eq!(split, Ok(messages));
        }

        #[test]
        fn any_bytes_split_or_fail(bytes: Vec<u8>) {
            let _units = split(&bytes).count();
        }
    }
}
