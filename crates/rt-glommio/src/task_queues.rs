//! The task queues of one executor: one per class of work, each with its share of the core.
//!
//! Owned by the executor. No queue has a latency goal: with one, glommio's preempt timer can fire
//! before the first queue runs, and the executor parks with tasks that could run. For the same
//! reason the preempt timer keeps its default of 100 ms, and a ticker wakes the executor anyway
//! (see `watchdog`). Shares count only while queues compete.

use glommio::{Latency, Shares, TaskQueueHandle};
use rt::Class;
use rt::sync::{Gate, Pass};
use std::rc::Rc;

/// Handles of the queues, and a count of the tasks in them.
#[derive(Debug, Clone)]
pub(crate) struct TaskQueues {
    request: TaskQueueHandle,
    flush: TaskQueueHandle,
    dispatch: TaskQueueHandle,
    housekeeping: TaskQueueHandle,
    tasks: Rc<Gate>,
}

impl TaskQueues {
    /// Makes the queues on the executor that runs here.
    pub(crate) fn new() -> Self {
        let queue = |shares, name| {
            glommio::executor().create_task_queue(
                Shares::Static(shares),
                Latency::NotImportant,
                name,
            )
        };
        Self {
            request: queue(1_000, "request"),
            flush: queue(1_000, "flush"),
            dispatch: queue(500, "dispatch"),
            housekeeping: queue(100, "housekeeping"),
            tasks: Rc::new(Gate::default()),
        }
    }

    /// Starts a task that ends by itself: a cancelled task would leak its memory in glommio.
    pub(crate) fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        let queue = match class {
            Class::Request => self.request,
            Class::Flush => self.flush,
            Class::Dispatch => self.dispatch,
            Class::Housekeeping => self.housekeeping,
        };
        let pass: Pass = self.tasks.enter();
        let counted = async move {
            task.await;
            drop(pass);
        };
        glommio::spawn_local_into(counted, queue)
            .expect("the queues live as long as their executor")
            .detach();
    }

    /// The gate that every spawned task is inside of.
    pub(crate) fn tasks(&self) -> &Rc<Gate> {
        &self.tasks
    }
}
