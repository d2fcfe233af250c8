//! Cleaning on request: 306 and 316.
//!
//! Tools ask for these when they do not trust the broker to clean up by itself. What must always
//! hold: nothing that a consumer may still want is removed by them. Answers to Java's
//! `AdminBrokerProcessor.cleanExpiredConsumeQueue` and `cleanUnusedTopic`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::reply::Refusal;
use rt::Rt;
use std::rc::Rc;

/// `CLEAN_EXPIRED_CONSUMEQUEUE` (306): queue indexes shrink with their log here, so there is never
/// anything left to clean.
pub(crate) async fn queues<R: Rt>(
    _services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    Ok(Answer::empty())
}

/// `CLEAN_UNUSED_TOPIC` (316): queues of topics that were deleted are removed with the topic here,
/// so there is never anything left to clean.
pub(crate) async fn topics<R: Rt>(
    _services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    Ok(Answer::empty())
}
