//! The bundled emulator as upstream.

use std::io;

use code_assist_core::settings::{
    AccountSettings, CodeAssistSettings, KvUrl, Settings, UpstreamSettings,
};
pub(crate) use code_assist_emulator::Emulator;

/// Starts the emulator, and points `settings` to it, with credentials that are good nowhere else.
pub(crate) async fn start(settings: &mut Settings) -> io::Result<Emulator> {
    let emulator = code_assist_emulator::start(code_assist_emulator::Options::default()).await?;
    settings.upstreams = vec![UpstreamSettings {
        name: "code-assist".into(),
        account: AccountSettings::CodeAssist(CodeAssistSettings {
            credentials_json: Some(emulator.credentials().into()),
            ..CodeAssistSettings::default()
        }),
        endpoints: vec![emulator.url()],
        models: Vec::new(),
        model_map: Vec::new(),
    }];
    settings.token_url = emulator.token_url();
    settings.tokeninfo_url = emulator.tokeninfo_url();
    // Throw-away facts do not belong into the store of a real account.
    settings.kv_url = KvUrl::Memory;
    (settings.http_proxy, settings.https_proxy) = (None, None);
    Ok(emulator)
}
