//! What the program prints when it serves: Java's first lines, then a table of what runs where.
//!
//! Health checks and scripts wait for the first lines, so they equal Java's to the letter.
//! Invariant: it is printed only when every part serves.

use crate::address::Advertised;
use crate::failure::{Failure, Outcome};
use broker::BootReport;
use rt::Space;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;

/// `NamesrvStartup`: the line that says that the name server serves.
pub(crate) fn namesrv_line(address: SocketAddr) -> String {
    format!("The Name Server boot success. serializeType=JSON, address {address}")
}

/// `BrokerStartup`: the line that says that the broker serves.
pub(crate) fn broker_line(name: &str, advertised: SocketAddr, name_servers: &str) -> String {
    let mut line = format!("The broker[{name}, {advertised}] boot success. serializeType=JSON");
    if !name_servers.is_empty() {
        let _ = write!(line, " and name server is {name_servers}");
    }
    line
}

/// What runs where. Rows of what is absent are left out.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 3]>,
    notes: Vec<(&'static str, String)>,
}

impl Table {
    pub(crate) fn namesrv(&mut self, address: SocketAddr) {
        let row = ["namesrv", &address.to_string(), ""];
        self.rows.push(row.map(str::to_owned));
    }

    pub(crate) fn broker(&mut self, listen: SocketAddr, vip_port: u16, advertised: &Advertised) {
        let told = SocketAddr::new(advertised.ip, listen.port());
        self.rows.push([
            "broker".to_owned(),
            format!("{listen} (VIP channel {vip_port})"),
            format!("{told} ({})", advertised.reason),
        ]);
    }

    pub(crate) fn engine(&mut self, cpus: &[usize]) {
        let shards = match cpus.len() {
            1 => "1 shard".to_owned(),
            count => format!("{count} shards"),
        };
        let text = format!("io_uring, {shards} on {}", cpu_ranges(cpus));
        self.notes.push(("engine", text));
    }

    pub(crate) fn data(&mut self, dir: &Path, reports: &[BootReport]) {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let mut text = dir.display().to_string();
        if let Some(Space {
            total, available, ..
        }) = reports.iter().find_map(|report| report.space)
        {
            let _ = write!(text, " ({} free of {})", gib(available), gib(total));
        }
        self.notes.push(("data", text));
    }

    /// The table as text, with a newline behind each line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let width = self.rows.iter().map(|row| row[1].chars().count()).max();
        let width = width.unwrap_or(0).max("listen".len());
        let mut line = |cells: [&str; 3]| {
            let [role, listen, advertised] = cells;
            let line = format!(" {role:<8} {listen:<width$}  {advertised}");
            text.push_str(line.trim_end());
            text.push('\n');
        };
        if !self.rows.is_empty() {
            line(["role", "listen", "advertised"]);
        }
        for row in &self.rows {
            line(row.each_ref().map(String::as_str));
        }
        for (name, value) in &self.notes {
            let _ = writeln!(text, " {name:<8} {value}");
        }
        text
    }
}

/// Prints to standard output.
///
/// # Errors
/// When nobody reads it: a closed pipe ends the program before it has served anybody.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))
}

/// `cpu 0`, `cpu 0-3,8`; with how many shards each has when they share.
fn cpu_ranges(cpus: &[usize]) -> String {
    let mut distinct = cpus.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &cpu in &distinct {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    let shared = if distinct.len() < cpus.len() {
        " (shared)"
    } else {
        ""
    };
    format!("cpu {}{shared}", shown.join(","))
}

fn gib(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_equal_those_of_java() {
        assert_eq!(
            namesrv_line("0.0.0.0:9876".parse().unwrap()),
            "The Name Server boot success. serializeType=JSON, address 0.0.0.0:9876"
        );
        let address = "127.0.0.1:10911".parse().unwrap();
        assert_eq!(
            broker_line("broker-a", address, "127.0.0.1:9876"),
            "The broker[broker-a, 127.0.0.1:10911] boot success. serializeType=JSON and name server \
             is 127.0.0.1:9876"
        );
        assert_eq!(
            broker_line("broker-a", address, ""),
            "The broker[broker-a, 127.0.0.1:10911] boot success. serializeType=JSON"
        );
    }

    #[test]
    fn the_table_says_what_runs_where() {
        let mut table = Table::default();
        table.namesrv("0.0.0.0:9876".parse().unwrap());
        let advertised = Advertised {
            ip: [127, 0, 0, 1].into(),
            reason: "brokerIP1",
        };
        table.broker("0.0.0.0:10911".parse().unwrap(), 10_909, &advertised);
        table.engine(&[0, 1]);
        table.data(Path::new("/srv/data"), &[]);
        assert_eq!(
            table.text(),
            " role     listen                             advertised\n \
             namesrv  0.0.0.0:9876\n \
             broker   0.0.0.0:10911 (VIP channel 10909)  127.0.0.1:10911 (brokerIP1)\n \
             engine   io_uring, 2 shards on cpu 0-1\n \
             data     /srv/data\n"
        );
    }

    #[test]
    fn cpus_are_shown_as_ranges() {
        assert_eq!(cpu_ranges(&[3]), "cpu 3");
        assert_eq!(cpu_ranges(&[8, 0, 1, 2]), "cpu 0-2,8");
        assert_eq!(cpu_ranges(&[0, 1, 0]), "cpu 0-1 (shared)");
        assert_eq!(gib(76_235_669_504), "71.0 GiB");
    }
}
