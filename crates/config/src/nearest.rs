//! The known name that a mistyped one most likely means.
//!
//! Invariant: a name is offered only when it is close, so that nonsense gets no advice.

/// The candidate with the least edit distance to `name`, letters compared without case; `None`
/// when even that one differs in more than a third of the name.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().take(NAME_LEN_MAX).collect();
    let distance_max = (wanted.len() / 3).max(1);
    candidates
        .map(|candidate| (distance(&wanted, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Longer names are compared by their beginning.
const NAME_LEN_MAX: usize = 64;

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
fn distance(wanted: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=candidate.len()).collect();
    for (i, &a) in wanted.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in candidate.iter().enumerate() {
            let mut least = (row[j] + usize::from(a != b))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            if i > 0 && j > 0 && a == candidate[j - 1] && wanted[i - 1] == b {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_key_and_nonsense_finds_none() {
        let keys = [
            "listenPort",
            "haListenPort",
            "brokerName",
            "namesrvAddr",
            "flushDiskType",
        ];
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(nearest(name, keys.into_iter()), expected, "{name}");
        };
        check("lisenPort", Some("listenPort"));
        check("listenport", Some("listenPort"));
        check("listenProt", Some("listenPort"));
        check("nameSrvAddr", Some("namesrvAddr"));
        check("namesvrAddr", Some("namesrvAddr"));
        check("flushDisk", None);
        check("flushDiskTyp", Some("flushDiskType"));
        check("x", None);
        check("", None);
        check("somethingElseEntirely", None);
    }
}
