//! `ringmq`, the one program: `standalone`, `broker`, `namesrv` and `store`.
//!
//! Each sub-command is a module that turns its arguments into settings and calls one library.
//! Invariant: a failed start says in plain words what to change and exits with a code that is not
//! zero. Answers to Java's `BrokerStartup` and `NamesrvStartup`.

mod address;
mod args;
mod boot_lines;
mod broker_settings;
mod configuration;
mod data_dir;
mod failure;
mod logs;
mod name_server;
mod program;
mod progress;
mod shards;
mod signals;
mod store_commands;
mod store_files;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Cargo unites the features of everything that it builds together: with the bugs that tests switch on
/// this program does not compile.
const _: () = assert!(
    !base::bugs::COMPILED_IN,
    "ringmq is not built with the feature seeded-bugs of base: build it alone, without it"
);

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Standalone(arguments) => program::standalone(&arguments),
        Command::Broker(arguments) => program::broker(&arguments),
        Command::Namesrv(arguments) => program::namesrv(&arguments),
        Command::Store(arguments) => store_commands::run(&arguments.command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
