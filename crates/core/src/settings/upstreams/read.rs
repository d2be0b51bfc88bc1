//! The reading of upstreams from the short settings and from tables.

use serde_json::Value;

use super::draft::{Draft, Surroundings};
use super::failover::FailoverSignatures;
use super::provider::ProviderName;
use super::{AccountSettings, Failover, FailoverModel, UnusedUpstream, UpstreamSettings, parse};
use crate::settings::read::{SettingsReader, spec_of};
use crate::settings::{Machine, Problem, SETTINGS};

/// What the settings say of upstreams.
pub(in crate::settings) struct Upstreams {
    pub(in crate::settings) in_use: Vec<UpstreamSettings>,
    pub(in crate::settings) unused: Vec<UnusedUpstream>,
    pub(in crate::settings) none_configured: bool,
    pub(in crate::settings) adc_file: Option<String>,
    pub(in crate::settings) metadata_host: Option<String>,
}

impl Upstreams {
    /// One upstream for each provider that an emulator plays, those that the operator has `listed` first.
    fn emulated(listed: &[ProviderName], played: &[&'static str]) -> Self {
        let mut providers: Vec<ProviderName> = Vec::new();
        for provider in listed.iter().copied().chain(ProviderName::ALL) {
            if played.contains(&provider.word()) && !providers.contains(&provider) {
                providers.push(provider);
            }
        }
        let in_use = providers.into_iter().map(|provider| UpstreamSettings {
            name: provider.word().into(),
            account: provider.emulated_account(),
            endpoints: vec![EMULATOR.to_owned()],
            models: Vec::new(),
            model_map: Vec::new(),
        });
        Self {
            in_use: in_use.collect(),
            unused: Vec::new(),
            none_configured: false,
            adc_file: None,
            metadata_host: None,
        }
    }
}

impl SettingsReader<'_> {
    /// The upstreams in use, and those that could be.
    pub(in crate::settings) fn upstreams(
        &mut self,
        machine: &Machine<'_>,
        allow_insecure: bool,
    ) -> Upstreams {
        let is_for_vertex = self.switch("GOOGLE_GENAI_USE_VERTEXAI");
        let (mut drafts, broken) = self.table_drafts(machine, is_for_vertex);
        for provider in ProviderName::ALL {
            let has_name = |name: &str| name == provider.word();
            if !drafts.iter().any(|draft| has_name(&draft.name))
                && !broken.iter().any(|name| has_name(name))
            {
                drafts.push(self.short_draft(provider, is_for_vertex));
            }
        }
        let choice = self.choose(&drafts, &broken, machine);
        if let Some(played) = machine.emulated {
            let listed: Vec<ProviderName> = match choice.is_auto {
                true => Vec::new(),
                false => choice.order.iter().map(|index| drafts[*index].provider).collect(),
            };
            return Upstreams::emulated(&listed, played);
        }
        let around = Surroundings {
            has_files: machine.has_path.is_some(),
            allow_insecure,
            quota_project: self.text("GOOGLE_CLOUD_QUOTA_PROJECT", parse::project),
        };
        let in_use: Vec<UpstreamSettings> = choice
            .order
            .iter()
            .filter_map(|index| self.checked(&drafts[*index], &around, true))
            .collect();
        let mut unused = Vec::new();
        for (index, draft) in drafts.iter().enumerate() {
            if choice.order.contains(&index) {
                continue;
            }
            let is_sound = self.checked_unused(draft, &around);
            if choice.is_auto && is_sound && draft.is_configured(machine) {
                let names = in_use.iter().map(|it| &*it.name).chain([&*draft.name]);
                let hint = format!("UPSTREAMS={}", names.collect::<Vec<_>>().join(","));
                unused.push(UnusedUpstream { name: draft.name.clone(), hint });
            }
        }
        let metadata_host = self.metadata_host();
        Upstreams {
            in_use,
            unused,
            none_configured: choice.none_configured,
            adc_file: self.adc_file().filter(|_| around.has_files),
            metadata_host: metadata_host.filter(|_| around.has_files),
        }
    }

    /// Checks an upstream that is not used. An alias is a variable that other programs have too, so a
    /// bad value in one is no problem here.
    fn checked_unused(&mut self, draft: &Draft, around: &Surroundings) -> bool {
        let (problems, warnings) = (self.problems.len(), self.warnings.len());
        self.checked(draft, around, false);
        self.warnings.truncate(warnings);
        let found = self.problems.split_off(problems);
        let is_sound = found.is_empty();
        let of_others = |problem: &Problem| {
            SETTINGS.iter().any(|spec| spec.aliases.contains(&problem.name.as_str()))
        };
        self.problems.extend(found.into_iter().filter(|problem| !of_others(problem)));
        is_sound
    }

