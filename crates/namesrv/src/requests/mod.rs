//! Requests: which code is served by which function, and how answers and errors look.
//!
//! Called by connections, one request after another. What must always hold: every request gets
//! exactly one answer, unknown codes get code 3, and only [`RequestError::code`] chooses an error
//! code. Answers to Java's `DefaultRequestProcessor` and `ClientRequestProcessor`.

mod config;
mod kv;
mod query;
mod register;

use crate::kv::KvError;
use crate::route_table::{ConnectionId, RegisterError, UnitTopics};
use crate::server::NameServer;
use ::config::BadValue;
use remoting::body::BodyError;
use remoting::code::{RequestCode, ResponseCode};
use remoting::command::{Command, NoHeader, ReplyTo, write_response};
use remoting::header::HeaderError;
use remoting::header::namesrv::{
    AddWritePermOfBrokerResponseHeader, GetKvConfigResponseHeader, QueryDataVersionResponseHeader,
    RegisterBrokerResponseHeader, WipeWritePermOfBrokerResponseHeader,
};

/// Where tools send users whose topic has no route. Source: Java `FAQUrl.APPLY_TOPIC_URL`.
const SUGGESTION: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// An answer, before it takes the form that the request asked for.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    header: AnswerHeader,
    body: Vec<u8>,
    error: Option<RequestError>,
}

/// The header of a successful answer.
#[derive(Debug, Default)]
enum AnswerHeader {
    #[default]
    None,
    Registered(RegisterBrokerResponseHeader),
    DataVersion(QueryDataVersionResponseHeader),
    KvValue(GetKvConfigResponseHeader),
    Wiped(WipeWritePermOfBrokerResponseHeader),
    Added(AddWritePermOfBrokerResponseHeader),
}

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    /// Java `DefaultRequestProcessor.processRequest`, with its leading space.
    #[error(" request type {0} not supported")]
    NotSupported(i32),
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyError),
    #[error("the answer cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("crc32 not match")]
    Crc,
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error("name server not ready")]
    NotReady,
    #[error("No topic route info in name server for the topic: {0}{SUGGESTION}")]
    NoRoute(String),
    #[error("disable")]
    Disabled,
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoKey { namespace: String, key: String },
    #[error("No config item, Namespace: {0}")]
    NoNamespace(String),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("the name server's configuration is text of lines key=value: {0}")]
    ConfigText(String),
    #[error("Can not update config in black list.")]
    ConfigRefused,
    #[error(transparent)]
    ConfigValue(#[from] BadValue),
}

impl RequestError {
    fn code(&self) -> ResponseCode {
        match self {
            Self::NotSupported(_) => ResponseCode::RequestCodeNotSupported,
            Self::NoRoute(_) => ResponseCode::TopicNotExist,
            Self::NoKey { .. } | Self::NoNamespace(_) => ResponseCode::QueryNotFound,
            Self::ConfigRefused => ResponseCode::NoPermission,
            Self::Header(_)
            | Self::Body(_)
            | Self::Json(_)
            | Self::Crc
            | Self::Register(_)
            | Self::NotReady
            | Self::Disabled
            | Self::Kv(_)
            | Self::ConfigText(_)
            | Self::ConfigValue(_) => ResponseCode::SystemError,
        }
    }
}

/// Answers one request that came over connection `from`.
pub(crate) async fn answer(
    server: &NameServer,
    from: ConnectionId,
    request: &Command<'_>,
) -> Answer {
    let result = match dispatch(server, from, request) {
        Turn::Done(result) => result,
        Turn::Kv(change) => change.apply(server).await,
    };
    result.unwrap_or_else(|error| {
        tracing::debug!(code = request.code, %error, "request refused");
        Answer::refusing(error)
    })
}

/// Answers one request that waits for no disk; `None` for the others.
pub(crate) fn answer_now(
    server: &NameServer,
    from: ConnectionId,
    request: &Command<'_>,
) -> Option<Answer> {
    match dispatch(server, from, request) {
        Turn::Done(result) => Some(result.unwrap_or_else(Answer::refusing)),
        Turn::Kv(_) => None,
    }
}

/// What has become of a request.
enum Turn {
    Done(Result<Answer, RequestError>),
    /// It waits for the disk.
    Kv(kv::Change),
}

fn dispatch(server: &NameServer, from: ConnectionId, request: &Command<'_>) -> Turn {
    use RequestCode as Code;
    Turn::Done(match RequestCode::from_wire(request.code) {
        Some(Code::GetRouteinfoByTopic) => query::route(server, request),
        Some(Code::RegisterBroker) => register::register(server, from, request),
        Some(Code::UnregisterBroker) => register::unregister(server, request),
        Some(Code::QueryDataVersion) => register::data_version(server, request),
        Some(Code::BrokerHeartbeat) => register::heartbeat(server, request),
        Some(Code::RegisterTopicInNamesrv) => register::topic(server, request),
        Some(Code::DeleteTopicInNamesrv) => register::delete_topic(server, request),
        Some(Code::WipeWritePermOfBroker) => register::wipe_write_perm(server, request),
        Some(Code::AddWritePermOfBroker) => register::add_write_perm(server, request),
        Some(Code::GetBrokerClusterInfo) => query::cluster_info(server),
        Some(Code::GetBrokerMemberGroup) => query::member_group(server, request),
        Some(Code::GetAllTopicListFromNameserver) => query::all_topics(server),
        Some(Code::GetTopicsByCluster) => query::topics_of_cluster(server, request),
        Some(Code::GetSystemTopicListFromNs) => query::system_topics(server),
        Some(Code::GetUnitTopicList) => query::unit_topics(server, UnitTopics::Unit),
        Some(Code::GetHasUnitSubTopicList) => query::unit_topics(server, UnitTopics::Subscribed),
        Some(Code::GetHasUnitSubUnunitTopicList) => {
            query::unit_topics(server, UnitTopics::SubscribedOnly)
        }
        Some(Code::PutKvConfig) => return kv::put(request),
        Some(Code::DeleteKvConfig) => return kv::delete(request),
        Some(Code::GetKvConfig) => kv::value(server, request),
        Some(Code::GetKvlistByNamespace) => kv::namespace(server, request),
        Some(Code::UpdateNamesrvConfig) => config::update(server, request),
        Some(Code::GetNamesrvConfig) => Ok(config::show(server)),
        _ => Err(RequestError::NotSupported(request.code)),
    })
}

impl Answer {
    fn refusing(error: RequestError) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    fn of_body(body: Vec<u8>) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    fn of_header(header: AnswerHeader) -> Self {
        Self {
            header,
            ..Self::default()
        }
    }

    /// Writes the answer as a whole frame to the end of `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, to: ReplyTo) {
        let (code, remark) = match &self.error {
            Some(error) => (error.code(), Some(error.to_string())),
            None => (ResponseCode::Success, None),
        };
        let (code, remark, body) = (code as i32, remark.as_deref(), self.body.as_slice());
        match &self.header {
            AnswerHeader::None => write_response(out, to, code, remark, &NoHeader, body),
            AnswerHeader::Registered(header) => write_response(out, to, code, remark, header, body),
            AnswerHeader::DataVersion(header) => {
                write_response(out, to, code, remark, header, body);
            }
            AnswerHeader::KvValue(header) => write_response(out, to, code, remark, header, body),
            AnswerHeader::Wiped(header) => write_response(out, to, code, remark, header, body),
            AnswerHeader::Added(header) => write_response(out, to, code, remark, header, body),
        }
    }
}
