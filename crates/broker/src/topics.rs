//! Topics as the hot path sees them, and how they come to be.
//!
//! Owned by each shard: a cache from a topic's name to its configuration and the log's queues,
//! emptied when shard 0 publishes another table. Creating goes to shard 0, which writes, publishes
//! and registers before it answers. Invariant: a handle that is found belongs to the shard's
//! present table. Java: `TopicConfigManager`.

use crate::assemble::Services;
use crate::names::{self, DLQ_PREFIX, RETRY_PREFIX};
use crate::reply::Refusal;
use base::{HashMap, QueueId, ShardId};
use remoting::ResponseCode;
use remoting::body::topic_config::TopicConfig;
use rt::Rt;
use shard::{CallError, ControlError, Shard};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use store::QueueRef;

/// A topic of the present table.
#[derive(Debug)]
pub(crate) struct TopicHandle {
    pub(crate) name: Box<str>,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) is_closed_to_sends: bool,
    pub(crate) is_retry: bool,
    queues: RefCell<Vec<Option<QueueRef>>>,
}

impl TopicHandle {
    /// The number of queues that a request may name.
    pub(crate) fn queue_count(&self) -> i32 {
        self.config
            .read_queue_nums
            .max(self.config.write_queue_nums)
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.config.perm & PERM_READ != 0
    }

    /// The log's queue, made when there is none yet.
    pub(crate) fn queue<R: Rt>(&self, shard: &Shard<R>, queue_id: u32) -> QueueRef {
        let index = queue_id as usize;
        if let Some(Some(queue)) = self.queues.borrow().get(index) {
            return *queue;
        }
        let queue = shard.store.queue_or_create(&self.name, QueueId(queue_id));
        let mut queues = self.queues.borrow_mut();
        if queues.len() <= index {
            queues.resize(index + 1, None);
        }
        queues[index] = Some(queue);
        queue
    }
}

/// The cache of one shard.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    version: Cell<u64>,
    handles: RefCell<HashMap<Box<str>, Rc<TopicHandle>>>,
    /// The one that was found last: most requests of a turn are about one topic.
    last: RefCell<Option<Rc<TopicHandle>>>,
}

impl Topics {
    /// The topic called `name`.
    pub(crate) fn find<R: Rt>(&self, shard: &Shard<R>, name: &str) -> Option<Rc<TopicHandle>> {
        let version = shard.topics_version();
        if self.version.replace(version) != version {
            self.handles.borrow_mut().clear();
            self.last.take();
        }
        let mut last = self.last.borrow_mut();
        if let Some(handle) = last.as_ref().filter(|handle| *handle.name == *name) {
            return Some(Rc::clone(handle));
        }
        if let Some(handle) = self.handles.borrow().get(name) {
            *last = Some(Rc::clone(handle));
            return Some(Rc::clone(handle));
        }
        let config = Arc::clone(shard.topics().find(name)?);
        let handle = Rc::new(TopicHandle {
            name: name.into(),
            config,
            is_closed_to_sends: names::is_closed_to_sends(name),
            is_retry: name.starts_with(RETRY_PREFIX),
            queues: RefCell::default(),
        });
        let known = Rc::clone(&handle);
        self.handles.borrow_mut().insert(name.into(), known);
        Some(handle)
    }

    /// A shard that owns one of the topic's write queues, at random; this one when the topic is
    /// unknown.
    pub(crate) fn random_owner<R: Rt>(&self, shard: &Shard<R>, name: &str) -> ShardId {
        let Some(handle) = self.find(shard, name) else {
            return shard.id();
        };
        let count = u64::from(handle.config.write_queue_nums.max(1).cast_unsigned());
        shard.owner_of(name, (shard.rt.random_u64() % count) as u32)
    }

    /// One of the topic's write queues that this shard owns, at random.
    pub(crate) fn random_queue<R: Rt>(shard: &Shard<R>, handle: &TopicHandle) -> Option<u32> {
        let count = handle.config.write_queue_nums.max(0).cast_unsigned();
        let start = shard.rt.random_u64() as u32 % count.max(1);
        (0..count)
            .map(|step| (start + step) % count)
            .find(|queue| shard.owner_of(&handle.name, *queue) == shard.id())
    }
}

/// Why there is no topic to send to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error(
        "topic[{topic}] not exist, apply first please!\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    Unknown { topic: String },
    #[error(transparent)]
    Name(#[from] names::NameError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Self {
        let code = match error {
            TopicError::Unknown { .. } => ResponseCode::TopicNotExist,
            TopicError::Name(_) => ResponseCode::InvalidParameter,
            TopicError::Control(_) => ResponseCode::SystemError,
            TopicError::Call(_) => ResponseCode::SystemBusy,
        };
        Self::new(code, error.to_string())
    }
}