    /// gcloud's file with the application default credentials (`docs/reference/upstreams.md` 2.1).
    fn adc_file(&self) -> Option<String> {
        let folder = self.env("CLOUDSDK_CONFIG").or_else(|| match cfg!(windows) {
            true => self.env("APPDATA").map(|root| format!("{root}\\gcloud")),
            false => self.home.as_ref().map(|home| format!("{home}/.config/gcloud")),
        })?;
        let between = if cfg!(windows) { '\\' } else { '/' };
        Some(format!("{folder}{between}application_default_credentials.json"))
    }

    fn metadata_host(&mut self) -> Option<String> {
        let never = self.switch("NO_GCE_CHECK");
        let host = self.text("GCE_METADATA_HOST", parse::metadata_host);
        host.filter(|_| !never)
    }

    pub(in crate::settings) fn failover(&mut self, in_use: &[UpstreamSettings]) -> Failover {
        let failover = self.text("FAILOVER", parse::failover).unwrap_or_default();
        if let ([only], false) = (in_use, failover.is_off()) {
            let text = format!("has no effect with one upstream, and only {} is in use", only.name);
            self.warn("FAILOVER", text);
        }
        failover
    }

    pub(in crate::settings) fn failover_models(
        &mut self,
        in_use: &[UpstreamSettings],
    ) -> Vec<FailoverModel> {
        let models = self.text("FAILOVER_MODELS", parse::failover_models).unwrap_or_default();
        let is_used = |name: &str| in_use.iter().any(|upstream| *upstream.name == *name);
        // Without upstreams another problem was found, which this one would only repeat.
        let unknown = models.iter().filter(|it| !in_use.is_empty() && !is_used(&it.upstream));
        let mut unknown: Vec<&str> = unknown.map(|it| it.upstream.as_str()).collect();
        unknown.dedup();
        if !unknown.is_empty() {
            let used: Vec<&str> = in_use.iter().map(|upstream| &*upstream.name).collect();
            let text = format!(
                "names {}, and the upstreams in use are {} (UPSTREAMS)",
                unknown.join(", "),
                used.join(", ")
            );
            self.complain("FAILOVER_MODELS", text);
        }
        models
    }

    pub(in crate::settings) fn failover_signatures(&mut self) -> FailoverSignatures {
        match self.choice("FAILOVER_SIGNATURES") {
            "placeholder" => FailoverSignatures::Placeholder,
            _ => FailoverSignatures::Keep,
        }
    }

    /// The base URLs for keys with a login of their own. They are checked only if a key has one.
    pub(in crate::settings) fn code_assist_endpoints(
        &mut self,
        in_use: &[UpstreamSettings],
        machine: &Machine<'_>,
        allow_insecure: bool,
    ) -> Vec<String> {
        const NAME: &str = "CODE_ASSIST_ENDPOINT";
        let is_code_assist =
            |it: &&UpstreamSettings| matches!(it.account, AccountSettings::CodeAssist(_));
        if let Some(operators) = in_use.iter().find(is_code_assist) {
            return operators.endpoints.clone();
        }
        if machine.emulated.is_some() {
            return vec![EMULATOR.to_owned()];
        }
        let has_login = |table: &Value| table.get("credentials").is_some();
        if !machine.key_tables.keys.iter().any(has_login) {
            return vec![spec_of(NAME).default.to_owned()];
        }
        let bases = self.text(NAME, parse::base_urls).unwrap_or_default();
        for base in &bases {
            self.check_encrypted(NAME, base, allow_insecure);
        }
        bases
    }

    /// What the short settings say of a provider. `is_for_vertex`: Google's libraries are set to Vertex AI.
    pub(super) fn short_draft(&self, provider: ProviderName, is_for_vertex: bool) -> Draft {
        let given = |name: &'static str| self.given(spec_of(name));
        let mut draft = Draft::empty(provider);
        match provider {
            ProviderName::CodeAssist => {
                draft.endpoint = given("CODE_ASSIST_ENDPOINT");
                draft.access_token = given("GOOGLE_CLOUD_ACCESS_TOKEN");
                draft.json = given("GCP_SERVICE_ACCOUNT");
                draft.credentials = given("GEMINI_OAUTH_CREDS_FILE");
                draft.project = given("GEMINI_PROJECT_ID");
            }
            ProviderName::GeminiApi => {
                draft.endpoint = given("GEMINI_API_ENDPOINT");
                draft.api_key = given("GEMINI_API_KEY");
            }
            ProviderName::Vertex => {
                draft.endpoint = given("VERTEX_ENDPOINT");
                draft.api_key = given("VERTEX_API_KEY");
                draft.credentials = given("VERTEX_CREDENTIALS");
                draft.project = given("VERTEX_PROJECT")
                    .or_else(|| self.project_of_libraries().filter(|_| is_for_vertex));
                draft.location = given("VERTEX_LOCATION");
                draft.api_version = given("VERTEX_API_VERSION");
            }
        }
        draft
    }
}

/// Stands for the emulator's address until it has one.
const EMULATOR: &str = "http://127.0.0.1:1";
