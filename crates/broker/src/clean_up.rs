//! Cleaning on request: 306, 316 and 329.
//!
//! Tools ask for these when they do not trust the broker to clean up by itself. What must always
//! hold: nothing that a consumer may still want is removed by them. Answers to Java's
//! `AdminBrokerProcessor.cleanExpiredConsumeQueue`, `cleanUnusedTopic` and `deleteExpiredCommitLog`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names;
use crate::reply::Refusal;
use remoting::ResponseCode;
use rt::Rt;
use shard::CallError;
use std::rc::Rc;

/// Why cleaning did not happen everywhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanUpError {
    #[error(transparent)]
    Shard(#[from] CallError),
}

impl From<CleanUpError> for Refusal {
    fn from(error: CleanUpError) -> Self {
        let code = match error {
            CleanUpError::Shard(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            CleanUpError::Shard(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `DELETE_EXPIRED_COMMITLOG` (329): files of the log that are too old go now, on every shard,
/// whatever the hour. Answered at once, as Java does.
pub(crate) async fn log<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let delete = |services: Rc<Services<R>>| async move {
        services.shard.store.delete_expired_now();
    };
    services.gather(delete).await.map_err(CleanUpError::from)?;
    Ok(Answer::empty())
}

/// `CLEAN_EXPIRED_CONSUMEQUEUE` (306): the index of a queue is trimmed in the same step as its log
/// here, so there is never anything left to clean.
pub(crate) async fn queues<R: Rt>(
    _services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    Ok(Answer::empty())
}

/// `CLEAN_UNUSED_TOPIC` (316): queues of topics that are no more. They are removed with the topic;
/// a broker that was killed in between may have kept some.
pub(crate) async fn topics<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let clean = |services: Rc<Services<R>>| async move {
        let (shard, topics) = (&services.shard, services.shard.topics());
        for (topic, queue_id, _, _) in shard.store.queues_present() {
            if topics.find(&topic).is_none() && !names::is_system_topic(&topic) {
                // One that cannot be removed now is found again by the next request.
                let _ = shard.store.delete_queue(&topic, queue_id);
            }
        }
    };
    services.gather(clean).await.map_err(CleanUpError::from)?;
    Ok(Answer::empty())
}
