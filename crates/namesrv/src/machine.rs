//! The name server as a state machine: requests in, answers out, time and connections told.
//!
//! For whoever brings the sockets: the simulation runs it behind its own network. Requests that write
//! the key-value configuration need a disk and are not answered. What must always hold: every
//! other request is answered as the server answers it, since it is the same code.

use crate::kv::KvError;
use crate::requests::answer_now;
use crate::route_table::ConnectionId;
use crate::server::NameServer;
use crate::settings::Settings;
use config::NamesrvConfig;
use remoting::command::Command;
use std::path::PathBuf;

/// See the module.
#[derive(Debug)]
pub struct Machine(NameServer);

impl Machine {
    /// A name server with the default configuration that knows nobody.
    ///
    /// # Errors
    /// Never; the key-value configuration has no file.
    pub fn new() -> Result<Self, KvError> {
        let settings = Settings::new(NamesrvConfig::default(), PathBuf::new());
        NameServer::without_clock(&settings).map(Self)
    }

    /// Answers a request that came over connection `connection` (from 1, never used again) when
    /// the server was `age_ms` old. The answer goes to the end of `out` as a whole frame.
    pub fn answer(&self, connection: u64, request: &Command<'_>, age_ms: u64, out: &mut Vec<u8>) {
        self.0.set_age(age_ms);
        if let Some(answer) = answer_now(&self.0, ConnectionId(connection), request) {
            answer.write(out, request.reply_to());
        }
    }

    /// Removes the brokers of a connection that has ended.
    pub fn connection_closed(&self, connection: u64) {
        self.0.connection_closed(ConnectionId(connection));
    }

    /// Removes the brokers that were silent for too long.
    pub fn expire(&self, age_ms: u64) {
        self.0.set_age(age_ms);
        self.0.table().expire(self.0.now());
    }
}