/// Creates a topic as a send to an unknown one does: after the template that the producer names.
/// Done when every shard knows it and the name servers were told.
pub(crate) async fn create_for_send<R: Rt>(
    services: &Services<R>,
    topic: &str,
    template: &str,
    queue_count: i32,
) -> Result<(), TopicError> {
    names::check_topic(topic)?;
    let (topic, template) = (topic.to_owned(), template.to_owned());
    let create = move |services: Rc<Services<R>>| async move {
        let unknown = || TopicError::Unknown {
            topic: topic.clone(),
        };
        let control = services.control();
        if control.topics().find(&topic).is_some() {
            return finish(&services).await;
        }
        if topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) {
            return put(&services, retry_topic(&topic, 1)).await;
        }
        let is_allowed = services.settings.creates_topics || template != names::DEFAULT_TOPIC;
        let topics = control.topics();
        let template = topics.find(&template).filter(|_| is_allowed);
        let template = template.filter(|row| row.perm & PERM_INHERIT != 0);
        let template = template.ok_or_else(unknown)?;
        // Java TopicConfigManager.createTopicInSendMessageMethod.
        let count = queue_count.min(template.write_queue_nums).max(0);
        let mut config = TopicConfig::new(&topic, count, count, template.perm & !PERM_INHERIT);
        config.topic_sys_flag = 0;
        config
            .topic_filter_type
            .clone_from(&template.topic_filter_type);
        put(&services, config).await
    };
    services.call(ShardId::CONTROL, create).await?
}

/// Makes sure that a retry or dead letter topic is there, whatever the settings say of others.
pub(crate) async fn ensure_retry_topic<R: Rt>(
    services: &Services<R>,
    topic: &str,
    queue_count: i32,
) -> Result<(), TopicError> {
    if services.shard.topics().find(topic).is_some() {
        return Ok(());
    }
    names::check_topic(topic)?;
    let topic = topic.to_owned();
    let create = move |services: Rc<Services<R>>| async move {
        if services.control().topics().find(&topic).is_some() {
            return finish(&services).await;
        }
        put(&services, retry_topic(&topic, queue_count)).await
    };
    services.call(ShardId::CONTROL, create).await?
}

/// Creates or replaces a topic; runs on shard 0.
pub(crate) async fn put<R: Rt>(
    services: &Services<R>,
    config: TopicConfig,
) -> Result<(), TopicError> {
    services.control().put_topic(config).await?;
    services.registrar.register_now().await;
    Ok(())
}

/// Waits until a topic that another request is creating can be used everywhere.
async fn finish<R: Rt>(services: &Services<R>) -> Result<(), TopicError> {
    services.control().publish().await?;
    services.registrar.register_now().await;
    Ok(())
}

fn retry_topic(topic: &str, queue_count: i32) -> TopicConfig {
    TopicConfig::new(topic, queue_count, queue_count, PERM_READ | PERM_WRITE)
}

/// The topics that a broker has from its first start.
pub(crate) fn system_topics(settings: &crate::settings::BrokerSettings) -> Vec<TopicConfig> {
    let all = PERM_READ | PERM_WRITE | PERM_INHERIT;
    let read_write = PERM_READ | PERM_WRITE;
    let levels = i32::try_from(settings.delay_levels_ms.len()).unwrap_or(i32::MAX);
    let mut topics = vec![
        TopicConfig::new("SELF_TEST_TOPIC", 1, 1, read_write),
        TopicConfig::new("BenchmarkTest", 1_024, 1_024, read_write),
        TopicConfig::new("OFFSET_MOVED_EVENT", 1, 1, read_write),
        TopicConfig::new(names::SCHEDULE_TOPIC, levels, levels, read_write),
        TopicConfig::new(
            &format!("{}_REPLY_TOPIC", settings.cluster),
            1,
            1,
            read_write,
        ),
    ];
    if settings.creates_topics {
        let count = settings.default_queue_count;
        topics.push(TopicConfig::new(names::DEFAULT_TOPIC, count, count, all));
    }
    let own = PERM_INHERIT
        | if settings.has_cluster_topic {
            read_write
        } else {
            0
        };
    topics.push(TopicConfig::new(&settings.cluster, 16, 16, own));
    let own = PERM_INHERIT
        | if settings.has_broker_topic {
            read_write
        } else {
            0
        };
    topics.push(TopicConfig::new(&settings.name, 1, 1, own));
    if settings.has_trace_topic {
        topics.push(TopicConfig::new(&settings.trace_topic, 1, 1, read_write));
    }
    topics
}

/// Permission bits (Java `PermName`).
pub(crate) const PERM_INHERIT: i32 = 1;
pub(crate) const PERM_WRITE: i32 = 2;
pub(crate) const PERM_READ: i32 = 4;
