//! The one table of request codes: who owns each, what it needs, who serves it, or why not.
//!
//! A row of `served` gives code, owner, action, class, header and handler; the macro makes of it
//! the routing table and the dispatch, so neither can drift. A row of `refused` gives the reason
//! that the client receives. Invariant: every `RequestCode` stands here exactly once.

use crate::assemble::Services;
use crate::conn::{Conn, Outbound};
use crate::gate;
use crate::handler::{InlineRequest, NoFields, TaskCommand, TaskRequest, answer, decode_again};
use crate::reply::{Refusal, ReplyPort, ReplySlot};
use base::ShardId;
use remoting::command::{Command, DecodeError, decode, decode_into};
use remoting::header::admin::{
    ResumeCheckHalfMessageRequestHeader, ViewBrokerStatsDataRequestHeader,
};
use remoting::header::client::{
    ConsumeMessageDirectlyResultRequestHeader, ConsumerSendMsgBackRequestHeader,
    EndTransactionRequestHeader, GetConsumerListByGroupRequestHeader,
    GetConsumerRunningInfoRequestHeader, UnregisterClientRequestHeader,
};
use remoting::header::group::{
    CloneGroupOffsetRequestHeader, DeleteSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader,
    GetConsumerConnectionListRequestHeader, GetProducerConnectionListRequestHeader,
    GetSubscriptionGroupConfigRequestHeader, QuerySubscriptionByConsumerRequestHeader,
    QueryTopicConsumeByWhoRequestHeader, QueryTopicsByConsumerRequestHeader,
    ResetOffsetRequestHeader,
};
use remoting::header::offset::{
    GetEarliestMsgStoretimeRequestHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::header::pop::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, NotificationRequestHeader,
    PollingInfoRequestHeader, PopMessageRequestHeader,
};
use remoting::header::pull::PullMessageRequestHeader;
use remoting::header::query::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use remoting::header::send::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::header::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
    GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader,
};
use remoting::header::{FieldSpec, RemotingHeader, RouteRole};
use remoting::{RequestCode, ResponseCode};
use rt::Rt;
use shard::Caller;
use std::rc::Rc;

/// Which shard runs a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The shard of the queue that the header names.
    Queue,
    /// The same; for a queue id below zero, which stands for all, the shard that accepted the
    /// connection.
    QueueOrLocal,
    /// The shard of the group that the header names.
    Group,
    /// The shard whose log holds the message.
    PhyOffset,
    /// Shard 0.
    Control,
    /// The shard that accepted the connection. What needs several shards calls them from there.
    Local,
}

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send messages.
    Pub,
    /// Receive messages.
    Sub,
    /// Look at what every client may see.
    Any,
    /// Administer the broker.
    Admin,
}

/// How a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// At once, in the loop that reads frames.
    Inline,
    /// As a task of its own, with a copy of the frame.
    Task,
}

/// A row of the table.
#[derive(Debug)]
pub struct Route {
    /// The code.
    pub code: RequestCode,
    /// Which shard runs it.
    pub owner: Owner,
    /// What the caller must be allowed to do.
    pub action: Action,
    /// How it runs.
    pub work: Work,
    /// The fields of its header.
    pub fields: &'static [FieldSpec],
}

impl Route {
    /// How much of the connection's budget a request takes until it is answered, in bytes.
    fn cost(&self, oneway: bool) -> u64 {
        match (oneway, self.action, self.work) {
            (true, ..) => 0,
            (_, Action::Sub, Work::Inline) => PULL_COST,
            (_, _, Work::Inline) => INLINE_COST,
            (_, _, Work::Task) => TASK_COST,
        }
    }
}

macro_rules! run {
    (Inline, $header:ty, $handler:path, $run:ident) => {
        match <$header>::decode(&$run.command.fields) {
            Ok(header) => $handler(
                $run.services,
                InlineRequest {
                    header,
                    command: $run.command,
                    frame: $run.frame,
                    caller: $run.caller,
                    slot: $run.slot,
                },
            ),
            Err(error) => $run
                .slot
                .refuse(&Refusal::new(ResponseCode::SystemError, error.to_string())),
        }
    };
    (Task, $header:ty, $handler:path, $run:ident) => {{
        let services = Rc::clone($run.services);
        let (frame, caller, slot) = ($run.frame.to_vec(), $run.caller, $run.slot);
        $run.services
            .shard
            .rt
            .spawn(rt::Class::Request, async move {
                let Some(command) = decode_again(&frame) else {
                    return;
                };
                let result = match <$header>::decode(&command.fields) {
                    Ok(header) => {
                        let request = TaskRequest {
                            header,
                            command: TaskCommand::new(&command),
                            caller,
                        };
                        $handler(&services, request).await
                    }
                    Err(error) => Err(Refusal::new(ResponseCode::SystemError, error.to_string())),
                };
                answer(slot, result);
            });
    }};
}

