//! One consumer connection: a pull for each of its queues, always.
//!
//! As the Java push client does: a pull is parked at the broker until there is something, and the next
//! one commits what came. Owned by one thread. Invariant: an offset is asked for once and every
//! message that comes is checked and counted.

use super::link::Link;
use super::plan::{Plan, Shared};
use super::seen::Seen;
use crate::body;
use crate::clock::SECOND_NS;
use anyhow::{Context, Result};
use remoting::command::{decode, write_request};
use remoting::header::pull::{PullMessageRequestHeader, pull_sys_flag};
use remoting::message::decode_message;
use serde_json::json;
use std::sync::atomic::Ordering;

const PULL_MESSAGE: i32 = 11;
/// Ids of pulls lie above those of heartbeats.
pub(crate) const OPAQUE_FIRST: i32 = 100;
/// How long the broker may park a pull; the Java client's choice.
const PARK_MS: i64 = 15_000;
const RETRY_NS: u64 = SECOND_NS / 10;

/// Response codes of a pull. Source: Java `ResponseCode`.
mod code {
    pub(super) const FOUND: i32 = 0;
    pub(super) const NOT_FOUND: i32 = 19;
    pub(super) const RETRY_IMMEDIATELY: i32 = 20;
    pub(super) const OFFSET_MOVED: i32 = 21;
}

/// The delays of levels 1, 2, ... in seconds. Source: Java `MessageStoreConfig.messageDelayLevel`.
const DELAYS: [u64; 18] = [
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
];

/// How long a level holds a message back.
pub(crate) fn delay_ns(level: u32) -> u64 {
    let index = (level as usize).min(DELAYS.len());
    if index == 0 {
        0
    } else {
        DELAYS[index - 1] * SECOND_NS
    }
}

#[derive(Debug)]
struct Assigned {
    queue: usize,
    next_offset: i64,
}

/// One connection of one group.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) link: Link,
    group: usize,
    group_name: String,
    assigned: Vec<Assigned>,
    /// Pulls to be sent again, and when.
    retries: Vec<(u64, usize)>,
    /// Pulls that were answered in this turn.
    answered: Vec<usize>,
    has_begun: bool,
}

impl Consumer {
    pub(crate) fn new(link: Link, group: usize, group_name: String, queues: Vec<usize>) -> Self {
        let assigned = queues.into_iter().map(|queue| Assigned {
            queue,
            next_offset: 0,
        });
        Self {
            link,
            group,
            group_name,
            assigned: assigned.collect(),
            retries: Vec::new(),
            answered: Vec::new(),
            has_begun: false,
        }
    }

    /// Sends the first pulls when the group may read, and those that are due again.
    pub(crate) fn go_on(&mut self, plan: &Plan, shared: &Shared) {
        if !self.link.alive {
            return;
        }
        if !self.has_begun {
            let is_late = self.group >= plan.late_group as usize;
            if is_late && !shared.late_may_read.load(Ordering::Acquire) {
                return;
            }
            self.has_begun = true;
            for index in 0..self.assigned.len() {
                self.pull(plan, index);
            }
        }
        if self.retries.is_empty() {
            return;
        }
        let now = plan.clock.ns();
        let (due, later) = self.retries.drain(..).partition(|(at, _)| *at <= now);
        self.retries = later;
        let due: Vec<(u64, usize)> = due;
        for (_, index) in due {
            self.pull(plan, index);
        }
    }

