//! Values while an expression is evaluated, and how they compare. NULL is `None` around them.
//!
//! Borrowed from the expression and the message. Invariant: an ordering of two kinds that have
//! none is "less", as in Java, so that `<` holds and `=` does not. Source: Java
//! `ComparisonExpression.__compare`.

use crate::error::EvaluateError;
use crate::number;
use std::cmp::Ordering;

/// A value of one of the types that expressions know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A condition.
    Bool(bool),
    /// A whole number that fits 32 bits.
    Int(i32),
    /// Any other whole number.
    Long(i64),
    /// A floating-point number.
    Double(f64),
    /// A text, as every property is.
    Text(&'a str),
}

impl Value<'_> {
    /// How this compares with another. A text is read as the other's type.
    ///
    /// # Errors
    /// A text that is compared with a number is not such a number; a condition on the left is
    /// compared with a text.
    pub(crate) fn compare(self, other: Self) -> Result<Ordering, EvaluateError> {
        use Value::{Bool, Double, Int, Long, Text};
        Ok(match (self, other) {
            (Bool(a), Bool(b)) => a.cmp(&b),
            (Bool(_), Text(_)) => return Err(EvaluateError::ConditionWithText),
            (Text(a), Bool(b)) => a.eq_ignore_ascii_case("true").cmp(&b),
            (Bool(_), _) | (_, Bool(_)) => Ordering::Less,
            (Int(a), Int(b)) => a.cmp(&b),
            (Int(a), Long(b)) => i64::from(a).cmp(&b),
            (Long(a), Int(b)) => a.cmp(&i64::from(b)),
            (Long(a), Long(b)) => a.cmp(&b),
            (Int(a), Double(b)) => number::order(f64::from(a), b),
            (Double(a), Int(b)) => number::order(a, f64::from(b)),
            (Long(a), Double(b)) => number::order(a as f64, b),
            (Double(a), Long(b)) => number::order(a, b as f64),
            (Double(a), Double(b)) => number::order(a, b),
            (Int(a), Text(b)) => a.cmp(&some(number::int(b))?),
            (Text(a), Int(b)) => some(number::int(a))?.cmp(&b),
            (Long(a), Text(b)) => a.cmp(&some(number::long(b))?),
            (Text(a), Long(b)) => some(number::long(a))?.cmp(&b),
            (Double(a), Text(b)) => number::order(a, some(number::double(b))?),
            (Text(a), Double(b)) => number::order(some(number::double(a))?, b),
            (Text(a), Text(b)) => a.encode_utf16().cmp(b.encode_utf16()),
        })
    }

    /// How this compares with another under `<`, `<=`, `>` and `>=`: two texts are read as numbers.
    ///
    /// # Errors
    /// As [`Self::compare`]; two texts that are not both numbers.
    pub(crate) fn compare_ordered(self, other: Self) -> Result<Ordering, EvaluateError> {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => {
                let (a, b) = (some(number::double(a))?, some(number::double(b))?);
                Ok(number::order(a, b))
            }
            _ => self.compare(other),
        }
    }

    /// The value below zero by as much as this is above; NULL for what is no number.
    pub(crate) fn negate(self) -> Option<Self> {
        match self {
            Value::Int(value) => Some(Value::Int(value.wrapping_neg())),
            Value::Long(value) => Some(Value::Long(value.wrapping_neg())),
            Value::Double(value) => Some(Value::Double(-value)),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }
}

fn some<T>(number: Option<T>) -> Result<T, EvaluateError> {
    number.ok_or(EvaluateError::NotANumber)
}