macro_rules! routes {
    (
        served { $($code:ident $owner:ident $action:ident $work:ident $header:ty => $handler:path;)* }
        refused { $($refused:ident: $why:literal;)* }
    ) => {
        /// Every code that is served.
        pub const ROUTES: &[Route] = &[$(Route {
            code: RequestCode::$code,
            owner: Owner::$owner,
            action: Action::$action,
            work: Work::$work,
            fields: <$header as RemotingHeader<'static>>::FIELDS,
        }),*];

        /// Every code that is not served, and why.
        pub const REFUSED: &[(RequestCode, &str)] = &[$((RequestCode::$refused, $why)),*];

        fn find(code: RequestCode) -> Result<&'static Route, &'static str> {
            match code {
                $(RequestCode::$code => const {
                    Ok(&Route {
                        code: RequestCode::$code,
                        owner: Owner::$owner,
                        action: Action::$action,
                        work: Work::$work,
                        fields: <$header as RemotingHeader<'static>>::FIELDS,
                    })
                },)*
                $(RequestCode::$refused => Err($why),)*
            }
        }

        /// Runs one request on the shard that owns it.
        fn dispatch<R: Rt>(code: RequestCode, run: Run<'_, '_, R>) {
            match code {
                $(RequestCode::$code => run!($work, $header, $handler, run),)*
                $(RequestCode::$refused => run.slot.refuse(&unserved(code as i32, $why)),)*
            }
        }
    };
}

include!("routes/table.rs");

/// One request on its way to its handler.
struct Run<'a, 'f, R: Rt> {
    services: &'a Rc<Services<R>>,
    command: &'a Command<'f>,
    frame: &'a [u8],
    caller: Caller,
    slot: ReplySlot<R>,
}

/// Takes a whole frame of a connection of this shard: runs it here or adds it to the frames that
/// go to its owner.
pub(crate) fn accept<R: Rt>(
    services: &Rc<Services<R>>,
    conn: &Conn<R>,
    frame: &[u8],
    outbound: &mut Outbound,
) -> Result<(), DecodeError> {
    let mut command = Command::default();
    decode_into(frame, &mut command)?;
    if command.is_response() {
        services.asks.answered(conn.caller.conn, &command);
        return Ok(());
    }
    let to = command.reply_to();
    let refuse = |refusal: Refusal| {
        ReplySlot::new(Rc::clone(&conn.port), to, 0).refuse(&refusal);
        Ok(())
    };
    let Some(code) = RequestCode::from_wire(command.code) else {
        // Java NettyRemotingAbstract.processRequestCommand: the remark starts with a space.
        let remark = format!(" request type {} not supported", command.code);
        return refuse(Refusal::new(ResponseCode::RequestCodeNotSupported, remark));
    };
    let route = match find(code) {
        Ok(route) => route,
        Err(why) => return refuse(unserved(command.code, why)),
    };
    if let Err(refusal) = gate::check(&services.settings, route, &conn.caller) {
        return refuse(refusal);
    }
    let owner = match owner_of(services, route, &command) {
        Ok(owner) => owner,
        Err(refusal) => return refuse(refusal),
    };
    let cost = route.cost(to.oneway);
    conn.port.reserve(cost);
    if owner == services.shard.id() {
        let slot = ReplySlot::new(Rc::clone(&conn.port), to, cost);
        let run = Run {
            services,
            command: &command,
            frame,
            caller: conn.caller,
            slot,
        };
        dispatch(code, run);
    } else {
        outbound.push(owner, frame);
    }
    Ok(())
}

/// Runs frames of a connection of another shard. They were decoded there once: what does not
/// decode here is a broken invariant and is left out with a log line.
pub(crate) fn run_batch<R: Rt>(
    services: &Rc<Services<R>>,
    port: &Rc<ReplyPort<R>>,
    caller: Caller,
    frames: &[u8],
) {
    let _moment = services.shard.store.one_moment();
    for frame in split_frames(frames) {
        let mut command = Command::default();
        if decode_into(frame, &mut command).is_err() {
            tracing::error!(peer = %caller.peer, "a forwarded frame does not decode");
            continue;
        }
        let Some(code) = RequestCode::from_wire(command.code) else {
            continue;
        };
        let Ok(route) = find(code) else { continue };
        let to = command.reply_to();
        let slot = ReplySlot::new(Rc::clone(port), to, route.cost(to.oneway));
        let run = Run {
            services,
            command: &command,
            frame,
            caller,
            slot,
        };
        dispatch(code, run);
    }
}

