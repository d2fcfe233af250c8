//! The command line: sub-commands and options, with the letters that Java users type.
//!
//! Invariant: an option that says the same as a configuration key wins over the file. Answers to
//! Java's `ServerUtil.buildCommandlineOptions` and `BrokerStartup.buildCommandlineOptions`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A message broker for clients of Apache RocketMQ.
#[derive(Debug, Parser)]
#[command(name = "ringmq", version, about, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A name server and a broker in this process, for clients on this machine.
    Standalone(Standalone),
    /// A broker.
    Broker(Broker),
    /// A name server.
    Namesrv(Namesrv),
    /// Looks at a data directory that no broker has open.
    Store(Store),
}

/// Options of `standalone`.
#[derive(Debug, Args)]
pub(crate) struct Standalone {
    #[command(flatten)]
    pub(crate) broker: Broker,
    /// The broker's port for clients [default: listenPort of the file, or 10911].
    #[arg(long, value_name = "PORT")]
    pub(crate) listen_port: Option<u16>,
    /// The name server's port.
    #[arg(long, value_name = "PORT", default_value_t = 9_876)]
    pub(crate) namesrv_port: u16,
}

/// Options of `broker`, most of which `standalone` has as well.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// A properties file such as conf/broker.conf.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Name servers, host:port;host:port. `standalone` registers there besides its own.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR")]
    pub(crate) namesrv_addr: Option<String>,
    /// The data directory [default: storePathRootDir of the file; ./data in standalone, else $HOME/store].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How many shards: a number, or auto for one per CPU [default: shards of the file; 1 in
    /// standalone, else auto].
    #[arg(long, value_name = "N|auto")]
    pub(crate) shards: Option<String>,
    /// Prints every configuration key with its value and exits.
    #[arg(short = 'p', long = "printConfigItem")]
    pub(crate) print: bool,
    /// Prints the important configuration keys with their values and exits.
    #[arg(short = 'm', long = "printImportantConfig")]
    pub(crate) print_important: bool,
    #[command(flatten)]
    pub(crate) logs: Logs,
}

/// Options of `namesrv`.
#[derive(Debug, Args)]
pub(crate) struct Namesrv {
    /// A properties file such as conf/namesrv.conf.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Taken and not used, as in Java: name servers do not know each other.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR")]
    pub(crate) others: Option<String>,
    /// The port [default: listenPort of the file, or 9876].
    #[arg(long, value_name = "PORT")]
    pub(crate) listen_port: Option<u16>,
    /// Prints every configuration key with its value and exits.
    #[arg(short = 'p', long = "printConfigItem")]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) logs: Logs,
}

/// Options of `store`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Reads everything and says what is damaged. Writes nothing.
    #[command(after_help = VERIFY_HELP)]
    Verify(StoreVerify),
    /// Shows segments, blocks or messages.
    #[command(after_help = DUMP_HELP)]
    Dump(StoreDump),
}

const VERIFY_HELP: &str = "Exit codes: 0 sound, 1 damaged, 2 not a store, in use or not readable.

Examples:
  ringmq store verify /srv/ringmq
  ringmq store verify --json /srv/ringmq | jq '.findings[] | select(.losesMessages)'";

const DUMP_HELP: &str =
    "Exit codes: 0 shown, 1 nothing of that is there, 2 not a store, in use or not readable.

Examples:
  ringmq store dump /srv/ringmq --segments
  ringmq store dump /srv/ringmq --blocks --shard 0 --count 10
  ringmq store dump /srv/ringmq --topic Orders --queue 3 --from 100 --to 120 --body
  ringmq store dump /srv/ringmq --at 4503599627375104 --json --body";

/// Options of `store verify`.
#[derive(Debug, Args)]
pub(crate) struct StoreVerify {
    /// The data directory, as storePathRootDir names it.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Prints one JSON object instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Shows no progress bar on a terminal.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// Options of `store dump`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct StoreDump {
    /// The data directory, as storePathRootDir names it.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Shows segments.
    #[arg(long, conflicts_with = "blocks")]
    pub(crate) segments: bool,
    /// Shows log blocks.
    #[arg(long)]
    pub(crate) blocks: bool,
    /// Only this shard.
    #[arg(long, value_name = "N")]
    pub(crate) shard: Option<u16>,
    /// Only messages of this topic.
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Only messages of this queue.
    #[arg(long, value_name = "ID")]
    pub(crate) queue: Option<u32>,
    /// Only messages from this queue offset on.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<i64>,
    /// Only messages before this queue offset.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to: Option<i64>,
    /// The message at this physical offset; with --blocks its block.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) at: Option<i64>,
    /// At most so many rows.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) count: u64,
    /// Shows bodies as text.
    #[arg(long)]
    pub(crate) body: bool,
    /// Prints one JSON object per row.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where log lines go.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Appends log lines to this file, besides standard error [default: logFile of the file].
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// error, warn, info, debug or trace, or filters as in the variable `RUST_LOG`, which
    /// is the default, or info.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_letters_of_java_are_taken() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).unwrap().command;
        let Command::Broker(broker) =
            parse("ringmq broker -n h:9876;i:9876 -c conf/broker.conf -m")
        else {
            panic!("not a broker");
        };
        assert_eq!(broker.namesrv_addr.as_deref(), Some("h:9876;i:9876"));
        assert!(broker.print_important && !broker.print);
        let Command::Namesrv(namesrv) = parse("ringmq namesrv -c x -n y -p") else {
            panic!("not a name server");
        };
        assert!(namesrv.print && namesrv.config_file.is_some());
        let Command::Standalone(standalone) = parse("ringmq standalone --shards auto --data d")
        else {
            panic!("not standalone");
        };
        assert_eq!(standalone.namesrv_port, 9_876);
        assert_eq!(standalone.broker.shards.as_deref(), Some("auto"));
    }
}
