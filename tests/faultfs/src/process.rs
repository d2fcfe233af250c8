//! The mount as a process of its own, which can be stopped like a disk that hangs, and killed.
//!
//! Owned by the campaign that started it. The child ends when its standard input does, so a
//! campaign that is killed leaves no mount. Invariant: when [`Child`] is dropped the process is
//! gone and nothing is mounted there.

use crate::control::{Control, ControlError};
use crate::mount::MountOptions;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

const END_LIMIT: Duration = Duration::from_secs(10);

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    at: PathBuf,
    control: PathBuf,
}

impl Child {
    /// Starts `binary` and waits until it is mounted.
    ///
    /// # Errors
    /// What the child said.
    pub fn start(binary: &Path, options: &MountOptions, control: &Path) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("--backing")
            .arg(&options.backing)
            .arg("--mount")
            .arg(&options.at)
            .arg("--control")
            .arg(control)
            .arg("--with-parent");
        if let Some(trace) = &options.trace {
            command.arg("--trace").arg(trace);
        }
        if let Some(limit) = options.limit {
            command.arg("--limit").arg(limit.to_string());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", binary.display()))
        })?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if !line.starts_with("mounted") {
            let mut said = String::new();
            if let Some(mut errors) = process.stderr.take() {
                errors.read_to_string(&mut said)?;
            }
            process.wait()?;
            return Err(io::Error::other(said.trim_end().to_owned()));
        }
        Ok(Self {
            process,
            at: options.at.clone(),
            control: control.to_owned(),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// A connection to its control socket.
    ///
    /// # Errors
    /// The child is gone.
    pub fn control(&self) -> Result<Control, ControlError> {
        Control::connect(&self.control)
    }

    /// Stops the process: every operation of the mount hangs.
    ///
    /// # Errors
    /// The child is gone.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let end = Instant::now() + END_LIMIT;
        while !self.is_stopped()? {
            if Instant::now() > end {
                return Err(io::Error::other(format!(
                    "not stopped within {END_LIMIT:?}"
                )));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether every thread of the child has stopped: the signal reaches them one by one.
    fn is_stopped(&self) -> io::Result<bool> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            let state = stat
                .rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('T'));
            if state != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets a stopped process go on.
    ///
    /// # Errors
    /// The child is gone.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Unmounts and finishes the trace.
    ///
    /// # Errors
    /// What the child said, such as a trace that could not be written.
    pub fn end(mut self) -> io::Result<()> {
        self.thaw()?;
        self.signal(Signal::SIGTERM)?;
        let end = Instant::now() + END_LIMIT;
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let mut said = String::new();
                    if let Some(mut errors) = self.process.stderr.take() {
                        errors.read_to_string(&mut said)?;
                    }
                    let message = format!("the mount ended with {status}: {}", said.trim_end());
                    return Err(io::Error::other(message));
                }
                None if Instant::now() > end => {
                    return Err(io::Error::other(format!("no end within {END_LIMIT:?}")));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.process.id() as i32), signal)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After `end` all of this finds nothing to do.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") {
            let at = self.at.display().to_string();
            if mounts
                .lines()
                .any(|line| line.split(' ').nth(1) == Some(&at))
            {
                let _ = umount2(&self.at, MntFlags::MNT_DETACH);
            }
        }
    }
}
