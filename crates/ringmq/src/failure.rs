//! Why the program ends with an error, and its exit code.
//!
//! Invariant: whatever ends the program is one sentence or a list of them on standard error.

use std::fmt::Display;
use std::process::ExitCode;

/// A reason to end, with the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    code: u8,
}

/// What a sub-command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Exit code 1, for a reason said by `what`.
    pub(crate) fn new(what: impl Display) -> Self {
        Self::with_code(what, 1)
    }

    pub(crate) fn with_code(what: impl Display, code: u8) -> Self {
        Self {
            sentence: what.to_string(),
            code,
        }
    }

    /// Tells the reason on standard error.
    #[expect(clippy::print_stderr, reason = "the last words of the program")]
    pub(crate) fn report(&self) -> ExitCode {
        for line in self.sentence.lines() {
            eprintln!("ringmq: {line}");
        }
        ExitCode::from(self.code)
    }
}

impl From<rt_glommio::StartError> for Failure {
    fn from(error: rt_glommio::StartError) -> Self {
        Self::new(error)
    }
}

impl From<rt_glommio::ShardError> for Failure {
    fn from(error: rt_glommio::ShardError) -> Self {
        Self::new(error)
    }
}
