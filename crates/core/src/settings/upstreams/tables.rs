//! The `[[upstream]]` tables of the TOML file.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::draft::{Draft, Given};
use super::provider::{ProviderName, TableKey};
use super::{ModelPattern, parse};
use crate::settings::read::{FoundValue, SettingsReader, spec_of};
use crate::settings::{Machine, ModelAlias, Source};

/// One `[[upstream]]` table as it is in the file. A shell reads `api_key_file` into `api_key`.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTable {
    /// `name`.
    pub name: String,
    /// `provider`.
    pub provider: String,
    /// `endpoint`: one URL, or several of Code Assist, separated by commas.
    pub endpoint: Option<String>,
    /// `api_key`, or the content of `api_key_file`.
    pub api_key: Option<SecretString>,
    /// `credentials`: JSON, or a path.
    pub credentials: Option<SecretString>,
    /// `project`.
    pub project: Option<String>,
    /// `location`.
    pub location: Option<String>,
    /// `api_version`.
    pub api_version: Option<String>,
    /// `models`.
    pub models: Vec<String>,
    /// `model_map`, in the order of the file.
    pub model_map: Vec<(String, String)>,
}

impl UpstreamTable {
    /// Every key that may be in a table.
    pub const KEYS: [&'static str; 11] = [
        "name",
        "provider",
        "endpoint",
        "api_key",
        "api_key_file",
        "credentials",
        "project",
        "location",
        "api_version",
        "models",
        "model_map",
    ];

    /// The keys that are set, with values that may be printed, each on one line.
    pub fn listing(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("provider", self.provider.clone())];
        for key in TableKey::ALL {
            let secret = matches!(key, TableKey::ApiKey | TableKey::Credentials);
            let value = self.value(key).map(|value| {
                let spec = spec_of(if secret { "GEMINI_API_KEY" } else { "CODE_ASSIST_ENDPOINT" });
                spec.redacted(value)
            });
            lines.extend(value.map(|value| (key.word(), value)));
        }
        if !self.models.is_empty() {
            lines.push(("models", self.models.join(",")));
        }
        if !self.model_map.is_empty() {
            let pairs = self.model_map.iter().map(|(from, to)| format!("{from}={to}"));
            lines.push(("model_map", pairs.collect::<Vec<_>>().join(",")));
        }
        lines
    }

    fn value(&self, key: TableKey) -> Option<&str> {
        let value = match key {
            TableKey::Endpoint => self.endpoint.as_deref(),
            TableKey::ApiKey => self.api_key.as_ref().map(ExposeSecret::expose_secret),
            TableKey::Credentials => self.credentials.as_ref().map(ExposeSecret::expose_secret),
            TableKey::Project => self.project.as_deref(),
            TableKey::Location => self.location.as_deref(),
            TableKey::ApiVersion => self.api_version.as_deref(),
        };
        value.map(str::trim).filter(|value| !value.is_empty())
    }
}

