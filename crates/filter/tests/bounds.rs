//! Bad input: any text is compiled or refused with a short sentence, within bounds.

use filter::{CompileError, DEPTH_MAX, Filter, LEN_MAX};
use proptest::prelude::*;

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn nesting_is_limited_wherever_it_can_grow() {
    for (open, inner, close) in [
        ("(", "a = 1", ")"),
        ("NOT ", "TRUE", ""),
        ("-", "a = 1", ""),
        ("+", "a = 1", ""),
        ("(NOT (", "a", "))"),
        ("a = (", "TRUE", ")"),
        ("a IS NULL AND (", "TRUE", ")"),
        ("a BETWEEN 1 AND -(", "1", ")"),
    ] {
        let deep = nested(open, inner, close, DEPTH_MAX + 1);
        let refused = Filter::compile(&deep);
        assert!(
            matches!(refused, Err(CompileError::TooDeep { .. })),
            "{open}: {refused:?}"
        );
        let flat = nested(open, inner, close, DEPTH_MAX / 4);
        assert!(Filter::compile(&flat).is_ok(), "{open}");
    }
    let row = format!("a{}", " IS NULL".repeat(3_000));
    assert!(matches!(
        Filter::compile(&row),
        Err(CompileError::TooDeep { .. })
    ));
    let row = format!("a{}", " = b".repeat(3_000));
    assert!(matches!(
        Filter::compile(&row),
        Err(CompileError::TooDeep { .. })
    ));
}

#[test]
fn a_hundred_thousand_parentheses_are_refused_by_their_length() {
    let text = nested("(", "a", ")", 100_000);
    let len = text.len();
    assert_eq!(
        Filter::compile(&text),
        Err(CompileError::TooLong { len, max: LEN_MAX })
    );
}

#[test]
fn thousands_of_conditions_in_a_row_are_one_level() {
    let text = (0..1_000)
        .map(|n| format!("p{n} = {n}"))
        .collect::<Vec<_>>()
        .join(" OR ");
    let filter = Filter::compile(&text).unwrap();
    assert_eq!(filter.names().count(), 1_000);
    assert!(filter.matches([("p7", "8"), ("p999", "999")].into_iter()));
    assert!(!filter.matches([("p7", "8"), ("p999", "998")].into_iter()));
}

#[test]
fn of_a_property_that_is_given_twice_the_last_counts() {
    let filter = Filter::compile("a = 2").unwrap();
    assert!(filter.matches([("a", "1"), ("a", "2")].into_iter()));
    assert!(!filter.matches([("a", "2"), ("a", "1")].into_iter()));
}

#[test]
fn a_refusal_is_one_short_line() {
    let long = "x".repeat(20_000);
    for text in [
        format!("'{long}' = "),
        format!("'{long}' > 1"),
        format!("a {long} IN"),
        long,
    ] {
        if let Err(error) = Filter::compile(&text) {
            let sentence = error.to_string();
            assert!(
                sentence.len() < 400 && !sentence.contains('\n'),
                "{sentence}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in "[ -~\u{80}-\u{2000}]{0,200}") {
        let _ = Filter::compile(&text).map(|filter| filter.matches(std::iter::empty()));
    }

    #[test]
    fn any_row_of_words_is_compiled_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b", "1", "2.5", "'x'", "(", ")", ",", "=", "<>", "<", ">=", "+", "-", "NOT", "AND",
                "OR", "IN", "BETWEEN", "IS", "NULL", "TRUE", "CONTAINS", "ENDSWITH", "--", "\n", "/*", "*/",
            ]),
            0..40,
        ),
        value in "[ -~]{0,12}",
    ) {
        let text = words.join(" ");
        if let Ok(filter) = Filter::compile(&text) {
            let properties = [("a", value.as_str()), ("b", "2")];
            let matches = filter.matches(properties.into_iter());
            prop_assert_eq!(matches, filter.evaluate(properties.into_iter()) == Ok(Some(true)));
        }
    }
}
