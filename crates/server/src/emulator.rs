//! The bundled emulator as upstream.

use std::io;

use code_assist_core::settings::{
    AccountSettings, CodeAssistSettings, GeminiApiSettings, GoogleCredentials, KvUrl, Settings,
    UpstreamSettings, VertexAuth, VertexSettings,
};
pub(crate) use code_assist_emulator::Emulator;
use code_assist_emulator::{
    GEMINI_API_KEY, Options, Played, VERTEX_LOCATION, VERTEX_PROJECT, service_account_json,
};

use crate::cli::EmulatedProvider;

/// Starts the emulator, and points `settings` to it, with credentials that are good nowhere else.
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
    let accounts = accounts(&emulator, played);
    // An order that the operator has set stays.
    let place = |upstream: &UpstreamSettings| {
        settings.upstreams.iter().position(|configured| configured.name == upstream.name)
    };
    let mut upstreams: Vec<UpstreamSettings> =
        accounts.into_iter().map(|account| upstream(&emulator, account)).collect();
    if settings.upstreams.len() > 1 {
        upstreams.sort_by_key(|upstream| place(upstream).unwrap_or(usize::MAX));
    }
    settings.upstreams = upstreams;
    settings.unused_upstreams.clear();
    settings.token_url = emulator.token_url();
    settings.tokeninfo_url = emulator.tokeninfo_url();
    // Throw-away facts do not belong into the store of a real account.
    settings.kv_url = KvUrl::Memory;
    (settings.http_proxy, settings.https_proxy) = (None, None);
    Ok(emulator)
}

fn accounts(emulator: &Emulator, played: Played) -> Vec<AccountSettings> {
    let code_assist = || {
        AccountSettings::CodeAssist(CodeAssistSettings {
            credentials_json: Some(emulator.credentials().into()),
            ..CodeAssistSettings::default()
        })
    };
    let gemini_api = || {
        AccountSettings::GeminiApi(GeminiApiSettings { api_key: GEMINI_API_KEY.to_owned().into() })
    };
    let vertex = || {
        AccountSettings::Vertex(VertexSettings {
            auth: VertexAuth::Google(GoogleCredentials::Json(
                service_account_json(&emulator.url()).into(),
            )),
            project: Some(VERTEX_PROJECT.to_owned()),
            location: VERTEX_LOCATION.to_owned(),
            api_version: "v1beta1".to_owned(),
            quota_project: None,
        })
    };
    let mut accounts = Vec::new();
    accounts.extend(played.code_assist().then(code_assist));
    accounts.extend(played.gemini_api().then(gemini_api));
    accounts.extend(played.vertex().then(vertex));
    accounts
}

fn upstream(emulator: &Emulator, account: AccountSettings) -> UpstreamSettings {
    UpstreamSettings {
        name: account.provider().into(),
        account,
        endpoints: vec![emulator.url()],
        models: Vec::new(),
        model_map: Vec::new(),
    }
}
