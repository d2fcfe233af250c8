//! The lines of the control socket, as values.
//!
//! Pure: text in, command out. Invariant: a line that is not understood whole is refused, so that
//! a campaign never runs without the fault it asked for.

use crate::rules::{Action, Op, Rule};
use nix::errno::Errno;

/// A request of the control socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add(Rule),
    Clear,
    Limit(Option<u64>),
    Status,
    Injected,
    Mark(String),
}

/// Understands one line.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let mut words = line.split_whitespace();
    let name = words.next().ok_or("an empty line")?;
    match name {
        "clear" => end(words, Command::Clear),
        "status" => end(words, Command::Status),
        "injected" => end(words, Command::Injected),
        "limit" => {
            let limit = match words.next() {
                Some("none") => None,
                Some(bytes) => Some(number(bytes)?),
                None => return Err("limit wants a number of bytes or `none`".to_owned()),
            };
            end(words, Command::Limit(limit))
        }
        "mark" => Ok(Command::Mark(line["mark".len()..].trim().to_owned())),
        _ => rule(name, words).map(Command::Add),
    }
}

fn end<'a>(mut words: impl Iterator<Item = &'a str>, command: Command) -> Result<Command, String> {
    match words.next() {
        None => Ok(command),
        Some(word) => Err(format!("`{word}` is one word too many")),
    }
}

fn rule<'a>(name: &str, mut words: impl Iterator<Item = &'a str>) -> Result<Rule, String> {
    let op = match words.next() {
        Some("any") => None,
        Some("read") => Some(Op::Read),
        Some("write") => Some(Op::Write),
        Some("sync") => Some(Op::Sync),
        Some("name") => Some(Op::Name),
        other => return Err(format!("an operation was due, not {other:?}")),
    };
    let pattern = words.next().ok_or("part of a path, or `*`, was due")?;
    let (mut nth, mut times) = (1, if name == "stall" { u64::MAX } else { 1 });
    let (mut errno, mut sectors, mut bit, mut by) = (Errno::EIO, 1, 0, 4_096);
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not key=value"))?;
        match key {
            "nth" => nth = number(value)?.max(1),
            "times" if value == "all" => times = u64::MAX,
            "times" => times = number(value)?,
            "errno" => errno = errno_of(value)?,
            "sectors" => sectors = number(value)?,
            "bit" => bit = number(value)?,
            "by" => by = number(value)?,
            _ => return Err(format!("`{key}` is not known")),
        }
    }
    let action = match name {
        "fail" => Action::Fail(errno),
        "lose" => Action::Lose,
        "tear" => Action::Tear { sectors },
        "flip" => Action::Flip { bit },
        "misdirect" => Action::Misdirect { by },
        "stall" => Action::Stall,
        _ => return Err(format!("`{name}` is not a command")),
    };
    if !matches!(action, Action::Fail(_) | Action::Stall) && op != Some(Op::Write) {
        return Err(format!("only a write can {name}"));
    }
    let pattern = if pattern == "*" { "" } else { pattern };
    Ok(Rule {
        action,
        op,
        pattern: pattern.to_owned(),
        nth,
        times,
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number"))
}

fn errno_of(text: &str) -> Result<Errno, String> {
    match text {
        "EIO" => Ok(Errno::EIO),
        "ENOSPC" => Ok(Errno::ENOSPC),
        "EROFS" => Ok(Errno::EROFS),
        _ => {
            let raw: i32 = text
                .parse()
                .map_err(|_| format!("`{text}` is not an error number"))?;
            match Errno::from_raw(raw) {
                Errno::UnknownErrno => Err(format!("{raw} is not an error number")),
                errno => Ok(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_when_and_how_often() {
        let parsed = parse("fail sync shard-001/ nth=3 times=all errno=ENOSPC").unwrap();
        let rule = Rule {
            action: Action::Fail(Errno::ENOSPC),
            op: Some(Op::Sync),
            pattern: "shard-001/".to_owned(),
            nth: 3,
            times: u64::MAX,
        };
        assert_eq!(parsed, Command::Add(rule));
        assert_eq!(parse("limit none"), Ok(Command::Limit(None)));
        assert_eq!(parse("mark a b"), Ok(Command::Mark("a b".to_owned())));
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused() {
        for line in [
            "",
            "fail",
            "fail write",
            "fail writes *",
            "fail write * nth",
            "fail write * nht=1",
            "tear sync *",
            "clear all",
            "limit",
            "limit much",
            "explode write *",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
