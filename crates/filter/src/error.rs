//! What can be wrong with an expression, and with asking it.
//!
//! Owned by whoever compiled. Invariant: a compile error's text is fit for the remark of an answer:
//! one line, bounded, naming the place.

/// Why a text is no filter. Where the official parser has a sentence, the sentence is the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The text is too long.
    #[error("expression of {len} bytes, at most {max} are taken")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// It is nested too deeply.
    #[error("expression is nested deeper than {max} levels at character {at}")]
    TooDeep {
        /// The limit.
        max: usize,
        /// Where, in bytes from 0.
        at: usize,
    },
    /// No word of the language begins here.
    #[error("lexical error at character {at}: {found:?}")]
    Lexical {
        /// Where, in bytes from 0.
        at: usize,
        /// What stands there.
        found: String,
    },
    /// A word that does not fit.
    #[error("encountered {found} at character {at}, expected {expected}")]
    Unexpected {
        /// Where, in bytes from 0.
        at: usize,
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A floating-point number above Java's largest.
    #[error("{text} is greater than 1.7976931348623157E308")]
    TooLarge {
        /// As it was written.
        text: String,
    },
    /// A floating-point number below Java's smallest, as zero is.
    #[error("{text} is less than 4.9E-324")]
    TooSmall {
        /// As it was written.
        text: String,
    },
    /// A whole number that does not fit 64 bits.
    #[error("number {text} is out of range")]
    Number {
        /// As it was written.
        text: String,
    },
    /// A value where a condition is needed.
    #[error("Expression will not result in a boolean value: {0}")]
    NotBoolean(String),
    /// An operand that has no order.
    #[error("Value '{0}' cannot be compared.")]
    NotOrdered(String),
    /// NULL as operand of `=` or `<>`.
    #[error("'{0}' cannot be compared.")]
    NotComparable(String),
    /// Two constants of different kinds.
    #[error("'{0}' cannot be compared with '{1}'")]
    KindsDiffer(String, String),
    /// IN after something that is no property.
    #[error("Expected a property for In expression, got: {0}")]
    InNeedsProperty(String),
    /// NULL as a bound of BETWEEN.
    #[error("Illegal values of between, values can not be null!")]
    BetweenNull,
    /// Bounds of BETWEEN that contain nothing.
    #[error(
        "Illegal values of between, left value({low}) must less than or equal to right value({high})"
    )]
    BetweenEmpty {
        /// The first bound.
        low: String,
        /// The second.
        high: String,
    },
    /// Bounds of BETWEEN of different kinds.
    #[error("Illegal values of between: {0}")]
    BetweenKinds(EvaluateError),
}

/// Why an expression has no answer for a message. Such a message does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A property that is compared with a number is none.
    #[error("a value is not a number of the type it is compared with")]
    NotANumber,
    /// A condition is compared with a text.
    #[error("a condition cannot be compared with a text")]
    ConditionWithText,
}

/// The first characters of a text, so that an error stays short.
pub(crate) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
