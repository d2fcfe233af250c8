//! The grammar of Java properties files: text in, keys and values with their lines out.
//!
//! Invariant: what `java.util.Properties.load` reads from a text, this reads from it too, as UTF-8.
//! Answers to `java.util.Properties`, which RocketMQ reads `-c` files with.

use std::fmt;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A line of the file, from 1.
    File(usize),
    /// An option of the command line or the environment.
    CommandLine,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(line) => write!(f, "line {line}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One key with its value, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The key.
    pub key: String,
    /// The value; empty when nothing follows the key.
    pub value: String,
    /// Where it stands.
    pub line: Line,
}

/// A `\u` that four hexadecimal digits do not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
}

/// Reads a properties file. Keys stand in the order of the file; of equal keys the last one counts.
///
/// # Errors
/// When a `\u` escape is broken, as in Java.
pub fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut properties = Vec::new();
    let mut lines = natural_lines(text);
    while let Some((line, first)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&logical);
        let unescaped = |text| unescape(text).ok_or(SyntaxError { line });
        properties.push(Property {
            key: unescaped(key)?,
            value: unescaped(value)?,
            line: Line::File(line),
        });
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Lines with their numbers from 1; `\n`, `\r` and `\r\n` end a line.
fn natural_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// Whether a line ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or blank that no backslash precedes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let here = !escaped && (BLANKS.contains(&c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        here
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(BLANKS))
}

/// `None` when a `\u` is broken. Surrogate pairs come as two escapes, a lone one becomes U+FFFD.
fn unescape(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return Some(text.to_owned());
    }
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(hex_unit(&mut chars)?);
                    continue;
                }
                Some(other) => other,
                None => break,
            }
        } else {
            c
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

fn hex_unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    (0..4).try_fold(0, |unit: u16, _| {
        let digit = chars.next()?.to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = parse(text).unwrap();
        properties.into_iter().map(|p| (p.key, p.value)).collect()
    }

    #[test]
    fn one_line_reads_as_in_java() {
        let check = |line: &str, key: &str, value: &str| {
            assert_eq!(pairs(line), [(key.to_owned(), value.to_owned())], "{line}");
        };
        check("listenPort=10911", "listenPort", "10911");
        check("  listenPort = 10911", "listenPort", "10911");
        check("listenPort:10911", "listenPort", "10911");
        check("listenPort 10911", "listenPort", "10911");
        check("listenPort \t= \t10911", "listenPort", "10911");
        check("brokerName", "brokerName", "");
        check("brokerName=", "brokerName", "");
        check("a=b=c", "a", "b=c");
        check("a==b", "a", "=b");
        check("a = : b", "a", ": b");
        check(
            "namesrvAddr=h1:9876;h2:9876",
            "namesrvAddr",
            "h1:9876;h2:9876",
        );
        check("a\\=b=c", "a=b", "c");
        check("a\\ b c", "a b", "c");
        check("a=\\u8ba2\\u5355", "a", "订单");
        check("a=\\ud83d\\ude00", "a", "\u{1f600}");
        check("a=订单", "a", "订单");
        check("dir=c:\\\\data\\tx\\q", "dir", "c:\\data\txq");
        check("a=b # no comment", "a", "b # no comment");
        check("a=b \t", "a", "b \t");
        check("\u{feff}a=b", "a", "b");
        check("=b", "", "b");
    }

    #[test]
    fn lines_comments_and_continuations_read_as_in_java() {
        let text =
            "# one \\\n! two\r\n\r\n  # three\r\na=1\rb=2\r\nc=x\\\n   y\\\r\n\tz\nd=1\\\\\ne=2\\";
        let properties = parse(text).unwrap();
        let read: Vec<_> = properties
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str(), p.line))
            .collect();
        let expected = [
            ("a", "1", Line::File(5)),
            ("b", "2", Line::File(6)),
            ("c", "xyz", Line::File(7)),
            ("d", "1\\", Line::File(10)),
            ("e", "2", Line::File(11)),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_broken_unicode_escape_is_reported_with_its_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=\\uzzzz", "a=1\n\\u=1"] {
            assert_eq!(parse(text), Err(SyntaxError { line: 2 }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[a-c=: \\\\\\n\\r\\tu0-9#!]*") {
            let _ = parse(&text);
        }

        #[test]
        fn what_was_escaped_comes_back(key in "\\PC+", value in "\\PC*") {
            let escape = |text: &str| text.chars().flat_map(|c| ['\\', c]).collect::<String>();
            // t, n, r, f and u have another meaning behind a backslash.
            prop_assume!(!key.contains(['t', 'n', 'r', 'f', 'u']));
            prop_assume!(!value.contains(['t', 'n', 'r', 'f', 'u']));
            let text = format!("{}={}", escape(&key), escape(&value));
            prop_assert_eq!(pairs(&text), vec![(key, value)]);
        }
    }
}
