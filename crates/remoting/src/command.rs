//! Commands: requests and responses, without their sockets.
//!
//! A frame is a mark (form of the header, its length), the header and the body. What must always
//! hold: decoding borrows from the frame and is total; a response is written in the form of its
//! request, since every client reads the form that it sends. Answers to Java's `RemotingCommand`.

pub use crate::header::NoHeader;
pub use crate::language::{LanguageCode, SERVER_LANGUAGE, SERVER_VERSION};

use crate::frame::LENGTH_WORD;
use crate::header::{EncodeHeader, HeaderFields};
use crate::serialize::rocketmq::BinaryError;
use crate::serialize::{Head, RawHead, json, rocketmq};
use std::borrow::Cow;

/// The form of a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SerializeType {
    /// Text, the default of every client.
    #[default]
    Json = 0,
    /// Binary; Java's `ROCKETMQ`.
    RocketMq = 1,
}

/// Bit of `flag`: the command answers a request.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag`: the request wants no answer.
pub const FLAG_ONEWAY: i32 = 1 << 1;

/// A request or a response, borrowed from its frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// What is asked for, or how it went.
    pub code: i32,
    /// The sender's language.
    pub language: LanguageCode,
    /// The sender's version; see [`version_ordinal`](crate::language::version_ordinal).
    pub version: i32,
    /// Chosen by the asking side, repeated by the answering side.
    pub opaque: i32,
    /// See [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// The error text of a response.
    pub remark: Option<Cow<'a, str>>,
    /// The form that the header came in.
    pub serialize: SerializeType,
    /// The fields of the header.
    pub fields: HeaderFields<'a>,
    /// What follows the header.
    pub body: &'a [u8],
}

/// A [`Command`] where it is a request.
pub type Request<'a> = Command<'a>;

impl Command<'_> {
    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether this is a request that wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// What must be kept to answer later.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo {
            opaque: self.opaque,
            version: self.version,
            serialize: self.serialize,
            language: self.language,
            oneway: self.is_oneway(),
        }
    }
}

/// What must be kept of a request to answer it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The request's number.
    pub opaque: i32,
    /// The asker's version.
    pub version: i32,
    /// The form that the asker reads.
    pub serialize: SerializeType,
    /// The asker's language.
    pub language: LanguageCode,
    /// Whether the asker wants no answer.
    pub oneway: bool,
}

/// A frame's content is no command; the connection must be closed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There is no room for the mark.
    #[error("a frame of {0} bytes has no mark")]
    NoMark(usize),
    /// The header's form is unknown.
    #[error("unknown serialize type {0}")]
    SerializeType(u8),
    /// The header is longer than the frame.
    #[error("a header of {header_len} bytes in a frame with room for {room}")]
    HeaderTooLong {
        /// What the mark says, in bytes.
        header_len: usize,
        /// The bytes after the mark.
        room: usize,
    },
    /// A JSON header cannot be read.
    #[error("bad JSON header: {0}")]
    Json(#[from] serde_json::Error),
    /// A binary header cannot be read.
    #[error("bad binary header: {0}")]
    Binary(#[from] BinaryError),
}

/// Bytes of the mark: the header's form in the first, its length in the others.
const MARK: usize = 4;

/// The longest header that the mark can tell, in bytes.
const HEADER_LEN_MAX: usize = (1 << 24) - 1;

/// Reads a frame: the bytes after the length word.
pub fn decode(frame: &[u8]) -> Result<Command<'_>, DecodeError> {
    let mut command = Command::default();
    decode_into(frame, &mut command)?;
    Ok(command)
}

/// Reads a frame into `command`, which was just made and is large: a command that is read many
/// times a second is read where it stays. After an error `command` holds parts of both.
pub fn decode_into<'a>(frame: &'a [u8], command: &mut Command<'a>) -> Result<(), DecodeError> {
    let Some((mark, rest)) = frame.split_first_chunk::<MARK>() else {
        return Err(DecodeError::NoMark(frame.len()));
    };
    let [form, len @ ..] = *mark;
    let header_len = len
        .iter()
        .fold(0, |len, byte| len << 8 | usize::from(*byte));
    let split = rest.split_at_checked(header_len);
    let room = rest.len();
    let (header, body) = split.ok_or(DecodeError::HeaderTooLong { header_len, room })?;
    command.fields.clear();
    let fields = &mut command.fields;
    let (serialize, head) = match form {
        0 => (SerializeType::Json, json::decode(header, fields)?),
        1 => (SerializeType::RocketMq, rocketmq::decode(header, fields)?),
        _ => return Err(DecodeError::SerializeType(form)),
    };
    let RawHead {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
    } = head;
    command.code = code;
    command.language = language;
    command.version = version;
    command.opaque = opaque;
    command.flag = flag;
    command.remark = remark;
    command.serialize = serialize;
    command.body = body;
    Ok(())
}

