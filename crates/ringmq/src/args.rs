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
