//! Topics as tools see them: create, change, delete, list.
//!
//! Creating and deleting run on shard 0, one after the other up to the point where the new table
//! stands; reading runs on any shard from its snapshot. What must always hold: a topic that is
//! answered as deleted has no queue and no offset on any shard. Answers to the topic requests of
//! Java's `AdminBrokerProcessor`.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::names::{self, NameError};
use crate::reply::Refusal;
use crate::topic_attributes::{self, AttributeError};
use crate::topics::{self, TopicError};
use remoting::ResponseCode;
use remoting::body::topic_config::{TopicConfig, TopicConfigSerializeWrapper};
use remoting::body::topic_list::TopicList;
use remoting::header::topic::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
    GetTopicConfigRequestHeader,
};
use rt::Rt;
use shard::{CallError, ControlError};
use std::rc::Rc;

/// Most queues of a topic, for reading or for writing.
const QUEUES_MAX: i32 = 65_536;

/// Why a topic is not created, changed, deleted or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicAdminError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("The topic[{0}] is conflict with system topic.")]
    System(String),
    #[error("{name} = {count}: a topic has 0 to {QUEUES_MAX} queues")]
    QueueCount {
        /// Which of the counts.
        name: &'static str,
        /// What was asked for.
        count: i32,
    },
    #[error("topicFilterType = [{0}] value invalid")]
    FilterType(String),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("No topic in this broker. topic: {0}")]
    Unknown(String),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<TopicAdminError> for Refusal {
    fn from(error: TopicAdminError) -> Self {
        let code = match error {
            TopicAdminError::Name(_)
            | TopicAdminError::System(_)
            | TopicAdminError::QueueCount { .. } => ResponseCode::InvalidParameter,
            TopicAdminError::Unknown(_) => ResponseCode::TopicNotExist,
            TopicAdminError::Call(CallError::Busy { .. }) => ResponseCode::SystemBusy,
            TopicAdminError::FilterType(_)
            | TopicAdminError::Attribute(_)
            | TopicAdminError::Control(_)
            | TopicAdminError::Call(_) => ResponseCode::SystemError,
            TopicAdminError::Topic(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

/// `UPDATE_AND_CREATE_TOPIC` (17); runs on shard 0.
pub(crate) async fn create<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, CreateTopicRequestHeader>,
) -> Result<Answer, Refusal> {
    let header = request.header;
    tracing::info!(topic = header.topic, peer = %request.caller.peer, "create or change a topic");
    match wanted(services, &header)? {
        Some(config) => topics::put(services, config).await?,
        // An earlier request may still be waiting for its record, or have failed.
        None => services
            .control()
            .publish()
            .await
            .map_err(TopicAdminError::from)?,
    }
    Ok(Answer::empty())
}

/// The topic's new configuration; `None` when it is that already.
fn wanted<R: Rt>(
    services: &Services<R>,
    header: &CreateTopicRequestHeader,
) -> Result<Option<TopicConfig>, TopicAdminError> {
    let topic = header.topic.as_str();
    names::check_topic(topic)?;
    check_not_system(services, topic)?;
    for (name, count) in [
        ("readQueueNums", header.read_queue_nums),
        ("writeQueueNums", header.write_queue_nums),
    ] {
        if !(0..=QUEUES_MAX).contains(&count) {
            return Err(TopicAdminError::QueueCount { name, count });
        }
    }
    if !matches!(
        header.topic_filter_type.as_str(),
        "SINGLE_TAG" | "MULTI_TAG"
    ) {
        return Err(TopicAdminError::FilterType(
            header.topic_filter_type.clone(),
        ));
    }
    let table = services.control().topics();
    let present = table.find(topic);
    let attributes = topic_attributes::altered(
        present.map(|row| &row.attributes),
        header.attributes.as_deref().unwrap_or_default(),
    )?;
    let (read, write) = (header.read_queue_nums, header.write_queue_nums);
    let mut config = TopicConfig::new(topic, read, write, header.perm);
    config
        .topic_filter_type
        .clone_from(&header.topic_filter_type);
    config.topic_sys_flag = header.topic_sys_flag.unwrap_or(0);
    config.order = header.order.unwrap_or(false);
    config.attributes = attributes;
    Ok(present.is_none_or(|row| **row != config).then_some(config))
}

/// `DELETE_TOPIC_IN_BROKER` (215); runs on shard 0.
pub(crate) async fn delete<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, DeleteTopicRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let topic = request.header.topic;
    tracing::info!(topic, peer = %request.caller.peer, "delete a topic");
    if topic.trim().is_empty() {
        let blank = NameError::Blank { what: "topic" };
        return Err(TopicAdminError::Name(blank).into());
    }
    check_not_system(services, topic)?;
    remove(services, topic).await?;
    Ok(Answer::empty())
}

/// Removes a topic's configuration, then its queues and offsets on every shard.
pub(crate) async fn remove<R: Rt>(
    services: &Rc<Services<R>>,
    topic: &str,
) -> Result<(), TopicAdminError> {
    let control = services.control();
    if control.topics().find(topic).is_some() {
        control.remove_topic(topic).await?;
    } else {
        control.publish().await?;
    }
    let topic = topic.to_owned();
    let forget = move |services: Rc<Services<R>>| async move { forget(&services, &topic).await };
    for forgotten in services.gather(forget).await? {
        forgotten?;
    }
    services.registrar.register_now().await;
    Ok(())
}

/// Removes the queues of a topic and the offsets of its groups from this shard. Done when that
/// survives a power cut, as the topic's own removal does: the next topic of its name begins empty.
async fn forget<R: Rt>(services: &Services<R>, topic: &str) -> Result<(), TopicAdminError> {
    let shard = &services.shard;
    let mut is_changed = false;
    for (name, queue_id, _, _) in shard.store.queues_present() {
        if *name == *topic {
            let removed = shard.store.delete_queue(topic, queue_id);
            is_changed |= removed
                .map_err(|error| ControlError::Log(error.to_string()))?
                .is_some();
        }
    }
    let forgotten = shard.forget_pops(|name, _| name == topic);
    is_changed |= forgotten.map_err(|error| ControlError::Log(error.to_string()))? > 0;
    is_changed |= shard.offsets.remove(|name, _| name == topic) > 0;
    if is_changed {
        shard.keep_changes().await?;
    }
    Ok(())
}

/// `GET_ALL_TOPIC_CONFIG` (21).
pub(crate) async fn all<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, GetAllTopicConfigRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let table = services.shard.topics();
    let rows = table.iter();
    let wrapper = TopicConfigSerializeWrapper {
        data_version: table.data_version.clone(),
        topic_config_table: rows
            .map(|(name, row)| (name.to_owned(), TopicConfig::clone(row)))
            .collect(),
        ..TopicConfigSerializeWrapper::default()
    };
    let count = table.len().to_string();
    Ok(Answer::json(&wrapper).with_field("totalTopicNum", &count))
}

/// `GET_TOPIC_CONFIG` (351).
pub(crate) async fn one<R: Rt>(
    services: &Rc<Services<R>>,
    request: TaskRequest<'_, GetTopicConfigRequestHeader<'_>>,
) -> Result<Answer, Refusal> {
    let topic = request.header.topic;
    match services.shard.topics().find(topic) {
        Some(row) => Ok(Answer::json(&**row)),
        None => Err(TopicAdminError::Unknown(topic.to_owned()).into()),
    }
}

/// `GET_SYSTEM_TOPIC_LIST_FROM_BROKER` (305).
pub(crate) async fn system_list<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let table = services.shard.topics();
    let is_system = |name: &&str| is_system_topic(services, name);
    let names = table.names().into_iter().filter(is_system);
    Ok(Answer::json(&TopicList {
        topic_list: names.map(str::to_owned).collect(),
        broker_addr: None,
    }))
}

fn check_not_system<R: Rt>(services: &Services<R>, topic: &str) -> Result<(), TopicAdminError> {
    if is_system_topic(services, topic) {
        return Err(TopicAdminError::System(topic.to_owned()));
    }
    Ok(())
}

/// Java `TopicValidator.isSystemTopic`: a fixed set, a prefix, and the names that this broker adds
/// at its start (`TopicConfigManager.init`).
fn is_system_topic<R: Rt>(services: &Services<R>, topic: &str) -> bool {
    let settings = &services.settings;
    names::is_system_topic(topic)
        || topic == settings.cluster
        || topic == settings.name
        || topic.strip_suffix("_REPLY_TOPIC") == Some(&settings.cluster)
}
