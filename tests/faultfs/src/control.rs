//! The control socket: a thread that answers lines, and the client of a campaign.
//!
//! Owned by the binary on one side and by the campaign on the other. One request at a time per
//! connection. Invariant: when a request is answered with `ok`, the next operation of the mount
//! already sees it.

use crate::mount::{Faults, MountError, MountOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A mount with its control socket.
#[derive(Debug)]
pub struct Served {
    faults: Arc<Faults>,
    socket: PathBuf,
}

impl Served {
    /// Mounts, and answers lines on `socket` from then on.
    ///
    /// # Errors
    /// What is missing, or why the socket cannot be made.
    pub fn start(options: &MountOptions, socket: &Path) -> Result<Self, MountError> {
        let faults = Arc::new(Faults::mount(options)?);
        serve(&faults, socket).map_err(|error| MountError::Path {
            path: socket.to_owned(),
            error,
        })?;
        Ok(Self {
            faults,
            socket: socket.to_owned(),
        })
    }

    /// Unmounts, finishes the trace and removes the socket.
    ///
    /// # Errors
    /// The trace could not be written.
    pub fn end(self) -> io::Result<()> {
        self.faults.unmount()?;
        std::fs::remove_file(self.socket)
    }
}

/// Answers lines on a socket until the process ends.
fn serve(faults: &Arc<Faults>, path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let faults = Arc::downgrade(faults);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let faults = faults.clone();
            // A connection that breaks concerns only its campaign.
            std::thread::spawn(move || {
                let mut out = connection.try_clone()?;
                for line in BufReader::new(connection).lines() {
                    let line = line?;
                    let answer = match faults.upgrade() {
                        Some(faults) => faults.command(&line),
                        None => Err("the mount is ending".to_owned()),
                    };
                    let mut text = String::new();
                    match answer {
                        Ok(lines) => {
                            for line in lines {
                                text.push_str(&line);
                                text.push('\n');
                            }
                            text.push_str("ok\n");
                        }
                        Err(reason) => text = format!("error: {reason}\n"),
                    }
                    out.write_all(text.as_bytes())?;
                }
                io::Result::Ok(())
            });
        }
    });
    Ok(())
}

/// A connection to a mount's control socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    input: BufReader<UnixStream>,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket failed.
    #[error("control socket {path}: {error}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
    /// It was not understood.
    #[error("`{line}`: {reason}")]
    Refused {
        /// The request.
        line: String,
        /// The answer.
        reason: String,
    },
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(BufReader::new(stream))
        };
        let input = connect().map_err(|error| ControlError::Socket {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            input,
        })
    }

    /// Sends a line and waits until it is done. Gives the lines of the answer.
    ///
    /// # Errors
    /// It was refused, or the socket failed.
    pub fn command(&mut self, line: &str) -> Result<Vec<String>, ControlError> {
        match self.exchange(line) {
            Ok(Ok(lines)) => Ok(lines),
            Ok(Err(reason)) => Err(ControlError::Refused {
                line: line.to_owned(),
                reason,
            }),
            Err(error) => Err(ControlError::Socket {
                path: self.path.clone(),
                error,
            }),
        }
    }

    fn exchange(&mut self, line: &str) -> io::Result<Result<Vec<String>, String>> {
        writeln!(self.input.get_mut(), "{line}")?;
        let mut lines = Vec::new();
        loop {
            let mut answer = String::new();
            if self.input.read_line(&mut answer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer = answer.trim_end();
            if answer == "ok" {
                return Ok(Ok(lines));
            }
            if let Some(reason) = answer.strip_prefix("error: ") {
                return Ok(Err(reason.to_owned()));
            }
            lines.push(answer.to_owned());
        }
    }

    /// Instants and places of what was made to go wrong so far: ns, and the rest of the line.
    ///
    /// # Errors
    /// As [`Control::command`].
    pub fn injected(&mut self) -> Result<Vec<(u64, String)>, ControlError> {
        let lines = self.command("injected")?;
        let parts = lines.iter().filter_map(|line| {
            let (at_ns, rest) = line.split_once(' ')?;
            Some((at_ns.parse().ok()?, rest.to_owned()))
        });
        Ok(parts.collect())
    }

    /// A counter of `status`.
    ///
    /// # Errors
    /// As [`Control::command`]; a counter that there is not.
    pub fn counter(&mut self, name: &str) -> Result<u64, ControlError> {
        let lines = self.command("status")?;
        let words = lines.iter().flat_map(|line| line.split(' '));
        let value = words
            .filter_map(|word| word.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok());
        value.ok_or_else(|| ControlError::Refused {
            line: "status".to_owned(),
            reason: format!("there is no counter {name}"),
        })
    }
}
