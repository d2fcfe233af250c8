//! The few requests around a run: make the topic, count what its queues hold.
//!
//! Blocking, one request at a time.

use anyhow::{Context, Result, ensure};
use remoting::command::{Command, SerializeType, decode, write_request};
use remoting::header::EncodeHeader;
use remoting::header::offset::{GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader};
use remoting::header::topic::CreateTopicRequestHeader;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const UPDATE_AND_CREATE_TOPIC: i32 = 17;
const GET_MAX_OFFSET: i32 = 30;
const GET_MIN_OFFSET: i32 = 31;

/// A connection for single requests.
pub(crate) struct Admin {
    stream: TcpStream,
    opaque: i32,
}

impl Admin {
    pub(crate) fn connect(broker: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(broker).with_context(|| format!("broker {broker}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, opaque: 0 })
    }

    pub(crate) fn create_topic(&mut self, topic: &str, queues: u32) -> Result<()> {
        let header = CreateTopicRequestHeader {
            topic: topic.to_owned(),
            default_topic: "TBW102".to_owned(),
            read_queue_nums: queues.cast_signed(),
            write_queue_nums: queues.cast_signed(),
            perm: 6,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            ..CreateTopicRequestHeader::default()
        };
        self.ask(UPDATE_AND_CREATE_TOPIC, &header, |_| Ok(()))
    }

    /// Messages in all queues of a topic.
    pub(crate) fn messages_in(&mut self, topic: &str, queues: u32) -> Result<u64> {
        let mut sum = 0;
        for queue_id in 0..queues.cast_signed() {
            let max = GetMaxOffsetRequestHeader {
                topic,
                queue_id,
                ..Default::default()
            };
            let min = GetMinOffsetRequestHeader { topic, queue_id };
            let max = self.ask(GET_MAX_OFFSET, &max, offset_of)?;
            let min = self.ask(GET_MIN_OFFSET, &min, offset_of)?;
            sum += max - min;
        }
        Ok(sum)
    }

    fn ask<T>(
        &mut self,
        code: i32,
        header: &impl EncodeHeader,
        read: impl FnOnce(&Command<'_>) -> Result<T>,
    ) -> Result<T> {
        self.opaque += 1;
        let mut out = Vec::new();
        write_request(
            &mut out,
            SerializeType::Json,
            code,
            self.opaque,
            false,
            header,
            b"",
        );
        self.stream.write_all(&out)?;
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .with_context(|| format!("answer to {code}"))?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut frame)?;
        let answer = decode(&frame)?;
        ensure!(
            answer.code == 0,
            "code {code} answered {}: {:?}",
            answer.code,
            answer.remark
        );
        read(&answer)
    }
}

fn offset_of(answer: &Command<'_>) -> Result<u64> {
    Ok(answer.fields.get("offset").context("offset")?.parse()?)
}
