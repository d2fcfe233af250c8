//! Configuration: every key of `broker.conf` and `namesrv.conf`, declared once with its docs.
//!
//! From the tables in [`mod@keys`] come the structs, their defaults, the parser, the pages
//! `docs/configuration.md` and `conf/broker.conf`, and what tools are shown. What must always hold:
//! reading is pure (no file, environment or clock is touched), and a key that Java users can write
//! is honoured, or ignored or refused with the reason. Answers to Java's `MixAll.properties2Object`
//! and its configuration beans.

pub mod docs;
mod java;
mod keys;
mod load;
mod nearest;
mod properties;
mod spec;
mod value;

pub use java::{JavaKey, Support, java_keys};
pub use keys::{BrokerConfig, EngineConfig, NamesrvConfig, NetConfig, StoreConfig};
pub use load::{
    ConfigError, Loaded, LoadedNamesrv, Notice, Problem, UpdateError, load, load_namesrv,
};
pub use properties::{Line, Property, SyntaxError, parse as parse_properties};
pub use spec::{BadValue, KeySpec, Reload};
pub use value::{
    AddressList, BrokerRole, CpuList, DelayLevels, FlushDiskType, RequestMode, ShardChoice, Value,
};
