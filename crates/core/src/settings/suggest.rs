//! What an unknown name was probably meant to be.

/// Says that a key of the file is not `what`, and which one of `known` may have been meant.
pub fn suggestion(key: &str, known: &[String], what: &str) -> String {
    let lower = key.to_lowercase();
    let longer = known.iter().find(|known| lower.len() >= 4 && known.contains(&lower));
    let nearest = known.iter().map(|known| (distance(&lower, known), known)).min();
    match (longer, nearest) {
        (_, Some((0, known))) => format!("is not {what}; keys are in lower case: {known}"),
        (_, Some((1 | 2, known))) | (Some(known), _) => {
            format!("is not {what}; did you mean {known}?")
        }
        (None, Some((far, known))) if far <= 3 => format!("is not {what}; did you mean {known}?"),
        _ => format!("is not {what}; docs/CONFIG.md lists them all"),
    }
}

/// The Levenshtein distance, by bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
