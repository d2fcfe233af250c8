//! Words of an expression, one at a time.
//!
//! Owned by the parser, which never looks further than it needs: what follows a complete expression
//! is not looked at, as in Java. Invariant: the longest word wins, and progress is made at each call.
//! Source: tokens of Java's `SelectorParser.jj`.

use crate::error::{CompileError, clip};

/// A word. Text is as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    End,
    Word(Keyword),
    Name(&'a str),
    Whole(&'a str),
    Floating(&'a str),
    /// Quotes included.
    Text(&'a str),
    Sign(&'static str),
}

macro_rules! keywords {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// Reserved words, in any case of letters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Keyword {
            $($name,)+
        }

        impl Keyword {
            fn of(text: &str) -> Option<Self> {
                $(if text.eq_ignore_ascii_case($text) {
                    return Some(Self::$name);
                })+
                None
            }

            pub(crate) fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

keywords! {
    Not "NOT", And "AND", Or "OR", Between "BETWEEN", In "IN", True "TRUE", False "FALSE",
    Null "NULL", Is "IS", Contains "CONTAINS", StartsWith "STARTSWITH", EndsWith "ENDSWITH",
}

/// Longer ones first.
const SIGNS: [&str; 11] = ["<>", ">=", "<=", ">", "<", "=", "(", ")", ",", "+", "-"];

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word and where it begins.
    pub(crate) fn next(&mut self) -> Result<(Token<'a>, usize), CompileError> {
        self.skip();
        let (at, rest) = (self.at, &self.text[self.at..]);
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, at));
        };
        let (token, len) = match first {
            'a'..='z' | 'A'..='Z' | '_' | '$' => name(rest),
            '0'..='9' | '.' => number(rest).ok_or_else(|| self.error(first))?,
            '\'' => text(rest).ok_or_else(|| self.error(first))?,
            _ => sign(rest).ok_or_else(|| self.error(first))?,
        };
        self.at += len;
        Ok((token, at))
    }

    fn error(&self, found: char) -> CompileError {
        CompileError::Lexical {
            at: self.at,
            found: found.to_string(),
        }
    }

    /// Steps over white space and comments. A line comment that no line ends is none.
    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("--") {
                trimmed.find(['\n', '\r']).map(|end| end + 1)
            } else if let Some(inner) = trimmed.strip_prefix("/*") {
                inner.find("*/").map(|end| end + 4)
            } else {
                None
            };
            match comment {
                Some(len) => self.at += len,
                None => return,
            }
        }
    }
}

fn name(rest: &str) -> (Token<'_>, usize) {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    let len = rest.bytes().take_while(|byte| is_part(*byte)).count();
    let word = &rest[..len];
    (
        Keyword::of(word).map_or(Token::Name(word), Token::Word),
        len,
    )
}

/// `0`, `12`, `12L`, `1.5`, `.5`, `5.`, `1e3`. A zero in front stands alone.
fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(0);
    let mut floating = 0;
    if rest[whole..].starts_with('.') {
        let fraction = digits(whole + 1);
        if whole + fraction > 0 {
            floating = whole + 1 + fraction;
        }
    }
    let mantissa = floating.max(whole);
    if mantissa > 0 && rest[mantissa..].starts_with(['e', 'E']) {
        let signed = usize::from(rest[mantissa + 1..].starts_with(['+', '-']));
        let exponent = digits(mantissa + 1 + signed);
        if exponent > 0 {
            floating = mantissa + 1 + signed + exponent;
        }
    }
    let decimal = match rest.as_bytes()[0] {
        b'0' => 1,
        b'.' => 0,
        _ => whole + usize::from(rest[whole..].starts_with(['l', 'L'])),
    };
    match floating.max(decimal) {
        0 => None,
        len if floating > decimal => Some((Token::Floating(&rest[..len]), len)),
        len => Some((Token::Whole(&rest[..len]), len)),
    }
}

/// A quoted text; two quotes inside stand for one.
fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let mut from = 1;
    loop {
        let quote = from + rest[from..].find('\'')?;
        if rest[quote + 1..].starts_with('\'') {
            from = quote + 2;
        } else {
            return Some((Token::Text(&rest[..=quote]), quote + 1));
        }
    }
}

fn sign(rest: &str) -> Option<(Token<'_>, usize)> {
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
    Some((Token::Sign(sign), sign.len()))
}

impl Token<'_> {
    /// For an error's text.
    pub(crate) fn describe(self) -> String {
        match self {
            Token::End => "the end".to_owned(),
            Token::Word(keyword) => keyword.text().to_owned(),
            Token::Name(text) | Token::Whole(text) | Token::Floating(text) | Token::Text(text) => {
                format!("{:?}", clip(text))
            }
            Token::Sign(sign) => format!("{sign:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        while let Ok((token, _)) = lexer.next()
            && token != Token::End
        {
            tokens.push(token);
        }
        tokens
    }

    #[test]
    fn the_longest_word_wins() {
        assert_eq!(all("nota"), [Token::Name("nota")]);
        assert_eq!(all("Not"), [Token::Word(Keyword::Not)]);
        assert_eq!(
            all("007"),
            [Token::Whole("0"), Token::Whole("0"), Token::Whole("7")]
        );
        assert_eq!(all("0l"), [Token::Whole("0"), Token::Name("l")]);
        assert_eq!(all("00.5e"), [Token::Floating("00.5"), Token::Name("e")]);
        assert_eq!(
            all("12L 1e3 5. .5"),
            [
                Token::Whole("12L"),
                Token::Floating("1e3"),
                Token::Floating("5."),
                Token::Floating(".5")
            ]
        );
        assert_eq!(all("'a''b''"), []);
        assert_eq!(all("'a''b'"), [Token::Text("'a''b'")]);
    }

    #[test]
    fn comments_are_stepped_over_only_when_they_end() {
        assert_eq!(
            all("/* x */a-- y\n/***/b"),
            [Token::Name("a"), Token::Name("b")]
        );
        assert_eq!(
            all("--y"),
            [Token::Sign("-"), Token::Sign("-"), Token::Name("y")]
        );
        assert_eq!(all("a /* x"), [Token::Name("a")]);
    }
}
