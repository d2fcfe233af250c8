//! The wire forms of a header: JSON and binary.
//!
//! Each form is one file with a reader, and a sink for fields; the usual JSON has a second, faster
//! reader. What must always hold: both readers
//! are total and never take more memory than the frame is long, and both writers only append to
//! the caller's buffer. Java: `SerializeType`, `RemotingSerializable`, `RocketMQSerializable`.

mod flat_json;
pub mod json;
pub mod rocketmq;

use crate::language::LanguageCode;
use std::borrow::Cow;

/// What both forms read beside the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RawHead<'a> {
    pub(crate) code: i32,
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<Cow<'a, str>>,
}

/// What both forms write before the fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) code: i32,
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<&'a str>,
}
