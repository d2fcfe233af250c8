//! Rates of one key over the last minute, hour and day: request 315.
//!
//! Gathered from all shards and added. What must always hold: a key that no shard counts is
//! answered as missing, not as zero. Answers to Java's `AdminBrokerProcessor.ViewBrokerStatsData`.

use crate::assemble::Services;
use crate::handler::{Answer, TaskRequest};
use crate::reply::Refusal;
use crate::stats::{ItemView, Kind, Rate};
use remoting::ResponseCode;
use remoting::header::admin::ViewBrokerStatsDataRequestHeader;
use rt::Rt;
use serde::Serialize;
use shard::CallError;
use std::rc::Rc;

/// Why there are no rates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatsDataError {
    #[error("The stats <{name}> <{key}> not exist")]
    Unknown {
        /// What the rates are of.
        name: String,
        /// Of which topic or group.
        key: String,
    },
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<StatsDataError> for Refusal {
    fn from(error: StatsDataError) -> Self {
        let code = match error {
            StatsDataError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            StatsDataError::Unknown { .. } | StatsDataError::Call(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// Java `BrokerStatsData`.
#[derive(Debug, Serialize)]
struct StatsData {
    #[serde(rename = "statsDay")]
    day: StatsItem,
    #[serde(rename = "statsHour")]
    hour: StatsItem,
    #[serde(rename = "statsMinute")]
    minute: StatsItem,
}

/// Java `BrokerStatsItem`.
#[derive(Debug, Serialize)]
struct StatsItem {
    avgpt: f64,
    sum: u64,
    tps: f64,
}

impl From<Rate> for StatsItem {
    fn from(rate: Rate) -> Self {
        Self {
            avgpt: rate.average(),
            sum: rate.sum,
            tps: rate.tps,
        }
    }
}

/// `VIEW_BROKER_STATS_DATA` (315).
pub(crate) async fn view<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, ViewBrokerStatsDataRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let (name, key) = (request.header.stats_name, request.header.stats_key);
    let found = match Kind::from_wire(name) {
        Some(kind) => collect(services, kind, key).await?,
        None => None,
    };
    let [minute, hour, day] = found.ok_or_else(|| StatsDataError::Unknown {
        name: name.to_owned(),
        key: key.to_owned(),
    })?;
    Ok(Answer::json(&StatsData {
        day: day.into(),
        hour: hour.into(),
        minute: minute.into(),
    }))
}

async fn collect<R: Rt>(
    services: &Rc<Services<R>>,
    kind: Kind,
    key: &str,
) -> Result<Option<ItemView>, StatsDataError> {
    let key = key.to_owned();
    let item = move |services: Rc<Services<R>>| async move { services.stats.item(kind, &key) };
    let parts = services.gather(item).await?;
    let sum = |a: ItemView, b: ItemView| [a[0].plus(b[0]), a[1].plus(b[1]), a[2].plus(b[2])];
    Ok(parts.into_iter().flatten().reduce(sum))
}
