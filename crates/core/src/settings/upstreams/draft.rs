//! An upstream as it is set, and its check.

use std::sync::Arc;

use super::provider::ProviderName;
use super::{
    AccountSettings, CodeAssistSettings, GeminiApiSettings, GoogleCredentials, ModelPattern,
    UpstreamSettings, VertexAuth, VertexSettings, parse,
};
use crate::settings::error::SettingError;
use crate::settings::read::{FoundValue, SettingsReader, spec_of};
use crate::settings::spec::SettingSpec;
use crate::settings::{CredentialsJson, ModelAlias, Source, parse as general};

/// One upstream, with values that are not checked yet.
pub(super) struct Draft {
    pub(super) name: Arc<str>,
    pub(super) provider: ProviderName,
    /// The table that it comes from, as problems name it.
    pub(super) table: Option<String>,
    pub(super) endpoint: Option<Given>,
    pub(super) api_key: Option<Given>,
    /// Of Code Assist only, and not in tables.
    pub(super) access_token: Option<Given>,
    /// As `access_token`.
    pub(super) json: Option<Given>,
    /// JSON, or a path.
    pub(super) credentials: Option<Given>,
    pub(super) project: Option<Given>,
    pub(super) location: Option<Given>,
    pub(super) api_version: Option<Given>,
    pub(super) models: Vec<ModelPattern>,
    pub(super) model_map: Vec<ModelAlias>,
}

impl Draft {
    pub(super) fn empty(provider: ProviderName) -> Self {
        Self {
            name: Arc::from(provider.word()),
            provider,
            table: None,
            endpoint: None,
            api_key: None,
            access_token: None,
            json: None,
            credentials: None,
            project: None,
            location: None,
            api_version: None,
            models: Vec::new(),
            model_map: Vec::new(),
        }
    }

    fn all_given(&self) -> impl Iterator<Item = &Given> {
        let (a, b) = (&self.endpoint, &self.api_key);
        let (c, d, e) = (&self.access_token, &self.json, &self.credentials);
        [a, b, c, d, e, &self.project, &self.location, &self.api_version].into_iter().flatten()
    }
}

/// A value of an upstream, with its origin.
pub(super) struct Given {
    /// The short setting that means this.
    pub(super) spec: &'static SettingSpec,
    pub(super) found: FoundValue,
    /// The key of a table, as problems name it.
    pub(super) label: Option<String>,
}

impl Given {
    /// The name as the operator wrote it.
    pub(super) fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(self.found.name)
    }
}

/// What the upstreams have in common.
pub(super) struct Surroundings {
    pub(super) has_files: bool,
    pub(super) allow_insecure: bool,
    pub(super) quota_project: Option<String>,
}