/// Appends a whole response frame to `out`: length word, header in the request's form, body.
pub fn write_response<H: EncodeHeader>(
    out: &mut Vec<u8>,
    to: ReplyTo,
    code: i32,
    remark: Option<&str>,
    header: &H,
    body: &[u8],
) {
    let frame = begin_response(out, to, code, remark, header);
    out.extend_from_slice(body);
    frame.finish(out);
}

/// Appends a response frame up to its body. The caller appends the body, then calls
/// [`FrameStart::finish`].
pub fn begin_response<H: EncodeHeader>(
    out: &mut Vec<u8>,
    to: ReplyTo,
    code: i32,
    remark: Option<&str>,
    header: &H,
) -> FrameStart {
    let head = Head {
        code,
        language: SERVER_LANGUAGE,
        version: SERVER_VERSION,
        opaque: to.opaque,
        flag: FLAG_RESPONSE,
        remark,
    };
    begin(out, to.serialize, head, header)
}

/// Appends a whole request frame to `out`. Requests of a broker to its clients are JSON, since some
/// clients read nothing else.
pub fn write_request<H: EncodeHeader>(
    out: &mut Vec<u8>,
    serialize: SerializeType,
    code: i32,
    opaque: i32,
    oneway: bool,
    header: &H,
    body: &[u8],
) {
    let head = Head {
        code,
        language: SERVER_LANGUAGE,
        version: SERVER_VERSION,
        opaque,
        flag: if oneway { FLAG_ONEWAY } else { 0 },
        remark: None,
    };
    let frame = begin(out, serialize, head, header);
    out.extend_from_slice(body);
    frame.finish(out);
}

/// Appends a command as it came, for forwarding.
pub fn write_command(out: &mut Vec<u8>, command: &Command<'_>) {
    let head = Head {
        code: command.code,
        language: command.language,
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
        remark: command.remark.as_deref(),
    };
    let frame = begin(out, command.serialize, head, &command.fields);
    out.extend_from_slice(command.body);
    frame.finish(out);
}

fn begin(
    out: &mut Vec<u8>,
    serialize: SerializeType,
    head: Head<'_>,
    header: &impl EncodeHeader,
) -> FrameStart {
    let start = FrameStart { at: out.len() };
    out.extend_from_slice(&[0; LENGTH_WORD + MARK]);
    match serialize {
        SerializeType::Json => json::encode(out, head, header),
        SerializeType::RocketMq => rocketmq::encode(out, head, header),
    }
    let header_len = out.len() - start.at - LENGTH_WORD - MARK;
    assert!(
        header_len <= HEADER_LEN_MAX,
        "a header of {header_len} bytes"
    );
    let mut mark = (header_len as u32).to_be_bytes();
    mark[0] = serialize as u8;
    out[start.at + LENGTH_WORD..][..MARK].copy_from_slice(&mark);
    start
}

/// A frame whose length is not known yet.
#[derive(Debug)]
#[must_use = "a frame without `finish` has no length"]
pub struct FrameStart {
    at: usize,
}

impl FrameStart {
    /// Ends the frame where `out` ends now.
    ///
    /// # Panics
    /// When the frame is 2 GiB or longer, or `out` is not the buffer that it was begun in.
    pub fn finish(self, out: &mut [u8]) {
        let len = out.len() - self.at - LENGTH_WORD;
        let len = i32::try_from(len).expect("bodies are bounded far below 2 GiB");
        out[self.at..][..LENGTH_WORD].copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::RemotingHeader;
    use crate::header::send::{SendMessageRequestHeaderV2, SendMessageResponseHeader};
    use proptest::prelude::*;

    const FORMS: [SerializeType; 2] = [SerializeType::Json, SerializeType::RocketMq];

    fn send() -> SendMessageRequestHeaderV2<'static> {
        SendMessageRequestHeaderV2 {
            producer_group: "pg",
            topic: "订单",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: 3,
            sys_flag: 0,
            born_timestamp_ms: 1_700_000_000_000,
            flag: 0,
            properties: Some("KEYS\u{1}k1\u{2}"),
            reconsume_times: None,
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            broker_name: Some("broker-a"),
        }
    }

