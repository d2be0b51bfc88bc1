//! The choice of the upstreams in use (`UPSTREAMS`).

use super::AUTO;
use super::draft::Draft;
use super::provider::ProviderName;
use crate::settings::error::SettingError;
use crate::settings::read::SettingsReader;
use crate::settings::{Machine, Source, parse};

/// Which upstreams are used.
pub(super) struct Choice {
    /// Indices of drafts, in order of preference.
    pub(super) order: Vec<usize>,
    /// The operator left the choice to the proxy.
    pub(super) is_auto: bool,
    /// There was nothing to choose from.
    pub(super) none_configured: bool,
}

impl SettingsReader<'_> {
    /// Chooses among `drafts`. `broken` are names of tables that have problems of their own.
    pub(super) fn choose(
        &mut self,
        drafts: &[Draft],
        broken: &[String],
        machine: &Machine<'_>,
    ) -> Choice {
        let listed = self.text("UPSTREAMS", |text| {
            let names: Vec<&str> = parse::list(text).collect();
            if names.is_empty() || matches!(names[..], [only] if only.eq_ignore_ascii_case(AUTO)) {
                return Ok(None);
            }
            indices(&names, drafts, broken).map(Some)
        });
        match listed {
            Some(Some(order)) => Choice { order, is_auto: false, none_configured: false },
            Some(None) => automatic(drafts, broken, machine),
            // A bad value is already reported.
            None => Choice { order: Vec::new(), is_auto: false, none_configured: false },
        }
    }
}

fn indices(
    names: &[&str],
    drafts: &[Draft],
    broken: &[String],
) -> Result<Vec<usize>, SettingError> {
    let mut order = Vec::new();
    let mut unknown = Vec::new();
    for (position, name) in names.iter().enumerate() {
        if *name == AUTO {
            return Err("has `auto` and something else".into());
        }
        if names[..position].contains(name) {
            return Err(format!("has {name} twice").into());
        }
        match drafts.iter().position(|draft| *draft.name == **name) {
            Some(index) => order.push(index),
            None if broken.iter().any(|table| table == name) => {}
            None => unknown.push(*name),
        }
    }
    if unknown.is_empty() {
        return Ok(order);
    }
    let known: Vec<&str> = drafts.iter().map(|draft| &*draft.name).collect();
    let wrong = format!("names {}; there are {}", unknown.join(", "), known.join(", "));
    Err(wrong.into())
}

/// The tables, or else the first provider that has a credential, or else Code Assist.
fn automatic(drafts: &[Draft], broken: &[String], machine: &Machine<'_>) -> Choice {
    let tables: Vec<usize> = (0..drafts.len()).filter(|i| drafts[*i].table.is_some()).collect();
    if !tables.is_empty() || !broken.is_empty() {
        return Choice { order: tables, is_auto: true, none_configured: false };
    }
    let first = drafts.iter().position(|draft| draft.is_configured(machine));
    Choice { order: vec![first.unwrap_or(0)], is_auto: true, none_configured: first.is_none() }
}

impl Draft {
    /// Whether the operator meant this upstream to be there. A variable that Google's own libraries
    /// read says little: another program may need it.
    pub(super) fn is_configured(&self, machine: &Machine<'_>) -> bool {
        let is_set = |given: &Option<super::draft::Given>| {
            given.as_ref().is_some_and(|it| it.found.source != Source::Default)
        };
        let is_meant = |given: &Option<super::draft::Given>| {
            is_set(given) && given.as_ref().is_some_and(|it| it.found.name == it.spec.name)
        };
        match self.provider {
            _ if self.table.is_some() => true,
            ProviderName::CodeAssist => {
                let exists = |path: &str| machine.has_path.is_some_and(|it| it(path));
                is_set(&self.access_token)
                    || is_set(&self.json)
                    || self.credentials.as_ref().is_some_and(|file| {
                        // A path that is set may lead to a file that is only on its way.
                        let is_set = file.found.source != Source::Default;
                        machine.has_path.is_some() && (is_set || exists(&file.found.value))
                    })
            }
            ProviderName::GeminiApi => is_set(&self.api_key),
            ProviderName::Vertex => {
                is_set(&self.project)
                    || is_set(&self.api_key)
                    || is_meant(&self.location)
                    || is_meant(&self.credentials)
            }
        }
    }
}
