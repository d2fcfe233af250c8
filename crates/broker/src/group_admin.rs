//! Subscription groups as tools see them: create, change, delete, list.
//!
//! Changes run on shard 0; reading runs on any shard from its snapshot. What must always hold: a
//! group has a legal name. Answers to the subscription group requests of Java's
//! `AdminBrokerProcessor`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names::{self, NameError};
use crate::reply::Refusal;
use remoting::ResponseCode;
use remoting::body::BodyError;
use remoting::body::dialect;
use remoting::body::subscription_group::{SubscriptionGroupConfig, SubscriptionGroupWrapper};
use remoting::header::group::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader,
    GetSubscriptionGroupConfigRequestHeader,
};
use rt::Rt;
use shard::{CallError, ControlError};
use std::rc::Rc;

/// Longest name of a group that a tool creates, in bytes. Source: Java
/// `TopicValidator.GROUP_MAX_LENGTH`.
const GROUP_LEN_MAX: usize = 120;

/// Why a group is not created, changed, deleted or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubscriptionError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the group's configuration cannot be read: {0}")]
    Body(#[from] BodyError),
    #[error("No group in this broker")]
    Unknown,
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<SubscriptionError> for Refusal {
    fn from(error: SubscriptionError) -> Self {
        let code = match error {
            SubscriptionError::Name(_) => ResponseCode::InvalidParameter,
            SubscriptionError::Unknown => ResponseCode::SubscriptionGroupNotExist,
            SubscriptionError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            SubscriptionError::Body(_)
            | SubscriptionError::Control(_)
            | SubscriptionError::Call(_) => ResponseCode::SystemError,
        };
        Self::new(code, error.to_string())
    }
}

/// `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP` (200); runs on shard 0.
pub(crate) async fn create<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    // Java answers a request without a body with success.
    if request.command.body.is_empty() {
        return Ok(Answer::empty());
    }
    put(services, request.command.body).await?;
    Ok(Answer::empty())
}

async fn put<R: Rt>(services: &Rc<Services<R>>, body: &[u8]) -> Result<(), SubscriptionError> {
    let config: SubscriptionGroupConfig = dialect::from_slice(body)?;
    let group = &config.group_name;
    names::check_group(group)?;
    if group.len() > GROUP_LEN_MAX {
        return Err(SubscriptionError::Name(NameError::TooLong {
            what: "group",
            name: group.clone(),
            len_max: GROUP_LEN_MAX,
        }));
    }
    tracing::info!(group, "create or change a subscription group");
    let control = services.control();
    let is_same = control
        .groups()
        .find(group)
        .is_some_and(|row| **row == config);
    if is_same {
        control.publish().await?;
    } else {
        control.put_group(config).await?;
    }
    Ok(())
}

/// `DELETE_SUBSCRIPTIONGROUP` (207); runs on shard 0.
pub(crate) async fn delete<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, DeleteSubscriptionGroupRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let header = request.header;
    let group = header.group_name.to_owned();
    tracing::info!(group, peer = %request.caller.peer, "delete a subscription group");
    remove(services, group, header.clean_offset.unwrap_or(false)).await?;
    Ok(Answer::empty())
}

async fn remove<R: Rt>(
    services: &Rc<Services<R>>,
    group: String,
    with_offsets: bool,
) -> Result<(), SubscriptionError> {
    let control = services.control();
    if control.groups().find(&group).is_some() {
        control.remove_group(&group).await?;
    } else {
        control.publish().await?;
    }
    let forget = move |services: Rc<Services<R>>| async move {
        let shard = &services.shard;
        let popped = shard.forget_pops(|_, name| name == group);
        let mut count = popped.map_err(|error| ControlError::Log(error.to_string()))?;
        if with_offsets {
            count += shard.offsets.remove(|_, name| name == group);
        }
        if count > 0 {
            shard.keep_changes().await?;
        }
        Ok::<(), ControlError>(())
    };
    for forgotten in services.gather(forget).await? {
        forgotten?;
    }
    Ok(())
}

/// `GET_ALL_SUBSCRIPTIONGROUP_CONFIG` (201).
pub(crate) async fn all<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, GetAllSubscriptionGroupRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let table = services.shard.groups();
    let rows = table.iter();
    let wrapper = SubscriptionGroupWrapper {
        data_version: table.data_version.clone(),
        subscription_group_table: rows
            .map(|(name, row)| (name.to_owned(), SubscriptionGroupConfig::clone(row)))
            .collect(),
        ..SubscriptionGroupWrapper::default()
    };
    let count = table.len().to_string();
    Ok(Answer::json(&wrapper).with_field("totalGroupNum", &count))
}

/// `GET_SUBSCRIPTIONGROUP_CONFIG` (352).
pub(crate) async fn one<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetSubscriptionGroupConfigRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    match services.shard.groups().find(request.header.group) {
        Some(row) => Ok(Answer::json(&**row)),
        None => Err(SubscriptionError::Unknown.into()),
    }
}
