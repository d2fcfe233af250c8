//! Numbers as Java reads and orders them.
//!
//! Pure functions. Source: `Integer.valueOf`, `Long.valueOf`, `Double.valueOf` and
//! `Double.compareTo` of the Java class library. Digits other than ASCII and hexadecimal floating
//! point are not read: no known client writes them.

use std::cmp::Ordering;

/// `Integer.valueOf`: an optional sign and decimal digits, nothing else.
pub(crate) fn int(text: &str) -> Option<i32> {
    is_decimal(text).then(|| text.parse().ok())?
}

/// `Long.valueOf`.
pub(crate) fn long(text: &str) -> Option<i64> {
    is_decimal(text).then(|| text.parse().ok())?
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `Double.valueOf`: white space around it, a type suffix, `NaN` and `Infinity` are allowed.
pub(crate) fn double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let (negative, bare) = match text.as_bytes().first()? {
        b'+' => (false, &text[1..]),
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let value = match bare {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => {
            let bare = bare.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(bare);
            let starts_well = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.');
            starts_well.then(|| bare.parse().ok())??
        }
    };
    Some(if negative { -value } else { value })
}

/// `Double.compareTo`: NaN is above all and equal to itself, -0.0 is below 0.0.
pub(crate) fn order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.total_cmp(&b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_what_java_takes() {
        assert_eq!(int("-2147483648"), Some(i32::MIN));
        assert_eq!(int("+7"), Some(7));
        for text in ["", "+", "2147483648", " 7", "7 ", "7l", "1.0", "0x1", "--1"] {
            assert_eq!(int(text), None, "{text:?}");
        }
        assert_eq!(long("9223372036854775807"), Some(i64::MAX));
        assert_eq!(long("9223372036854775808"), None);
    }

    #[test]
    fn doubles_are_what_java_takes() {
        for (text, value) in [
            (" 1.5 ", 1.5),
            ("1d", 1.0),
            ("1.f", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("5.e1", 50.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(double(text), Some(value), "{text:?}");
        }
        assert!(double("-NaN").is_some_and(f64::is_nan));
        for text in [
            "", " ", "nan", "inf", "infinity", "1dd", ".", "d", "1 2", "+-1", "e5",
        ] {
            assert_eq!(double(text), None, "{text:?}");
        }
    }

    #[test]
    fn order_is_that_of_java() {
        assert_eq!(order(f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(order(-f64::NAN, f64::NAN), Ordering::Equal);
        assert_eq!(order(-0.0, 0.0), Ordering::Less);
    }
}
