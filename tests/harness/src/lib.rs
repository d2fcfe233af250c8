//! What the test programs share: starting and killing the programs under test, and a client of the
//! tests' own that shares no code with the product.
//!
//! Used by `e2e` and `torture`. What must always hold: whatever is started here is gone when its
//! value is dropped, and nothing here names a crate of the product, so that an error in its codec
//! cannot hide itself.

#![expect(
    clippy::disallowed_methods,
    reason = "test programs on plain threads and wall-clock time"
)]

pub mod client;
pub mod java;
pub mod places;
pub mod programs;
pub mod server;
pub mod wire;
