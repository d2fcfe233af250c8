//! Messages by their keys: request 12.
//!
//! Every shard is asked, since a topic's queues lie on all of them; the newest messages of all
//! answers are merged. What must always hold: an answer holds messages of that topic with that key
//! only, and no more bytes than a client takes in one frame. Answers to Java's
//! `QueryMessageProcessor.queryMessage` and `DefaultMessageStore.queryMessage`.

use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use base::ShardId;
use remoting::ResponseCode;
use remoting::header::query::{QueryMessageRequestHeader, QueryMessageResponseHeader};
use rt::Rt;
use shard::CallError;
use std::rc::Rc;
use store::{KeyAnswer, KeyKind, KeyQuery, KeyedMessage, ReadError};

/// Most bytes of messages in one answer; a single message may be longer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// What an official broker says when it finds nothing.
const NOT_FOUND: &str = "can not find message, maybe time range not correct";

/// Why a query by key is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyQueryError {
    #[error("maxNum is {0}, it must not be negative")]
    NegativeCount(i32),
    #[error("the log of shard {shard} cannot be read: {error}")]
    Read { shard: ShardId, error: ReadError },
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<KeyQueryError> for Refusal {
    fn from(error: KeyQueryError) -> Self {
        let code = match error {
            KeyQueryError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// What a request asks, as every shard is asked it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    topic: String,
    key: String,
    kind: KeyKind,
    count_max: usize,
    times_ms: (i64, i64),
}

/// `QUERY_MESSAGE` (12).
pub(crate) async fn query_message<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, QueryMessageRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let settings = &services.settings;
    let asked = asked(
        &request.header,
        settings.query_count_max,
        settings.unique_query_count,
    )?;
    let answers = if asked.count_max == 0 {
        Vec::new()
    } else {
        ask_shards(services, &asked).await?
    };
    let is_complete = answers.iter().all(|answer| answer.is_complete);
    let last = answers.iter().filter_map(|answer| answer.last).max();
    let messages = newest(answers, asked.count_max, ANSWER_BYTES_MAX);
    let Some((time, place)) = last.filter(|_| !messages.is_empty()) else {
        let why = match (settings.store.key_index, is_complete) {
            (false, _) => "; messages are not indexed: messageIndexEnable is false",
            (true, false) => "; the key index is being made again from the log, ask again later",
            (true, true) => "",
        };
        let nothing = Answer::header(&QueryMessageResponseHeader::default());
        return Ok(nothing.coded(ResponseCode::QueryNotFound, format!("{NOT_FOUND}{why}")));
    };
    let header = QueryMessageResponseHeader {
        index_last_update_timestamp: time,
        index_last_update_phyoffset: place.to_wire(),
    };
    let units: Vec<_> = messages.into_iter().map(|message| message.unit).collect();
    Ok(Answer::header(&header).with_body(units.concat()))
}

/// Reads what is asked.
fn asked(
    header: &QueryMessageRequestHeader<'_>,
    count_max: usize,
    unique_count: usize,
) -> Result<Asked, KeyQueryError> {
    // Java MixAll.UNIQUE_MSG_QUERY_FLAG; newer clients name the index too.
    let is_unique = header.is_unique_key == Some(true) || header.index_type == Some("U");
    let wanted = if header.is_unique_key == Some(true) {
        unique_count
    } else {
        let count = usize::try_from(header.max_num);
        count.map_err(|_| KeyQueryError::NegativeCount(header.max_num))?
    };
    Ok(Asked {
        topic: header.topic.to_owned(),
        key: header.key.to_owned(),
        kind: if is_unique {
            KeyKind::Unique
        } else {
            KeyKind::Any
        },
        count_max: wanted.min(count_max),
        times_ms: (header.begin_timestamp, header.end_timestamp),
    })
}

async fn ask_shards<R: Rt>(
    services: &Rc<Services<R>>,
    asked: &Asked,
) -> Result<Vec<KeyAnswer>, KeyQueryError> {
    let asked = asked.clone();
    let parts = services
        .gather(move |services: Rc<Services<R>>| async move {
            let query = KeyQuery {
                topic: &asked.topic,
                key: &asked.key,
                kind: asked.kind,
                count_max: asked.count_max,
                bytes_max: ANSWER_BYTES_MAX,
                times_ms: asked.times_ms,
            };
            let found = services.shard.store.query_keys(&query).await;
            found.map_err(|error| KeyQueryError::Read {
                shard: services.shard.id(),
                error,
            })
        })
        .await?;
    parts.into_iter().collect()
}

/// The newest messages of all shards, oldest first.
fn newest(answers: Vec<KeyAnswer>, count_max: usize, bytes_max: usize) -> Vec<KeyedMessage> {
    let mut all: Vec<_> = answers
        .into_iter()
        .flat_map(|answer| answer.messages)
        .collect();
    all.sort_by_key(|message| (message.store_timestamp_ms, message.phy_offset));
    let mut bytes = 0;
    let fits = |message: &&KeyedMessage| {
        bytes += message.unit.len();
        bytes <= bytes_max
    };
    let count = all.iter().rev().take(count_max).take_while(fits).count();
    all.split_off(all.len() - count.max(1).min(all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{LogPosition, PhyOffset};

    fn header() -> QueryMessageRequestHeader<'static> {
        QueryMessageRequestHeader {
            topic: "T",
            key: "k",
            max_num: 8,
            begin_timestamp: 1,
            end_timestamp: 9,
            ..QueryMessageRequestHeader::default()
        }
    }

    #[test]
    fn a_unique_query_takes_its_own_count_and_any_other_no_more_than_the_limit() {
        let check = |header: QueryMessageRequestHeader<'_>, kind, count_max| {
            let asked = asked(&header, 64, 32).unwrap();
            assert_eq!(
                (asked.kind, asked.count_max),
                (kind, count_max),
                "{header:?}"
            );
        };
        let unique = Some(true);
        check(header(), KeyKind::Any, 8);
        check(
            QueryMessageRequestHeader {
                max_num: i32::MAX,
                ..header()
            },
            KeyKind::Any,
            64,
        );
        check(
            QueryMessageRequestHeader {
                max_num: 0,
                ..header()
            },
            KeyKind::Any,
            0,
        );
        check(
            QueryMessageRequestHeader {
                is_unique_key: unique,
                ..header()
            },
            KeyKind::Unique,
            32,
        );
        check(
            QueryMessageRequestHeader {
                is_unique_key: unique,
                max_num: -1,
                ..header()
            },
            KeyKind::Unique,
            32,
        );
        check(
            QueryMessageRequestHeader {
                index_type: Some("U"),
                ..header()
            },
            KeyKind::Unique,
            8,
        );
        check(
            QueryMessageRequestHeader {
                index_type: Some("K"),
                ..header()
            },
            KeyKind::Any,
            8,
        );
        let negative = QueryMessageRequestHeader {
            max_num: -1,
            ..header()
        };
        assert!(asked(&negative, 64, 32).is_err());
    }

    fn answer(shard: u16, times: &[i64]) -> KeyAnswer {
        let message = |time: &i64| KeyedMessage {
            store_timestamp_ms: *time,
            phy_offset: PhyOffset::new(ShardId::new(shard), LogPosition(*time as u64)),
            unit: vec![shard as u8; 10],
        };
        KeyAnswer {
            messages: times.iter().map(message).collect(),
            is_complete: true,
            last: None,
        }
    }

    #[test]
    fn the_newest_of_all_shards_are_given_oldest_first() {
        let check = |count_max, bytes_max, expected: &[i64]| {
            let answers = vec![answer(0, &[9, 5, 1]), answer(1, &[]), answer(2, &[7, 5])];
            let found = newest(answers, count_max, bytes_max);
            let times: Vec<_> = found.iter().map(|m| m.store_timestamp_ms).collect();
            assert_eq!(times, expected, "{count_max} {bytes_max}");
        };
        check(64, 1_000, &[1, 5, 5, 7, 9]);
        check(3, 1_000, &[5, 7, 9]);
        check(64, 25, &[7, 9]);
        check(64, 1, &[9]);
        assert!(newest(vec![answer(0, &[])], 8, 100).is_empty());
    }
}
