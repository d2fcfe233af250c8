//! Each recorded answer of the official library is ours too.

use filter::{EvaluateError, Filter};

const TABLE: &str = include_str!("golden/sql92.tsv");

type Properties = Vec<(String, String)>;

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next().expect("an escape has a second character") {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            other => other,
        });
    }
    out
}

fn messages() -> Vec<Properties> {
    let lines = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("message"));
    lines
        .map(|line| {
            let pairs = line.split('\t').filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), unescape(value)))
                .collect()
        })
        .collect()
}

/// What we answer, in the form of the table.
fn answers(text: &str, messages: &[Properties]) -> String {
    let filter = match Filter::compile(text) {
        Ok(filter) => filter,
        Err(error) => return format!("refused\t{error}"),
    };
    let letter = |properties: &Properties| {
        let pairs = properties
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        match filter.evaluate(pairs) {
            Ok(Some(true)) => 'T',
            Ok(Some(false)) => 'F',
            Ok(None) => 'N',
            Err(EvaluateError::NotANumber | EvaluateError::ConditionWithText) => 'X',
        }
    };
    messages.iter().map(letter).chain(['\t']).collect()
}

#[test]
fn every_recorded_answer_of_the_official_library_is_ours() {
    let messages = messages();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("expression\t"))
    {
        let (text, theirs) = line.split_once('\t').expect("an expression has an answer");
        let text = unescape(text);
        let ours = answers(&text, &messages);
        // A refusal without a sentence is JavaCC's own; one that names a class is the runtime's.
        let speaks = theirs != "refused\t" && !theirs.starts_with("refused\tjava.");
        let same = ours == theirs || !speaks && ours.starts_with("refused\t");
        count += 1;
        if !same {
            wrong.push(format!("{text:?}\n  theirs {theirs}\n  ours   {ours}"));
        }
    }
    assert!(count > 2_000 && messages.len() > 10, "the table is whole");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
