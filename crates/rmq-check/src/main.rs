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
use rmq_check::file::Writer;
use rmq_check::generate::{self, Shape};
use rmq_check::selftest::{Line, Trust, selftest};
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
    /// Writes a clean history with everything that may rightly happen.
    Generate {
        /// The file; its side table is written beside it.
        file: PathBuf,
        /// Messages; about eleven events are written for each.
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
        /// Where everything random comes from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Tests the checker itself: mutated histories must be caught, clean ones must not.
    Selftest {
        /// Histories per mutator.
        #[arg(long, default_value_t = 50)]
        seeds: u64,
        /// Clean histories.
        #[arg(long, default_value_t = 100)]
        clean: u64,
        /// Messages per history.
        #[arg(long, default_value_t = 5_000)]
        messages: u64,
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
        Command::Generate {
            file,
            messages,
            seed,
        } => {
            let mut writer = Writer::create(&file, seed)?;
            let strings = generate::strings()?;
            for id in 1..strings.len() {
                writer.string(strings.text(id as u16))?;
            }
            let mut events = 0_u64;
            generate::generate(Shape { seed, messages }, &mut |record| {
                events += 1;
                writer.append(record)
            })?;
            writer.flush()?;
            println!("{events} events in {}", file.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Selftest {
            seeds,
            clean,
            messages,
        } => {
            let trust = Trust {
                seeds,
                clean,
                messages,
            };
            let is_right = selftest(trust, print_line)?;
            Ok(ExitCode::from(u8::from(!is_right)))
        }
    }
}

fn print_line(line: &Line) {
    println!("{:>4} of {:>4}  {}", line.right, line.tried, line.name);
    if let Some((seed, what)) = &line.first_wrong {
        println!("    wrong at seed {seed}: {what}");
    }
}