impl SettingsReader<'_> {
    /// The upstreams of the tables, and the names of those that have problems.
    pub(super) fn table_drafts(
        &mut self,
        machine: &Machine<'_>,
        is_for_vertex: bool,
    ) -> (Vec<Draft>, Vec<String>) {
        let (mut drafts, mut broken) = (Vec::<Draft>::new(), Vec::new());
        for (table, number) in machine.upstream_tables.iter().zip(1..) {
            let problems = self.problems.len();
            let place = self.place(table, number);
            if drafts.iter().any(|draft| *draft.name == *table.name) {
                self.complain(&place, "is there twice; each table needs a name of its own");
            }
            let provider = self.provider_of(table, &place);
            let draft = provider.map(|it| self.table_draft(table, place, it, is_for_vertex));
            match draft.filter(|_| self.problems.len() == problems) {
                Some(draft) => drafts.push(draft),
                None => broken.push(table.name.clone()),
            }
        }
        (drafts, broken)
    }

    /// Checks the name of a table, and returns the words that stand for the table in problems.
    fn place(&mut self, table: &UpstreamTable, number: usize) -> String {
        let file = self.origin(Source::File);
        let unnamed = format!("[[upstream]] {number} in {file}");
        match parse::check_name(&table.name) {
            Ok(()) => return format!("upstream {} in {file}", table.name),
            Err(_) if table.name.is_empty() => self.complain(&unnamed, "has no name"),
            Err(wrong) => {
                self.complain(&format!("name of {unnamed}"), format!("{:?} {wrong}", table.name));
            }
        }
        unnamed
    }

    fn provider_of(&mut self, table: &UpstreamTable, place: &str) -> Option<ProviderName> {
        let Some(provider) = ProviderName::of_word(&table.provider) else {
            let wrong = if table.provider.is_empty() { "has no" } else { "has an unknown" };
            let words = ProviderName::ALL.map(ProviderName::word).join(", ");
            self.complain(place, format!("{wrong} provider; wanted: one of {words}"));
            return None;
        };
        if ProviderName::of_word(&table.name).is_some_and(|namesake| namesake != provider) {
            let own = provider.word();
            let text =
                format!("has the name of a provider, and its own is {own}; choose another name");
            self.complain(place, text);
        }
        Some(provider)
    }

    fn table_draft(
        &mut self,
        table: &UpstreamTable,
        place: String,
        provider: ProviderName,
        is_for_vertex: bool,
    ) -> Draft {
        let is_namesake = table.name == provider.word();
        // The namesake of a provider takes what it leaves out from the short settings, so that secrets
        // can stay in the environment.
        let mut draft = match is_namesake {
            true => self.short_draft(provider, is_for_vertex),
            false => without_account(provider),
        };
        draft.name = Arc::from(&*table.name);
        for key in TableKey::ALL {
            if let Some(value) = table.value(key) {
                self.put(&mut draft, &place, key, value);
            }
        }
        if provider == ProviderName::CodeAssist && !is_namesake && draft.credentials.is_none() {
            self.complain(
                &place,
                "has no credentials: the path of an oauth_creds.json, or its JSON",
            );
        }
        draft.models = self.patterns(table, &place);
        draft.model_map = self.model_map(table, &place);
        draft.table = Some(place);
        draft
    }

    /// Puts the value of a key into a draft, which may have one from a short setting.
    fn put(&mut self, draft: &mut Draft, place: &str, key: TableKey, value: &str) {
        let label = format!("{} of {place}", key.word());
        let Some(name) = draft.provider.setting(key) else {
            let text = format!("is nothing that the provider {} has", draft.provider.word());
            return self.complain(&label, text);
        };
        let found = FoundValue { name: key.word(), value: value.to_owned(), source: Source::File };
        let given = Given { spec: spec_of(name), found, label: Some(label) };
        let other_credentials = match key {
            TableKey::Credentials => [draft.access_token.take(), draft.json.take()],
            _ => [None, None],
        };
        let slot = match key {
            TableKey::Endpoint => &mut draft.endpoint,
            TableKey::ApiKey => &mut draft.api_key,
            TableKey::Credentials => &mut draft.credentials,
            TableKey::Project => &mut draft.project,
            TableKey::Location => &mut draft.location,
            TableKey::ApiVersion => &mut draft.api_version,
        };
        let short = [slot.take()].into_iter().chain(other_credentials).flatten();
        for short in short.filter(|it| it.found.source != Source::Default) {
            if short.found.value != given.found.value {
                let text = format!(
                    "{} (from {}) says something else; unset it, or give the table another name",
                    short.found.name,
                    self.origin(short.found.source)
                );
                self.complain(given.label(), text);
            }
        }
        *slot = Some(given);
    }

    fn patterns(&mut self, table: &UpstreamTable, place: &str) -> Vec<ModelPattern> {
        let patterns: Option<Vec<_>> =
            table.models.iter().map(|text| ModelPattern::new(text)).collect();
        patterns.unwrap_or_else(|| {
            let text = "has an entry that is no model name (`*` stands for any text)";
            self.complain(&format!("models of {place}"), text);
            Vec::new()
        })
    }

    fn model_map(&mut self, table: &UpstreamTable, place: &str) -> Vec<ModelAlias> {
        let mut aliases: Vec<ModelAlias> = Vec::new();
        for (from, to) in &table.model_map {
            let wrong = match (parse::model_name(from), parse::model_name(to)) {
                (Some(from), _) if aliases.iter().any(|known| known.from == from) => {
                    "maps the same name twice"
                }
                (Some(from), Some(to)) => {
                    aliases.push(ModelAlias { from: from.into(), to: to.into() });
                    continue;
                }
                _ => "has an entry that is not two model names",
            };
            self.complain(&format!("model_map of {place}"), wrong);
        }
        aliases
    }
}

/// A draft with those defaults that say nothing of an account.
fn without_account(provider: ProviderName) -> Draft {
    let mut draft = Draft::empty(provider);
    let default = |key: TableKey| {
        let spec = spec_of(provider.setting(key)?);
        let value = Some(spec.default).filter(|text| !text.is_empty())?.to_owned();
        let found = FoundValue { name: spec.name, value, source: Source::Default };
        Some(Given { spec, found, label: None })
    };
    draft.endpoint = default(TableKey::Endpoint);
    draft.location = default(TableKey::Location);
    draft.api_version = default(TableKey::ApiVersion);
    draft
}
