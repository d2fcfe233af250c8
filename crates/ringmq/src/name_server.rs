//! The name server inside this process: its start and its end.
//!
//! It runs as a task of the main thread's tokio runtime, away from the shards' cores and rings.

use crate::failure::{Failure, Outcome};
use namesrv::{ServeError, Settings};
use std::net::SocketAddr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A name server that serves.
#[derive(Debug)]
pub(crate) struct NameServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl NameServer {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When the port is taken, and by whom, or its file cannot be used.
    pub(crate) async fn start(settings: Settings) -> Outcome<Self> {
        rt_glommio::ensure_port_free(settings.listen)?;
        let (ready, listens) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let tell = move |address| {
            // The starter waits for it below.
            let _ = ready.send(address);
        };
        let stopped = async move {
            // A starter that is gone means the same.
            let _ = stopped.await;
        };
        let task = tokio::spawn(namesrv::serve(settings, tell, stopped));
        match listens.await {
            Ok(address) => Ok(Self {
                address,
                stop,
                task,
            }),
            Err(_) => match task.await {
                Ok(Err(error)) => Err(Failure::new(error)),
                _ => Err(Failure::new("the name server ended before it was ready")),
            },
        }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) -> Outcome {
        // It has ended already when nobody hears this.
        let _ = self.stop.send(());
        match self.task.await {
            Ok(ended) => ended.map_err(Failure::new),
            Err(error) => Err(Failure::new(format!("the name server failed: {error}"))),
        }
    }
}
