//! What a handler sees of a request, and what it gives back.
//!
//! An inline handler runs in the reading loop, borrows the frame and answers through its slot. A
//! task owns its frame and returns an answer or a refusal. Invariant: a request is answered once,
//! whichever way it takes.

use crate::reply::{Refusal, ReplySlot};
use remoting::ResponseCode;
use remoting::command::{Command, LanguageCode, decode};
use remoting::header::{
    EncodeHeader, FieldSink, FieldSpec, HeaderError, HeaderFields, RemotingHeader,
};
use rt::Rt;
use serde::Serialize;
use shard::Caller;

/// A request that runs at once.
pub(crate) struct InlineRequest<'a, 'f, H, R: Rt> {
    pub(crate) header: H,
    pub(crate) command: &'a Command<'f>,
    /// The whole frame without its length word, to be kept by those who go on later.
    pub(crate) frame: &'a [u8],
    pub(crate) caller: Caller,
    pub(crate) slot: ReplySlot<R>,
}

impl<'a, 'f, H, R: Rt> InlineRequest<'a, 'f, H, R> {
    /// The same request with a header of another form.
    pub(crate) fn with_header<G>(self, header: G) -> InlineRequest<'a, 'f, G, R> {
        InlineRequest {
            header,
            command: self.command,
            frame: self.frame,
            caller: self.caller,
            slot: self.slot,
        }
    }
}

/// A request that runs as a task.
pub(crate) struct TaskRequest<'a, H> {
    pub(crate) header: H,
    pub(crate) command: TaskCommand<'a>,
    pub(crate) caller: Caller,
}

/// What a task sees of its command beside the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskCommand<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
}

impl<'a> TaskCommand<'a> {
    pub(crate) fn new(command: &Command<'a>) -> Self {
        Self {
            body: command.body,
            language: command.language,
            version: command.version,
        }
    }
}

/// What a task answers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Code and remark, when it is not plain success.
    status: Option<(ResponseCode, String)>,
    fields: Fields,
    body: Vec<u8>,
}

impl Answer {
    /// Success without header and body.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// Success with header fields.
    pub(crate) fn header(header: &impl EncodeHeader) -> Self {
        let mut answer = Self::default();
        header.encode(&mut answer.fields);
        answer
    }

    /// Success with a body of JSON.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("bodies are plain data with text keys");
        Self::body(body)
    }

    /// Success with a body.
    pub(crate) fn body(body: Vec<u8>) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    /// The same with another body.
    pub(crate) fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The same with a code and a remark: an answer that is no success and has header fields.
    pub(crate) fn coded(mut self, code: ResponseCode, remark: String) -> Self {
        self.status = Some((code, remark));
        self
    }

    /// The same with one more header field.
    pub(crate) fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.0.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Reads a task's own copy of a frame.
pub(crate) fn decode_again(frame: &[u8]) -> Option<Command<'_>> {
    let command = decode(frame).ok();
    if command.is_none() {
        tracing::error!("a frame that was decoded before does not decode");
    }
    command
}

/// Answers a request that went on later.
pub(crate) fn answer<R: Rt>(slot: ReplySlot<R>, result: Result<Answer, Refusal>) {
    match result {
        Ok(answer) => {
            let (code, remark) = match &answer.status {
                Some((code, remark)) => (*code, Some(remark.as_str())),
                None => (ResponseCode::Success, None),
            };
            slot.send_now(code, remark, &answer.fields, &answer.body);
        }
        Err(refusal) => {
            let fields = Fields::default();
            slot.send_now(refusal.code, Some(&refusal.remark), &fields, &[]);
        }
    }
}

/// Header fields as they will stand in the answer.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl FieldSink for Fields {
    fn text(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }
}

impl EncodeHeader for Fields {
    fn encode(&self, sink: &mut impl FieldSink) {
        for (name, value) in &self.0 {
            sink.text(name, value);
        }
    }
}

/// The header of a request that has none; fields that come all the same are ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoFields;

impl EncodeHeader for NoFields {
    fn encode(&self, _sink: &mut impl FieldSink) {}
}

impl<'f> RemotingHeader<'f> for NoFields {
    const FIELDS: &'static [FieldSpec] = &[];

    fn decode(_fields: &'f HeaderFields<'_>) -> Result<Self, HeaderError> {
        Ok(Self)
    }
}