impl SettingsReader<'_> {
    /// The value of a short setting, which may be its default.
    pub(super) fn given(&self, spec: &'static SettingSpec) -> Option<Given> {
        let found = self.find(spec).or_else(|| {
            let value = self.default_of(spec)?;
            Some(FoundValue { name: spec.name, value, source: Source::Default })
        })?;
        Some(Given { spec, found, label: None })
    }

    /// The project that Google's libraries use.
    pub(super) fn project_of_libraries(&self) -> Option<Given> {
        let found = self.find_name(LIBRARIES_PROJECT)?;
        Some(Given { spec: spec_of("VERTEX_PROJECT"), found, label: None })
    }

    /// Checks an upstream. An upstream that is not in use may lack its credential.
    pub(super) fn checked(
        &mut self,
        draft: &Draft,
        around: &Surroundings,
        in_use: bool,
    ) -> Option<UpstreamSettings> {
        for given in draft.all_given().filter(|given| given.label.is_none()) {
            self.warn_of_disagreement(given.spec, &given.found);
        }
        let (account, default_endpoint) = match draft.provider {
            ProviderName::CodeAssist => (self.code_assist(draft), None),
            ProviderName::GeminiApi => (self.gemini_api(draft, in_use), None),
            ProviderName::Vertex => self.vertex(draft, around, in_use),
        };
        let endpoints = match &draft.endpoint {
            Some(given) => self.endpoints_of(draft, given, around),
            None => default_endpoint.map(|endpoint| vec![endpoint]),
        };
        Some(UpstreamSettings {
            name: Arc::clone(&draft.name),
            account: account?,
            endpoints: endpoints?,
            models: draft.models.clone(),
            model_map: draft.model_map.clone(),
        })
    }

    fn endpoints_of(
        &mut self,
        draft: &Draft,
        given: &Given,
        around: &Surroundings,
    ) -> Option<Vec<String>> {
        let default = given.spec.default;
        let bases = self.parsed(given, |text| {
            // A list of commas only counts as unset.
            let is_blank = general::list(text).next().is_none();
            let bases = parse::base_urls(if is_blank { default } else { text })?;
            match draft.provider {
                ProviderName::GeminiApi | ProviderName::Vertex if bases.len() > 1 => {
                    Err("holds several URLs, which only Code Assist may have".into())
                }
                _ => Ok(bases),
            }
        })?;
        for base in &bases {
            let label = given.label().to_owned();
            self.check_encrypted(&label, base, around.allow_insecure);
        }
        Some(bases)
    }

    fn code_assist(&mut self, draft: &Draft) -> Option<AccountSettings> {
        let problems = self.problems.len();
        let mut account = CodeAssistSettings {
            access_token: draft.access_token.as_ref().map(|it| it.found.value.clone().into()),
            credentials_json: draft.json.as_ref().map(json_of),
            ..CodeAssistSettings::default()
        };
        match &draft.credentials {
            Some(given) if given.label.is_some() && parse::is_json(&given.found.value) => {
                account.credentials_json = Some(json_of(given));
            }
            Some(given) => account.credentials_file = self.path_of(given),
            None => {}
        }
        if let Some(given) = &draft.project {
            account.project_id = self.parsed(given, general::project);
        }
        (self.problems.len() == problems).then_some(AccountSettings::CodeAssist(account))
    }

    fn gemini_api(&mut self, draft: &Draft, in_use: bool) -> Option<AccountSettings> {
        let Some(given) = &draft.api_key else {
            if in_use {
                let (name, text) = match &draft.table {
                    Some(table) => {
                        (table.clone(), "has neither api_key nor api_key_file".to_owned())
                    }
                    None => (
                        "GEMINI_API_KEY".to_owned(),
                        "is not set, and gemini-api is in \
                             UPSTREAMS; https://aistudio.google.com/apikey makes a key"
                            .to_owned(),
                    ),
                };
                self.complain(&name, text);
            }
            return None;
        };
        let api_key = self.parsed(given, parse::api_key)?;
        Some(AccountSettings::GeminiApi(GeminiApiSettings { api_key }))
    }

    /// The account, and the base URL unless another one is set.
    fn vertex(
        &mut self,
        draft: &Draft,
        around: &Surroundings,
        in_use: bool,
    ) -> (Option<AccountSettings>, Option<String>) {
        let problems = self.problems.len();
        let project = draft.project.as_ref().and_then(|it| self.parsed(it, parse::project));
        let key = draft.api_key.as_ref().and_then(|it| self.parsed(it, parse::api_key));
        let location = draft.location.as_ref().and_then(|it| self.parsed(it, parse::location));
        let version = draft.api_version.as_ref();
        let version = version.and_then(|it| self.parsed(it, general::api_version));
        let uses_key = draft.project.is_none() && draft.api_key.is_some();
        let auth = match key {
            Some(key) if uses_key => Some(VertexAuth::ApiKey(key)),
            _ => self.google_credentials(draft, around, in_use).map(VertexAuth::Google),
        };
        if in_use {
            self.check_vertex(draft, uses_key);
        }
        let location = location.unwrap_or_default();
        let base = parse::vertex_base_url(if uses_key { "global" } else { &location });
        let account = auth.filter(|_| self.problems.len() == problems).map(|auth| {
            AccountSettings::Vertex(VertexSettings {
                auth,
                project,
                location,
                api_version: version.unwrap_or_default(),
                quota_project: around.quota_project.clone(),
            })
        });
        (account, Some(base))
    }

    /// What a combination of values makes wrong or useless.
    fn check_vertex(&mut self, draft: &Draft, uses_key: bool) {
        if draft.project.is_none() && !uses_key {
            let (name, text) = match &draft.table {
                Some(table) => (table.clone(), "has neither project nor api_key".to_owned()),
                None => {
                    let almost = match self.find_name(LIBRARIES_PROJECT) {
                        Some(_) => {
                            "; GOOGLE_CLOUD_PROJECT counts with GOOGLE_GENAI_USE_VERTEXAI=true"
                        }
                        None => "",
                    };
                    let text = format!(
                        "is not set, and neither is VERTEX_API_KEY, but vertex is in use: set the \
                         project that is billed{almost}"
                    );
                    ("VERTEX_PROJECT".to_owned(), text)
                }
            };
            self.complain(&name, text);
        }
        if let (Some(key), Some(project)) = (&draft.api_key, &draft.project) {
            let text = format!(
                "has no effect: with {} set, requests go out with an access token; unset one of them",
                project.label()
            );
            self.warn(key.label(), text);
        }
        if uses_key {
            for given in [&draft.location, &draft.credentials].into_iter().flatten() {
                let is_meant = given.found.name == given.spec.name || given.label.is_some();
                if is_meant && given.found.source != Source::Default {
                    let text = "has no effect: without a project, requests go out with the API key of \
                                express mode, which has no location";
                    self.warn(given.label(), text.into());
                }
            }
        }
    }

    fn google_credentials(
        &mut self,
        draft: &Draft,
        around: &Surroundings,
        in_use: bool,
    ) -> Option<GoogleCredentials> {
        let Some(given) = &draft.credentials else {
            if around.has_files || !in_use {
                return Some(GoogleCredentials::Search);
            }
            let text = "is not set, and a Worker has neither gcloud's file nor a metadata server; put the \
                        JSON of a service account or of gcloud into it, as a secret";
            self.complain("VERTEX_CREDENTIALS", text);
            return None;
        };
        if parse::is_json(&given.found.value) {
            return Some(GoogleCredentials::Json(json_of(given)));
        }
        let home = self.home.clone();
        let has_files = around.has_files;
        let path = self.parsed(given, |text| {
            let path = parse::credentials_path(text, home.as_deref())?;
            match has_files {
                true => Ok(path),
                false => Err(SettingError::from(
                    "is a path, and a Worker has no files; it must be the \
                                                 JSON itself",
                )),
            }
        });
        path.map(GoogleCredentials::File)
    }

    fn path_of(&mut self, given: &Given) -> Option<String> {
        let home = self.home.clone();
        self.parsed(given, |path| general::path(path, home.as_deref()))
    }

    /// The parsed value; `None` when it is bad.
    pub(super) fn parsed<T>(
        &mut self,
        given: &Given,
        parse: impl FnOnce(&str) -> Result<T, SettingError>,
    ) -> Option<T> {
        match parse(&given.found.value) {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                self.refuse(given.spec, &given.found, given.label.as_deref(), &wrong);
                None
            }
        }
    }
}

fn json_of(given: &Given) -> CredentialsJson {
    CredentialsJson { name: given.found.name, text: given.found.value.clone().into() }
}

/// The variable in which Google's libraries look for a project.
const LIBRARIES_PROJECT: &str = "GOOGLE_CLOUD_PROJECT";
