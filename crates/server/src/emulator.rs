//! The bundled emulator as upstream.

use std::io;

use code_assist_core::settings::{KvUrl, Settings};
pub(crate) use code_assist_emulator::Emulator;

/// Starts the emulator, and points `settings` to it, with credentials that are good nowhere else.
pub(crate) async fn start(settings: &mut Settings) -> io::Result<Emulator> {
    let emulator = code_assist_emulator::start(code_assist_emulator::Options::default()).await?;
    settings.endpoints = vec![emulator.url()];
    settings.token_url = emulator.token_url();
    settings.tokeninfo_url = emulator.tokeninfo_url();
    settings.access_token = None;
    settings.project_id = None;
    settings.credentials_json = Some(emulator.credentials().into());
    // Throw-away facts do not belong into the store of a real account.
    settings.kv_url = KvUrl::Memory;
    (settings.http_proxy, settings.https_proxy) = (None, None);
    Ok(emulator)
}
