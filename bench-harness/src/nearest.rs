//! The names that a mistyped one may have meant.
//!
//! By edit distance, without regard to case. Invariant: at most three are told, nearest first.

const TOLD: usize = 3;

/// `did you mean A or B?`, or what there is when nothing is near.
pub(crate) fn hint<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wanted = wanted.to_lowercase();
    let mut by_distance: Vec<(usize, &str)> = names
        .map(|name| (distance_to_part(&wanted, &name.to_lowercase()), name))
        .collect();
    by_distance.sort_unstable();
    let near: Vec<_> = by_distance
        .iter()
        .filter(|(distance, _)| *distance <= wanted.chars().count().div_ceil(2))
        .take(TOLD)
        .map(|(_, name)| *name)
        .collect();
    if near.is_empty() {
        let all: Vec<_> = by_distance.iter().map(|(_, name)| *name).collect();
        return format!("there are {}", all.join(", "));
    }
    format!("did you mean {}?", near.join(" or "))
}

/// A name may be shortened: the distance to its nearest beginning counts.
fn distance_to_part(wanted: &str, name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (i, left) in wanted.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in name.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.into_iter().min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_answered_with_the_nearest_names() {
        let names = [
            "P1-tput-128-async",
            "P2-tput-1k-async",
            "L1-lat-1k-async-e2e",
        ];
        assert_eq!(
            hint("p1-tputt", names.into_iter()),
            "did you mean P1-tput-128-async or P2-tput-1k-async?"
        );
        assert_eq!(
            hint("zzzzzz", ["abc", "def"].into_iter()),
            "there are abc, def"
        );
    }
}
