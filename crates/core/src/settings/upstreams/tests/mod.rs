//! Which upstreams there are, and which settings of them are refused.

mod accounts;
mod choice;
mod failover;
mod tables;

use super::*;
use crate::settings::{Layer, Machine, Problem, Settings, Source, Warning};

pub(super) fn table(name: &str, provider: &str) -> UpstreamTable {
    UpstreamTable { name: name.into(), provider: provider.into(), ..UpstreamTable::default() }
}

pub(super) fn names(settings: &Settings) -> Vec<&str> {
    settings.upstreams.iter().map(|upstream| &*upstream.name).collect()
}

pub(super) fn vertex(settings: &Settings) -> &VertexSettings {
    let found = settings.upstreams.iter().find_map(|upstream| match &upstream.account {
        AccountSettings::Vertex(account) => Some(account),
        _ => None,
    });
    found.unwrap()
}

pub(super) fn good(set: &[(&str, &str)]) -> Settings {
    good_with(set, &[])
}

pub(super) fn good_with(set: &[(&str, &str)], tables: &[UpstreamTable]) -> Settings {
    read(set, tables).unwrap_or_else(|problems| panic!("{set:?}: {problems:?}")).0
}

/// The text of the only problem, which must have this name.
pub(super) fn problem(set: &[(&str, &str)], name: &str) -> String {
    let problems = read(set, &[]).expect_err(&format!("{set:?}"));
    assert_eq!((problems.len(), &*problems[0].name), (1, name), "{problems:?}");
    problems[0].text.clone()
}

pub(super) type Read = Result<(Settings, Vec<Warning>), Vec<Problem>>;

pub(super) fn read(set: &[(&str, &str)], tables: &[UpstreamTable]) -> Read {
    read_on(set, &Machine { upstream_tables: tables, ..Machine::default() })
}

pub(super) fn read_on(set: &[(&str, &str)], machine: &Machine<'_>) -> Read {
    let lookup = |name: &str| {
        // A store in memory: the tests are not about it.
        let set = [&[("KV_URL", "memory:")], set].concat();
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Settings::read_on(&[Layer { source: Source::Env, lookup: &lookup }], machine)
}
