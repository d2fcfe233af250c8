//! Questions to clients: requests that the broker sends on a client's connection, and their answers.
//!
//! What waits for an answer lives on the shard of the connection, where the answer arrives.
//! Invariant: a question ends once, by its answer, by the end of its connection, or after
//! [`ANSWER_LIMIT`]; nobody but the asked connection answers it. Java: `Broker2Client.callClient`.

use crate::assemble::Services;
use base::HashMap;
use remoting::RequestCode;
use remoting::command::{Command, SerializeType, write_request};
use remoting::header::EncodeHeader;
use rt::Rt;
use rt::sync::{Giver, oneshot};
use shard::{CallError, ConnId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// What a client answered.
#[derive(Debug)]
pub(crate) struct ClientAnswer {
    /// As it came; a [`remoting::ResponseCode`] or a number of the client's own.
    pub(crate) code: i32,
    pub(crate) remark: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("the connection has ended")]
    Gone,
    #[error("no answer within {} ms", ANSWER_LIMIT.as_millis())]
    Timeout,
    #[error("{QUESTIONS_MAX} questions to clients wait for answers already")]
    TooMany,
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The questions of one shard: those to its connections, and the numbers of those that it asks.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    next: Cell<u32>,
    waiting: RefCell<HashMap<i32, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    giver: Giver<ClientAnswer>,
}

impl Asks {
    /// Takes a response of a connection; what answers no question is left out.
    pub(crate) fn answered(&self, conn: ConnId, response: &Command<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        let is_asked = |asked: &Waiting| asked.conn == conn;
        if !waiting.get(&response.opaque).is_some_and(is_asked) {
            // A stranger's answer does not end the question either.
            return;
        }
        if let Some(asked) = waiting.remove(&response.opaque) {
            asked.giver.give(ClientAnswer {
                code: response.code,
                remark: response.remark.as_deref().map(str::to_owned),
                body: response.body.to_vec(),
            });
        }
    }

    /// Ends the questions to a connection that has ended.
    pub(crate) fn connection_closed(&self, conn: ConnId) {
        self.waiting.borrow_mut().retain(|_, w| w.conn != conn);
    }

    /// A number that no other question of any shard has just now.
    fn number(&self, shard: u16, shard_count: u16) -> i32 {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let number = count.wrapping_mul(u32::from(shard_count)) + u32::from(shard);
        (number & i32::MAX as u32).cast_signed()
    }
}

/// Asks a client of any shard and waits for its answer.
///
/// # Errors
/// Why there is none.
pub(crate) async fn ask<R: Rt>(
    services: &Services<R>,
    conn: ConnId,
    code: RequestCode,
    header: &impl EncodeHeader,
    body: &[u8],
) -> Result<ClientAnswer, AskError> {
    let rt = &services.shard.rt;
    let number = services.asks.number(rt.shard().as_u16(), rt.shard_count());
    let mut frame = Vec::new();
    let json = SerializeType::Json;
    write_request(&mut frame, json, code as i32, number, false, header, body);
    let there = move |services: Rc<Services<R>>| async move {
        ask_here(&services, conn, number, &frame).await
    };
    services.call(conn.shard, there).await?
}

async fn ask_here<R: Rt>(
    services: &Services<R>,
    conn: ConnId,
    number: i32,
    frame: &[u8],
) -> Result<ClientAnswer, AskError> {
    let connection = services.conns.find(conn).ok_or(AskError::Gone)?;
    let (giver, taker) = oneshot();
    {
        let mut waiting = services.asks.waiting.borrow_mut();
        if waiting.len() >= QUESTIONS_MAX || waiting.contains_key(&number) {
            return Err(AskError::TooMany);
        }
        waiting.insert(number, Waiting { conn, giver });
    }
    connection.port.put(frame);
    connection.port.flush();
    let mut taken = None;
    let answered = async { taken = Some(taker.take().await) };
    shard::first_of(answered, services.shard.rt.sleep(ANSWER_LIMIT)).await;
    services.asks.waiting.borrow_mut().remove(&number);
    taken.ok_or(AskError::Timeout)?.ok_or(AskError::Gone)
}

/// Java `Broker2Client.callClient` waits so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Questions to the connections of one shard at once.
const QUESTIONS_MAX: usize = 1_024;