/// Answers frames that found the lane to their owner full.
pub(crate) fn shed<R: Rt>(conn: &Conn<R>, frames: &[u8]) {
    for frame in split_frames(frames) {
        let Ok(command) = decode(frame) else { continue };
        let Some(Ok(route)) = RequestCode::from_wire(command.code).map(find) else {
            continue;
        };
        let to = command.reply_to();
        let slot = ReplySlot::new(Rc::clone(&conn.port), to, route.cost(to.oneway));
        // Java NettyRemotingAbstract.processRequestCommand, for a full executor queue.
        slot.refuse(&Refusal::new(
            ResponseCode::SystemBusy,
            "[OVERLOAD]system busy, start flow control for a while",
        ));
    }
}

/// Every request code with what the broker does about it, for the generated documentation:
/// number, name, and owner with class, or why it is refused.
pub fn compat_rows() -> Vec<(i32, &'static str, Result<String, &'static str>)> {
    let row = |code: &RequestCode| {
        let served = find(*code).map(|route| format!("{:?}, {:?}", route.owner, route.work));
        (*code as i32, code.name(), served)
    };
    RequestCode::ALL.iter().map(row).collect()
}

fn split_frames(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = frames.split_first_chunk()?;
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        frames = rest;
        Some(frame)
    })
}

fn unserved(code: i32, why: &str) -> Refusal {
    let remark = format!(" request type {code} not supported: {why}");
    Refusal::new(ResponseCode::RequestCodeNotSupported, remark)
}

/// The shard that runs the request, read from the header without decoding it.
fn owner_of<R: Rt>(
    services: &Services<R>,
    route: &Route,
    command: &Command<'_>,
) -> Result<ShardId, Refusal> {
    let shard = &services.shard;
    let field = |role| command.fields.get_route(route.fields, role);
    let missing = |what: &str| {
        let remark = format!("the custom field <{what}> is null");
        Refusal::new(ResponseCode::SystemError, remark)
    };
    match route.owner {
        Owner::Local => Ok(shard.id()),
        Owner::Control => Ok(ShardId::CONTROL),
        Owner::Group => {
            let group = field(RouteRole::Group).ok_or_else(|| missing("consumerGroup"))?;
            Ok(shard.owner_of_group(group))
        }
        Owner::PhyOffset => {
            let text = field(RouteRole::PhyOffset).ok_or_else(|| missing("offset"))?;
            let offset = text.parse().ok().and_then(base::PhyOffset::from_wire);
            let owner = offset.map(base::PhyOffset::shard);
            // An offset of no shard is answered as one where no message lies.
            let count = shard.rt.shard_count();
            Ok(owner
                .filter(|owner| owner.as_u16() < count)
                .unwrap_or(shard.id()))
        }
        Owner::Queue | Owner::QueueOrLocal => {
            let topic = field(RouteRole::Topic).ok_or_else(|| missing("topic"))?;
            let queue = field(RouteRole::QueueId).ok_or_else(|| missing("queueId"))?;
            match queue.parse::<i32>() {
                Ok(queue_id) if queue_id >= 0 => Ok(shard.owner_of(topic, queue_id as u32)),
                Ok(_) if route.owner == Owner::QueueOrLocal => Ok(shard.id()),
                // The broker chooses the queue: any shard that has one of the topic.
                Ok(_) => Ok(services.topics.random_owner(shard, topic)),
                Err(_) => Err(Refusal::new(
                    ResponseCode::InvalidParameter,
                    format!("the custom field <queueId> is not a number: {queue:.32}"),
                )),
            }
        }
    }
}

/// What a pull may bring.
const PULL_COST: u64 = 256 << 10;
/// What a short answer takes.
const INLINE_COST: u64 = 512;
/// What a task may bring.
const TASK_COST: u64 = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_code_is_served_or_refused_exactly_once() {
        for code in RequestCode::ALL {
            let rows = ROUTES.iter().filter(|row| row.code == *code).count()
                + REFUSED.iter().filter(|row| row.0 == *code).count();
            assert_eq!(rows, 1, "{code:?}");
        }
        assert_eq!(compat_rows().len(), RequestCode::ALL.len());
    }

    #[test]
    fn a_row_that_is_routed_by_a_field_has_that_field() {
        for route in ROUTES {
            let needed: &[RouteRole] = match route.owner {
                Owner::Queue | Owner::QueueOrLocal => &[RouteRole::Topic, RouteRole::QueueId],
                Owner::Group => &[RouteRole::Group],
                Owner::PhyOffset => &[RouteRole::PhyOffset],
                Owner::Control | Owner::Local => &[],
            };
            for role in needed {
                let has = route.fields.iter().any(|field| field.route == Some(*role));
                assert!(has, "{:?} is routed by {role:?}", route.code);
            }
        }
    }
}
