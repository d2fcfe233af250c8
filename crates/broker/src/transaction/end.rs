//! `END_TRANSACTION`: a producer commits or rolls back.
//!
//! Runs on the shard of the half message, in the reading loop while that is in memory. Whether it is
//! undecided, and the step that decides it, have no await between them. Invariant: the first
//! decision counts; every later one changes nothing and is told so. Java: `EndTransactionProcessor`.

use super::{Found, count, decide_by_record, read, read_tail};
use crate::assemble::Services;
use crate::handler::InlineRequest;
use crate::names::HALF_TOPIC;
use crate::reply::{Refusal, ReplySlot};
use crate::send::{self, Half, SendError};
use base::PhyOffset;
use remoting::ResponseCode;
use remoting::header::NoHeader;
use remoting::header::client::EndTransactionRequestHeader;
use remoting::message::{StoredMessage, decode_message, sys_flag};
use rt::Rt;
use shard::HalfMessage;
use std::rc::Rc;
use store::AppendReceipt;

/// Why a transaction was not ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndError {
    #[error("Find prepared transaction message failed")]
    NoMessage,
    #[error("The producer group wrong")]
    Group,
    #[error("The transaction state table offset wrong")]
    QueueOffset,
    #[error("The commit log offset wrong: no half message lies there")]
    NoHalfMessage,
    #[error(
        "the producer may end the transaction no more: {waited_ms} ms have passed since the message was made, CHECK_IMMUNITY_TIME_IN_SECONDS allows {immunity_ms} ms; it will be asked"
    )]
    TooLate { waited_ms: i64, immunity_ms: i64 },
    #[error("the half message cannot be read: {0}")]
    Read(#[from] store::ReadError),
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<EndError> for Refusal {
    fn from(error: EndError) -> Self {
        let code = match error {
            EndError::TooLate { .. } => ResponseCode::IllegalOperation,
            EndError::Send(error) => return error.into(),
            _ => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// What the producer says of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

/// A request to end a transaction.
#[derive(Debug, Clone)]
struct End<G> {
    decision: Decision,
    group: G,
    /// Where the producer says that the half message lies.
    phy_offset: i64,
    queue_offset: i64,
    answers_check: bool,
}

/// How a request went.
enum Ended {
    /// It is decided by what was appended.
    Now(AppendReceipt),
    /// The half message is not in memory, or nothing undecided lies there.
    Later,
}

/// `END_TRANSACTION` (37).
pub(crate) fn end_transaction<R: Rt>(
    services: &Rc<Services<R>>,
    request: InlineRequest<'_, '_, EndTransactionRequestHeader<'_>, R>,
) {
    let header = &request.header;
    let decision = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => Decision::Commit,
        sys_flag::TRANSACTION_ROLLBACK => Decision::Rollback,
        // Java EndTransactionProcessor.processRequest: what is open stays so, and nobody answers.
        _ => return,
    };
    let end = End {
        decision,
        group: header.producer_group,
        phy_offset: header.commit_log_offset,
        queue_offset: header.tran_state_table_offset,
        answers_check: header.from_transaction_check.unwrap_or(false),
    };
    match end_in_memory(services, &end) {
        Ok(Ended::Now(receipt)) => send::answer_end(services, request.slot, receipt),
        Ok(Ended::Later) => {
            let end = end.owned();
            let (services, slot) = (Rc::clone(services), request.slot);
            let rt = services.shard.rt.clone();
            rt.spawn(rt::Class::Request, async move {
                let port = Rc::clone(slot.port());
                end_later(&services, &end, slot).await;
                port.flush();
            });
        }
        Err(error) => request.slot.refuse(&error.into()),
    }
}

impl End<&str> {
    fn owned(&self) -> End<String> {
        End {
            decision: self.decision,
            group: self.group.to_owned(),
            phy_offset: self.phy_offset,
            queue_offset: self.queue_offset,
            answers_check: self.answers_check,
        }
    }
}

/// Ends a transaction whose half message is in memory.
fn end_in_memory<R: Rt, G: AsRef<str>>(
    services: &Services<R>,
    end: &End<G>,
) -> Result<Ended, EndError> {
    let Some((at, half)) = find(services, end.phy_offset) else {
        return Ok(Ended::Later);
    };
    let mut unit = services.transactions.unit.take();
    unit.clear();
    let ended = match read_tail(services, half, &mut unit) {
        Found::Unit => decide(services, end, at, half, &unit).map(Ended::Now),
        Found::NotInMemory => Ok(Ended::Later),
        Found::NotVisible | Found::Gone => Err(EndError::NoMessage),
    };
    unit.shrink_to(UNIT_KEPT);
    services.transactions.unit.replace(unit);
    ended
}

/// The undecided half message at a place that a client names.
fn find<R: Rt>(services: &Services<R>, phy_offset: i64) -> Option<(PhyOffset, HalfMessage)> {
    let shard = &services.shard;
    let at = PhyOffset::from_wire(phy_offset).filter(|at| at.shard() == shard.id())?;
    Some((at, shard.halves.find(at)?))
}

/// Checks the request against its half message, and decides that.
fn decide<R: Rt, G: AsRef<str>>(
    services: &Services<R>,
    end: &End<G>,
    at: PhyOffset,
    half: HalfMessage,
    unit: &[u8],
) -> Result<AppendReceipt, EndError> {
    let (message, _) = decode_message(unit).map_err(|_| EndError::NoMessage)?;
    let properties = Half::read(message.properties);
    check(services, end, &message, &properties)?;
    let counts = &services.transactions.counts;
    match end.decision {
        Decision::Commit => {
            let receipt = send::append_final(services, &message, &properties, at, half.checks)?;
            count(&counts.committed);
            Ok(receipt)
        }
        Decision::Rollback => {
            let receipt = decide_by_record(services, at, half).map_err(SendError::from)?;
            count(&counts.rolled_back);
            Ok(receipt)
        }
    }
}

/// The checks of Java `EndTransactionProcessor`, in its order.
fn check<R: Rt, G: AsRef<str>>(
    services: &Services<R>,
    end: &End<G>,
    message: &StoredMessage<'_>,
    half: &Half<'_>,
) -> Result<(), EndError> {
    if let Some(seconds) = half.check_immunity.filter(|_| !end.answers_check) {
        // Java TransactionalMessageUtil.getImmunityTime: never less than the timeout.
        let timeout_ms = services.settings.transactions.timeout_ms.cast_signed();
        let immunity_ms = seconds.parse::<i64>().unwrap_or(0).saturating_mul(1_000);
        let immunity_ms = immunity_ms.max(timeout_ms);
        let now_ms = services.shard.rt.now_ms();
        let waited_ms = now_ms.saturating_sub(message.born_timestamp_ms);
        if waited_ms > immunity_ms {
            return Err(EndError::TooLate {
                waited_ms,
                immunity_ms,
            });
        }
    }
    if half.producer_group != Some(end.group.as_ref()) {
        return Err(EndError::Group);
    }
    if message.queue_offset != end.queue_offset {
        return Err(EndError::QueueOffset);
    }
    Ok(())
}

/// Ends a transaction whose half message has to be read, or tells why there is nothing to end.
async fn end_later<R: Rt>(services: &Rc<Services<R>>, end: &End<String>, slot: ReplySlot<R>) {
    match read_and_end(services, end).await {
        Ok(Some(receipt)) => send::answer_end(services, slot, receipt),
        Ok(None) => {
            // What decided it is appended, and may not be acknowledged yet.
            let log_end = services.shard.store.appended();
            match send::wait_flushed(services, log_end).await {
                Ok(()) => slot.send(ResponseCode::Success, Some(DECIDED), &NoHeader, &[]),
                Err(error) => slot.refuse(&error.into()),
            }
        }
        Err(error) => slot.refuse(&error.into()),
    }
}

/// `None` when the transaction was decided before.
async fn read_and_end<R: Rt>(
    services: &Services<R>,
    end: &End<String>,
) -> Result<Option<AppendReceipt>, EndError> {
    let Some((_, half)) = find(services, end.phy_offset) else {
        return find_decided(services, end).await.map(|()| None);
    };
    let mut unit = Vec::new();
    if !matches!(read(services, half, &mut unit).await?, Found::Unit) {
        return Err(EndError::NoMessage);
    }
    // Meanwhile somebody else may have decided it.
    match find(services, end.phy_offset) {
        Some((at, half)) => decide(services, end, at, half, &unit).map(Some),
        None => Ok(None),
    }
}

/// Whether a half message that was decided lies where the request says.
async fn find_decided<R: Rt>(services: &Services<R>, end: &End<String>) -> Result<(), EndError> {
    let shard = &services.shard;
    let at = PhyOffset::from_wire(end.phy_offset).filter(|at| at.shard() == shard.id());
    let unit = shard.store.read_message(at.ok_or(EndError::NoMessage)?);
    let unit = unit.await?.ok_or(EndError::NoMessage)?;
    let (message, _) = decode_message(&unit).map_err(|_| EndError::NoMessage)?;
    check(services, end, &message, &Half::read(message.properties))?;
    if message.topic != HALF_TOPIC {
        return Err(EndError::NoHalfMessage);
    }
    Ok(())
}

/// Told to a second decision, which Java would carry out.
const DECIDED: &str = "the transaction was decided before; this request changes nothing";
/// Longest half message whose memory is kept for the next one, in bytes.
const UNIT_KEPT: usize = 64 << 10;
