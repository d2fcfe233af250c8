//! Log lines: to standard error and to a file, written by a thread of their own.
//!
//! Shards never wait for a terminal or a full pipe: lines beyond a bounded buffer are dropped.
//! Invariant: one event is one line, whatever a peer put into a name, so that nobody can forge one.

use crate::failure::{Failure, Outcome};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const BUFFERED_LINES_MAX: usize = 4_096;

/// Writes what is left when dropped.
#[derive(Debug)]
pub(crate) struct Logging {
    _guards: Vec<WorkerGuard>,
}

/// Starts logging. `level` is a level or filters; without it `RUST_LOG` decides, else `info`.
///
/// # Errors
/// When the file cannot be appended to or the level is none.
pub(crate) fn start(file: Option<&Path>, level: Option<&str>) -> Outcome<Logging> {
    let filters = match (level, std::env::var("RUST_LOG")) {
        (Some(level), _) => level.to_owned(),
        (None, Ok(filters)) if !filters.is_empty() => filters,
        _ => "info".to_owned(),
    };
    let filter = EnvFilter::try_new(&filters)
        .map_err(|error| Failure::new(format!("log level \"{filters}\": {error}")))?;
    let mut guards = Vec::new();
    let mut outlet = |target: Box<dyn Write + Send>| {
        let builder = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES_MAX);
        let (writer, guard) = builder.thread_name("log").finish(target);
        guards.push(guard);
        writer
    };
    let mut lines = Lines {
        terminal: outlet(Box::new(io::stderr())),
        file: None,
    };
    if let Some(path) = file {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|error| {
            Failure::new(format!(
                "cannot append to the log file {}: {error}",
                path.display()
            ))
        })?;
        lines.file = Some(outlet(Box::new(file)));
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(lines)
        .finish();
    // Logging was started before only in tests.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(Logging { _guards: guards })
}

/// Makes the writer of one event.
struct Lines {
    terminal: NonBlocking,
    file: Option<NonBlocking>,
}

struct Line {
    terminal: NonBlocking,
    file: Option<NonBlocking>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line {
            terminal: self.terminal.clone(),
            file: self.file.clone(),
        }
    }
}

impl Write for Line {
    /// Takes one whole event, as the formatter writes it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = one_line(event);
        self.terminal.write_all(&line)?;
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes every control character but the newline at the end.
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let body = text.strip_suffix('\n').unwrap_or(&text);
    if !body.chars().any(char::is_control) {
        return event.to_vec();
    }
    let mut line = String::with_capacity(event.len() + 16);
    for c in body.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let check = |event: &str, expected: &str| {
            assert_eq!(
                String::from_utf8(one_line(event.as_bytes())).unwrap(),
                expected
            );
        };
        check("INFO topic=订单\n", "INFO topic=订单\n");
        check(
            "INFO topic=a\nERROR forged\n",
            "INFO topic=a\\nERROR forged\n",
        );
        check("a\r\u{1b}[2Jb\u{85}\n", "a\\r\\u{1b}[2Jb\\u{85}\n");
        check("no end", "no end");
    }
}
