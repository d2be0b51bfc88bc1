//! Names of models, and patterns of such names.

/// One of `MODEL_ALIASES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// The name that a client writes. Each `*` stands for any text.
    pub from: String,
    /// The model that is meant.
    pub to: String,
}

impl ModelAlias {
    /// Orders aliases so that the first one that matches a name is the closest: names without a `*` come
    /// first, then the pattern with the most other characters.
    pub(super) fn sort(aliases: &mut [Self]) {
        let literals = |alias: &Self| alias.from.bytes().filter(|byte| *byte != b'*').count();
        aliases.sort_by_key(|alias| (alias.from.contains('*'), usize::MAX - literals(alias)));
    }

    /// The alias for a name, if there is one.
    pub fn find<'a>(aliases: &'a [Self], model: &str) -> Option<&'a Self> {
        aliases.iter().find(|alias| matches(&alias.from, model))
    }
}

/// Whether a model's name matches a pattern, in which each `*` stands for any text.
pub(super) fn matches(pattern: &str, model: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == model;
    };
    let Some(mut left) = model.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The leftmost place of each part leaves the most room for the parts after it.
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_with_the_most_letters_wins_and_a_whole_name_before_any_pattern() {
        let mut aliases: Vec<ModelAlias> = [
            ("claude-*", "pro"),
            ("*", "any"),
            ("claude-*haiku*", "flash"),
            ("claude-haiku-4", "exact"),
            ("*-mini", "lite"),
        ]
        .map(|(from, to)| ModelAlias { from: from.to_owned(), to: to.to_owned() })
        .into();
        ModelAlias::sort(&mut aliases);
        for (name, to) in [
            ("claude-haiku-4", "exact"),
            ("claude-haiku-4-5", "flash"),
            ("claude-3-5-haiku-latest", "flash"),
            ("claude-opus-5-5", "pro"),
            ("gpt-5-mini", "lite"),
            ("gpt-5", "any"),
        ] {
            let found = ModelAlias::find(&aliases, name).map(|alias| &*alias.to);
            assert_eq!(found, Some(to), "{name}");
        }
    }
}
