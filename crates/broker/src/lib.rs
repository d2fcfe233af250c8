//! The broker: connections, the routing table, and the services behind it, generic over the
//! runtime seam.
//!
//! A frame is read by `conn`, checked by `gate`, routed by `routes`, and decided on the shard that
//! owns what it touches. Invariant: this crate names no engine; a request is answered once.
//!
//! # How to add a request code
//!
//! 1. Put the header struct into `remoting::header` (derive `RemotingHeader`; mark the fields that
//!    route with `route = Topic`, `QueueId`, `Group` or `PhyOffset`).
//! 2. In `routes/table.rs` move the code from `refused` to `served`:
//!    `Code Owner Action Work Header<'_> => crate::module::function;`
//!    - Owner: `Local` (the accepting shard), `Control` (shard 0), `Queue`, `Group`, `PhyOffset`.
//!    - Action: `Admin` is open to the broker's own machine only; `Any`, `Pub`, `Sub` to everyone.
//!    - Work: `Task` for everything that is not a hot path.
//! 3. Write the handler in the module of the capability whose state it touches:
//!    `pub(crate) async fn function<R: Rt>(services: &Rc<Services<R>>, request: TaskRequest<'_, Header<'_>>) -> Result<Answer, Refusal>`.
//!    The body is `request.command.body`; answer with `Answer::empty()`, `::header(&h)`,
//!    `::json(&body)`, `::body(bytes)`. Make one error enum per capability with one
//!    `From<XError> for Refusal`, the only place that names codes.
//!
//! What a handler can use: `services.shard.topics()` and `.groups()` are the published tables of
//! this shard; changes go to shard 0: `services.call(ShardId::CONTROL, |s| async move {
//! topics::put(&s, config).await })`. What all shards hold is collected with
//! `services.gather(|s| async move { … })`, in order of shard. Members of groups live on
//! `services.shard.owner_of_group(group)` in `services.clients`; committed offsets on the shard of
//! the queue in `services.shard.offsets`; a frame to a client goes out by `services.push`.

mod assemble;
mod boot;
mod clean_up;
mod client;
mod config_admin;
mod conn;
mod connections;
mod consume_stats;
mod delay;
mod gate;
mod group_admin;
mod handler;
mod key_query;
mod locks;
mod names;
mod offset;
mod offset_admin;
mod pop;
mod pull;
mod query;
mod register;
mod reply;
mod retry;
mod routes;
mod runtime_info;
mod send;
mod settings;
mod stats;
mod stats_data;
mod subscription;
mod topic_admin;
mod topic_attributes;
mod topic_stats;
mod topics;
mod transaction;

pub use boot::{BootReport, run_shard};
pub use reply::Refusal;
pub use routes::{Action, Owner, REFUSED, ROUTES, Route, Work, compat_rows};
pub use settings::{AdminAccess, BrokerSettings, NetLimits, PopSettings, TransactionSettings};
pub use shard::ShardMessage;