    fn frame_of(form: SerializeType) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        write_request(&mut out, form, 310, 77, false, &send(), b"body");
        out.drain(..3);
        out
    }

    #[test]
    fn one_declaration_serves_both_forms() {
        for form in FORMS {
            let frame = frame_of(form);
            assert_eq!(
                i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize,
                frame.len() - 4
            );
            let command = decode(&frame[4..]).unwrap();
            assert_eq!((command.code, command.opaque, command.flag), (310, 77, 0));
            assert_eq!(command.serialize, form);
            assert_eq!(command.body, b"body");
            assert_eq!(
                SendMessageRequestHeaderV2::decode(&command.fields).unwrap(),
                send()
            );
            let mut again = Vec::new();
            write_command(&mut again, &command);
            assert_eq!(again, frame);
        }
    }

    #[test]
    fn a_response_has_the_form_of_its_request() {
        for form in FORMS {
            let frame = frame_of(form);
            let to = decode(&frame[4..]).unwrap().reply_to();
            let header = SendMessageResponseHeader {
                msg_id: "7F00000100002A9F0000000000000000",
                queue_id: 3,
                queue_offset: i64::MIN,
                trace_on: Some(true),
                ..SendMessageResponseHeader::default()
            };
            let mut out = Vec::new();
            write_response(&mut out, to, 10, Some("slow disk"), &header, b"xyz");
            let response = decode(&out[4..]).unwrap();
            assert!(response.is_response() && !response.is_oneway());
            assert_eq!(response.serialize, form);
            assert_eq!(
                (response.code, response.opaque, response.version),
                (10, 77, 513)
            );
            assert_eq!(response.remark.as_deref(), Some("slow disk"));
            assert_eq!(
                SendMessageResponseHeader::decode(&response.fields).unwrap(),
                header
            );
            assert_eq!(response.body, b"xyz");
        }
    }

    #[test]
    fn a_send_is_read_without_memory_but_for_escapes() {
        let binary = frame_of(SerializeType::RocketMq);
        assert!(
            decode(&binary[4..])
                .unwrap()
                .fields
                .took_no_memory(|_| false)
        );
        let json = frame_of(SerializeType::Json);
        let command = decode(&json[4..]).unwrap();
        assert!(
            command.fields.took_no_memory(|name| name == "i"),
            "only properties have escapes"
        );
        assert!(!command.fields.took_no_memory(|_| false));
    }

    #[test]
    fn every_truncation_of_a_frame_that_cuts_its_header_is_an_error() {
        for form in FORMS {
            let frame = &frame_of(form)[4..];
            for len in 0..frame.len() - 4 {
                assert!(decode(&frame[..len]).is_err(), "{form:?} {len}");
            }
            for len in frame.len() - 4..frame.len() {
                assert_eq!(
                    decode(&frame[..len]).unwrap().body.len(),
                    len + 4 - frame.len()
                );
            }
        }
    }

    #[test]
    fn marks_that_cannot_be_are_errors() {
        let with_mark = |mark: u32| [&mark.to_be_bytes()[..], b"{}"].concat();
        assert!(matches!(
            decode(&with_mark(0x0200_0000)),
            Err(DecodeError::SerializeType(2))
        ));
        assert!(matches!(
            decode(&with_mark(0x00FF_FFFF)),
            Err(DecodeError::HeaderTooLong {
                header_len: 0xFF_FFFF,
                room: 2
            })
        ));
        assert!(matches!(decode(&[0, 0, 0]), Err(DecodeError::NoMark(3))));
        assert!(matches!(decode(&with_mark(1)), Err(DecodeError::Json(_))));
        assert!(matches!(
            decode(&with_mark(0x0100_0002)),
            Err(DecodeError::Binary(_))
        ));
    }

    proptest! {
        #[test]
        fn any_command_reads_back_in_both_forms(
            code in -32_768_i32..3_000, version in 0_i32..612, opaque: i32, flag: i32,
            remark in proptest::option::of(".{1,40}"),
            pairs in proptest::collection::vec((".{1,20}", ".{1,60}"), 0..24),
            body: Vec<u8>,
        ) {
            for serialize in FORMS {
                let mut fields = HeaderFields::default();
                for (name, value) in &pairs {
                    fields.push(name.as_str(), value.as_str());
                }
                let mut out = Vec::new();
                let command = Command {
                    code, version, opaque, flag, serialize, fields,
                    language: LanguageCode::Go,
                    remark: remark.as_deref().map(Cow::Borrowed),
                    body: &body,
                };
                write_command(&mut out, &command);
                prop_assert_eq!(decode(&out[4..]).unwrap(), command);
            }
        }

        #[test]
        fn any_bytes_are_a_command_or_an_error(bytes: Vec<u8>, form in 0_u8..3) {
            let _either = decode(&bytes);
            let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
            frame[0] = form;
            frame.extend_from_slice(&bytes);
            let _either = decode(&frame);
        }
    }
}
