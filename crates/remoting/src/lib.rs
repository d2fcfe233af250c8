//! The remoting protocol, sans IO: bytes in, commands out, and back.
//!
//! Nothing here owns a socket, a clock or a task. What must always hold: decoders are total (any
//! bytes give a value or a typed error, never a panic), lengths are checked before memory is
//! taken, and encoding on the hot path allocates nothing but the growth of the output buffer.
//! Answers to Java's modules `remoting` and `common`.

extern crate self as remoting;

pub mod body;
pub mod code;
pub mod command;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod header;
pub mod language;
pub mod message;
pub mod serialize;

pub use code::{RequestCode, ResponseCode};
pub use command::{Command, DecodeError, ReplyTo, SerializeType};
