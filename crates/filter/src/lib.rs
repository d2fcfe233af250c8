//! SQL92 filters: a subscription's expression, compiled once, asked for each message.
//!
//! The language is the one that Apache RocketMQ's `SelectorParser` accepts, with its conversions
//! between literals and properties (which are strings), its three-valued logic, and its habit of
//! ignoring what follows a complete expression. `tests/golden/sql92.tsv` holds the answers of the
//! official library to a table of expressions and messages; a test compares each.
//!
//! What must hold: compiling and evaluating are total, whatever the text; their stack is bounded by
//! [`DEPTH_MAX`], their memory by [`LEN_MAX`]; evaluating allocates nothing for up to eight
//! properties. Reads no clock, socket or file. Answers to Java's module `rocketmq-filter`.

mod compile;
mod error;
mod evaluate;
mod lexer;
mod node;
mod number;
mod parser;
mod value;

pub use compile::{DEPTH_MAX, Filter, LEN_MAX};
pub use error::{CompileError, EvaluateError};
pub use value::Value;
