//! Label values that are learned from requests, up to a bound.
//!
//! A slot that is filled never changes, so that a search from the first slot needs no lock.

use std::sync::OnceLock;

use crate::provider::code_assist::models;

/// Holds at most `N` names, each with an index: first known ones, then learned ones. Two further
/// indices stand for all other names and for no name.
#[derive(Debug)]
pub(super) struct BoundedNames<const N: usize> {
    slots: [OnceLock<Box<str>>; N],
}

impl<const N: usize> Default for BoundedNames<N> {
    fn default() -> Self {
        Self { slots: [const { OnceLock::new() }; N] }
    }
}

impl<const N: usize> BoundedNames<N> {
    const OTHER: usize = N;
    const NONE: usize = N + 1;

    /// Returns the index of `name`. With `learn`, a new name is added while there is a free slot.
    pub(super) fn index(&self, name: &str, learn: bool) -> usize {
        if name.is_empty() {
            return Self::NONE;
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let known = match slot.get() {
                Some(known) => known,
                // Another thread may fill the slot first, with another name.
                None if learn && name.len() <= LONGEST_NAME => slot.get_or_init(|| name.into()),
                None => return Self::OTHER,
            };
            if **known == *name {
                return index;
            }
        }
        Self::OTHER
    }

    /// The label of an index.
    pub(super) fn label(&self, index: usize) -> Option<&str> {
        match index {
            _ if index == Self::OTHER => Some("other"),
            _ if index == Self::NONE => Some("none"),
            _ => self.slots.get(index)?.get().map(|name| &**name),
        }
    }

    /// Returns every index that has a label, with the label.
    pub(super) fn labels(&self) -> impl Iterator<Item = (usize, &str)> {
        (0..N + 2).filter_map(|index| Some((index, self.label(index)?)))
    }
}

impl BoundedNames<MODELS> {
    /// Holds the models of the built-in table. Clients can send any name, so another name should be
    /// learned only when upstream has answered a request for it with success.
    pub(super) fn of_models() -> Self {
        let names = Self::default();
        for model in models::catalogue(std::iter::empty()).iter().take(MODELS - MODELS / 4) {
            names.index(&model.id, true);
        }
        names
    }
}

/// Holds reasons of errors, each with an index. They are constants of the program and therefore
/// bounded.
#[derive(Debug)]
pub(super) struct BoundedLabels {
    slots: [OnceLock<&'static str>; LABELS],
}

impl Default for BoundedLabels {
    fn default() -> Self {
        Self { slots: [const { OnceLock::new() }; LABELS] }
    }
}

impl BoundedLabels {
    /// Holds these labels from the start. A counter that begins at its first event hides that event from
    /// `increase()`.
    pub(super) fn with(labels: &[&'static str]) -> Self {
        let bounded = Self::default();
        for label in labels {
            bounded.index(label);
        }
        bounded
    }

    /// Returns the index of `label`, which is added if it is new.
    pub(super) fn index(&self, label: &'static str) -> usize {
        let same = |slot: &OnceLock<&'static str>| *slot.get_or_init(|| label) == label;
        self.slots.iter().position(same).unwrap_or(LABELS - 1)
    }

    /// The label of an index.
    pub(super) fn label(&self, index: usize) -> Option<&'static str> {
        self.slots.get(index)?.get().copied()
    }
}

/// The number of models with a label of their own.
pub(super) const MODELS: usize = 32;
/// The number of keys of `PROXY_API_KEYS` with a label of their own.
pub(super) const CLIENTS: usize = 64;
/// The greatest number of [`BoundedLabels`]: the reasons of errors, and upstream's errors by status.
pub(super) const LABELS: usize = 64;

const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_that_are_not_learned_share_the_label_other() {
        let models = BoundedNames::of_models();
        for n in 0..1000 {
            assert_eq!(models.label(models.index(&format!("made-up-{n}"), false)), Some("other"));
        }
    }

    #[test]
    fn learned_names_are_bounded() {
        let models = BoundedNames::of_models();
        let labels: BTreeSet<usize> =
            (0..1000).map(|n| models.index(&format!("served-{n}"), true)).collect();
        assert!(labels.len() <= MODELS + 1, "{}", labels.len());
        assert_eq!(models.label(models.index("served-0", false)), Some("served-0"));
        assert_eq!(models.label(models.index("served-999", true)), Some("other"));
        assert_eq!(models.label(models.index(&"x".repeat(65), true)), Some("other"));
    }

    #[test]
    fn built_in_models_have_labels_from_the_start() {
        let models = BoundedNames::of_models();
        let flash = models.index("gemini-2.5-flash", false);
        assert_eq!(models.label(flash), Some("gemini-2.5-flash"));
        assert_eq!(models.label(models.index("", true)), Some("none"));
    }

    #[test]
    fn a_label_keeps_its_index() {
        let words = BoundedLabels::default();
        let (a, b) = (words.index("circuit_open"), words.index("not_found"));
        assert_ne!(a, b);
        assert_eq!(words.index("circuit_open"), a);
        assert_eq!(words.label(b), Some("not_found"));
        assert_eq!(words.label(LABELS - 1), None);
    }
}
