//! Publication of group subscriptions to every shard.
//!
//! Owned by the shard of the groups. One task publishes at a time and takes all groups that have
//! changed meanwhile, so that a crowd of heartbeats costs few messages. Invariant: a shard never
//! sees an older state of a group after a newer one.

use super::Clients;
use crate::assemble::Services;
use crate::subscription::GroupSubscriptions;
use base::ShardId;
use rt::Rt;
use rt::sync::Event;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Groups that wait to be published, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    changed: RefCell<BTreeSet<String>>,
    wanted: Cell<u64>,
    done: Cell<u64>,
    is_running: Cell<bool>,
    progress: Event,
}

type Changes = Vec<(String, Option<Arc<GroupSubscriptions>>)>;

impl Clients {
    /// Makes every shard see the present state of a group. Done when all have acknowledged.
    pub(super) async fn publish<R: Rt>(&self, services: &Services<R>, group: &str) {
        let publisher = &self.publisher;
        publisher.changed.borrow_mut().insert(group.to_owned());
        let wanted = publisher.wanted.get() + 1;
        publisher.wanted.set(wanted);
        while publisher.done.get() < wanted {
            if publisher.is_running.replace(true) {
                publisher.progress.wait().await;
                continue;
            }
            self.publish_changed(services).await;
            publisher.is_running.set(false);
            publisher.progress.notify();
        }
    }

    async fn publish_changed<R: Rt>(&self, services: &Services<R>) {
        let wanted = self.publisher.wanted.get();
        let names = self.publisher.changed.take();
        let changes: Changes = names
            .into_iter()
            .map(|name| {
                let present = self.to_publish(&name);
                (name, present)
            })
            .collect();
        let changes = Arc::new(changes);
        for index in 0..services.shard.rt.shard_count() {
            let changes = Arc::clone(&changes);
            let adopt = move |services: Rc<Services<R>>| async move {
                for (group, subscriptions) in changes.iter() {
                    services.clients.adopt(group, subscriptions.clone());
                }
            };
            let to = ShardId::new(index);
            if let Err(error) = services.call_until_done(to, adopt).await {
                tracing::warn!(%error, "a shard missed a change of subscriptions");
            }
        }
        self.publisher.done.set(wanted);
    }
}
