//! The reading of upstreams from the short settings.

use std::sync::Arc;

use super::{AccountSettings, CODE_ASSIST, CodeAssistSettings, UpstreamSettings};
use crate::settings::parse;
use crate::settings::read::SettingsReader;

impl SettingsReader<'_> {
    /// The upstreams in use, in order of preference.
    pub(in crate::settings) fn upstreams(&mut self) -> Vec<UpstreamSettings> {
        vec![self.code_assist()]
    }

    fn code_assist(&mut self) -> UpstreamSettings {
        let account = CodeAssistSettings {
            credentials_json: self.credentials_json(),
            credentials_file: self.path("GEMINI_OAUTH_CREDS_FILE"),
            access_token: self.secret("GOOGLE_CLOUD_ACCESS_TOKEN"),
            project_id: self.text("GEMINI_PROJECT_ID", parse::project),
        };
        UpstreamSettings {
            name: Arc::from(CODE_ASSIST),
            account: AccountSettings::CodeAssist(account),
            endpoints: self.endpoints(),
            models: Vec::new(),
            model_map: Vec::new(),
        }
    }
}
