//! The gate: what a caller may do at all, before a request finds its owner.
//!
//! Pure. Data codes are open, as in Java; administration codes are open to the broker's own
//! machine unless the settings say otherwise. Invariant: a code of `Action::Admin` never passes
//! for another machine by default.

use crate::reply::Refusal;
use crate::routes::{Action, Route};
use crate::settings::{AdminAccess, BrokerSettings};
use remoting::ResponseCode;
use shard::Caller;

pub(crate) fn check(
    settings: &BrokerSettings,
    route: &Route,
    caller: &Caller,
) -> Result<(), Refusal> {
    if route.action != Action::Admin
        || caller.is_local_host
        || settings.admin_access == AdminAccess::Everyone
    {
        return Ok(());
    }
    let remark = format!(
        "request {} administers the broker and is open to its own machine only",
        route.code.name()
    );
    Err(Refusal::new(ResponseCode::NoPermission, remark))
}
