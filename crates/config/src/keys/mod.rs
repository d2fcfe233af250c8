//! The honoured keys: one table per subject.
//!
//! Invariant: a key stands in one table only, except that the name server has its own
//! `listenPort`, `bindAddress` and connection bounds.

mod broker;
mod engine;
mod namesrv;
mod net;
mod store;

pub use broker::BrokerConfig;
pub use engine::EngineConfig;
pub use namesrv::NamesrvConfig;
pub use net::NetConfig;
pub use store::StoreConfig;
