//! The bundled emulator as upstream.

use std::io;

use code_assist_core::settings::{
    AccountSettings, CodeAssistSettings, GeminiApiSettings, GoogleCredentials, KvUrl, Settings,
    VertexAuth, VertexSettings,
};
pub(crate) use code_assist_emulator::Emulator;
use code_assist_emulator::{
    GEMINI_API_KEY, Options, Played, VERTEX_LOCATION, VERTEX_PROJECT, service_account_json,
};

use crate::cli::EmulatedProvider;

/// Starts the emulator, and points `settings` to it, with credentials that are good nowhere else. The
/// settings were read for an emulator.
pub(crate) async fn start(
    provider: EmulatedProvider,
    settings: &mut Settings,
) -> io::Result<Emulator> {
    let played = match provider {
        EmulatedProvider::CodeAssist => Played::CodeAssist,
        EmulatedProvider::GeminiApi => Played::GeminiApi,
        EmulatedProvider::Vertex => Played::Vertex,
        EmulatedProvider::All => Played::All,
    };
    let emulator = code_assist_emulator::start(Options { played, ..Options::default() }).await?;
    for upstream in &mut settings.upstreams {
        upstream.endpoints = vec![emulator.url()];
        upstream.account = account(&emulator, &upstream.account);
    }
    settings.code_assist_endpoints = vec![emulator.url()];
    settings.token_url = emulator.token_url();
    settings.tokeninfo_url = emulator.tokeninfo_url();
    // Throw-away facts do not belong into the store of a real account.
    settings.kv_url = KvUrl::Memory;
    (settings.http_proxy, settings.https_proxy) = (None, None);
    Ok(emulator)
}

/// The account of the same provider at the emulator.
fn account(emulator: &Emulator, configured: &AccountSettings) -> AccountSettings {
    match configured {
        AccountSettings::CodeAssist(_) => AccountSettings::CodeAssist(CodeAssistSettings {
            credentials_json: Some(emulator.credentials().into()),
            ..CodeAssistSettings::default()
        }),
        AccountSettings::GeminiApi(_) => AccountSettings::GeminiApi(GeminiApiSettings {
            api_key: GEMINI_API_KEY.to_owned().into(),
        }),
        AccountSettings::Vertex(_) => AccountSettings::Vertex(VertexSettings {
            auth: VertexAuth::Google(GoogleCredentials::Json(
                service_account_json(&emulator.url()).into(),
            )),
            project: Some(VERTEX_PROJECT.to_owned()),
            location: VERTEX_LOCATION.to_owned(),
            api_version: "v1beta1".to_owned(),
            quota_project: None,
        }),
    }
}