    /// Tells the broker which group and topics this client has.
    pub(crate) fn heartbeat(&mut self, plan: &Plan, client: &str) {
        let subscriptions: Vec<_> = plan
            .topics
            .iter()
            .map(|topic| {
                json!({
                    "topic": topic, "subString": "*", "tagsSet": [], "codeSet": [], "subVersion": 1,
                    "expressionType": "TAG", "classFilterMode": false,
                })
            })
            .collect();
        let body = json!({
            "clientID": client, "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": self.group_name, "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING", "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
                "unitMode": false, "subscriptionDataSet": subscriptions,
            }],
        });
        super::heartbeat(&mut self.link.out, &body.to_string());
    }

    fn pull(&mut self, plan: &Plan, index: usize) {
        let assigned = &self.assigned[index];
        let (_, topic, queue_id) = plan.queue(assigned.queue);
        let commits = if assigned.next_offset > 0 {
            pull_sys_flag::COMMIT_OFFSET
        } else {
            0
        };
        let header = PullMessageRequestHeader {
            consumer_group: &self.group_name,
            topic,
            queue_id,
            queue_offset: assigned.next_offset,
            max_msg_nums: plan.params.pull_batch.cast_signed(),
            sys_flag: commits | pull_sys_flag::SUSPEND | pull_sys_flag::SUBSCRIPTION,
            commit_offset: assigned.next_offset,
            suspend_timeout_millis: PARK_MS,
            subscription: Some("*"),
            sub_version: 1,
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
        };
        let serialize = super::frames::serialize_type(plan.params.codec);
        let opaque = OPAQUE_FIRST + index as i32;
        write_request(
            &mut self.link.out,
            serialize,
            PULL_MESSAGE,
            opaque,
            false,
            &header,
            b"",
        );
    }

    /// Takes what has arrived; the pulls that follow are in the out buffer.
    pub(crate) fn take_answers(
        &mut self,
        plan: &Plan,
        shared: &Shared,
        seen: &mut Seen,
        window: usize,
    ) -> Result<()> {
        let now = plan.clock.ns();
        let mut received = 0;
        while let Some(frame) = self.link.frames.next_frame()? {
            let answer = decode(self.link.frames.bytes(frame))?;
            if !answer.is_response() || answer.opaque < OPAQUE_FIRST {
                continue;
            }
            let index = (answer.opaque - OPAQUE_FIRST) as usize;
            let assigned = self
                .assigned
                .get_mut(index)
                .context("an answer to no pull")?;
            let mut again_now = true;
            match answer.code {
                code::FOUND => {
                    let taken = Taken {
                        group: self.group,
                        queue: assigned.queue,
                        now,
                        window,
                    };
                    received += take_messages(plan, seen, &taken, answer.body)?;
                }
                code::NOT_FOUND | code::RETRY_IMMEDIATELY | code::OFFSET_MOVED => {}
                other => {
                    let remark = format!("pull: {}", answer.remark.as_deref().unwrap_or_default());
                    seen.error(window, other, &remark, 1);
                    again_now = false;
                }
            }
            if again_now && let Some(next) = answer.fields.get("nextBeginOffset") {
                assigned.next_offset = next.parse()?;
            }
            if again_now {
                self.answered.push(index);
            } else {
                self.retries.push((now + RETRY_NS, index));
            }
        }
        self.link.frames.compact();
        for at in 0..self.answered.len() {
            self.pull(plan, self.answered[at]);
        }
        self.answered.clear();
        if received > 0 {
            let late = self.group >= plan.late_group as usize;
            let (counter, count) = if late {
                (
                    &shared.received_late,
                    &mut seen.windows[window].received_late,
                )
            } else {
                (&shared.received, &mut seen.windows[window].received)
            };
            counter.fetch_add(received, Ordering::Relaxed);
            *count += received;
            seen.second(now).received += received;
        }
        Ok(())
    }
}

struct Taken {
    group: usize,
    queue: usize,
    now: u64,
    window: usize,
}

fn take_messages(plan: &Plan, seen: &mut Seen, taken: &Taken, mut bytes: &[u8]) -> Result<u64> {
    let is_late = taken.group >= plan.late_group as usize;
    let delay_ns = delay_ns(plan.params.delay_level);
    let mut count = 0;
    while !bytes.is_empty() {
        let (message, len) = decode_message(bytes).context("a pull's body")?;
        bytes = &bytes[len..];
        count += 1;
        let mark = body::read(message.body, plan.run);
        let offset = message.queue_offset.cast_unsigned();
        seen.delivered[taken.group].add(taken.queue, offset, mark);
        if let Some(mark) = mark
            && !is_late
        {
            let age = taken.now.saturating_sub(mark.due_ns + delay_ns);
            seen.windows[taken.window].end_to_end.saturating_record(age);
        }
    }
    Ok(count)
}
