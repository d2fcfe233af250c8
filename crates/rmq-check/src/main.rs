//! `rmq-check`: judges histories of a run.
//!
//! Exit code 0: every property holds; 1: one is broken; 2: no verdict. Invariant: a history that
//! cannot be read to its end is never called clean.

#![allow(
    clippy::print_stdout,
    reason = "a command-line program speaks on stdout"
)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use rmq_check::check::check;
use rmq_check::source::Files;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "rmq-check",
    version,
    about = "Judges what clients of a broker saw."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judges the histories of one run, merged by time.
    Check {
        /// History files; beside each lies its side table, NAME.strings.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("no verdict: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check { files, json } => {
            let report = check(&Files::open(&files)?)?;
            if json {
                println!("{:#}", report.to_json());
            } else {
                println!("{report}");
            }
            Ok(ExitCode::from(u8::from(!report.is_clean())))
        }
    }
}
