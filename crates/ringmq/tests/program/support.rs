//! Starting the program and reading what it says.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A directory that is gone with the test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program with these arguments, in `dir`, with nothing of the caller's configuration.
pub(crate) fn ringmq(dir: &Dir, arguments: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_ringmq")), dir, arguments)
}

/// Another program in the same surroundings.
pub(crate) fn program(program: &Path, dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir.path());
    command
        .env("HOME", dir.path())
        .env_remove("NAMESRV_ADDR")
        .env_remove("RUST_LOG");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program that ends by itself leaves: exit code, standard output, standard error.
pub(crate) fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A program that runs until it is stopped.
pub(crate) struct Process {
    child: Child,
    /// What it printed when it began to serve.
    pub(crate) boot: Vec<String>,
}

impl Process {
    /// Starts it and reads standard output up to the row that begins with `last`.
    pub(crate) fn start(mut command: Command, last: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut boot = Vec::new();
        while boot
            .last()
            .is_none_or(|line: &String| !line.trim_start().starts_with(last))
        {
            if let Some(line) = lines.next() {
                boot.push(line.unwrap());
                continue;
            }
            let mut process = Self { child, boot };
            let ended = process.wait();
            panic!("it ended: {ended}\n{}", process.errors());
        }
        Self { child, boot }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to end and returns its exit code with what it said on standard error.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let code = self.wait().code();
        (code, self.errors())
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut text).unwrap();
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
