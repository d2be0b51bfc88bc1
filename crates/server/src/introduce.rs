//! The lines that `serve` prints at the start: addresses, upstreams, who may call, where facts are kept.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::{
    AccountSettings, CodeAssistSettings, CredentialsJson, Dialects, FailoverReason,
    GoogleCredentials, Settings, UpstreamSettings, VertexAuth, VertexSettings,
};
use code_assist_core::{CredentialFile, Platform, credential_problem, google_credential_problem};
use secrecy::ExposeSecret;

use crate::emulator::Emulator;
use crate::platform::TokioPlatform;

/// Where the proxy listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) main: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
}

/// The start-up lines.
pub(crate) async fn introduction(
    settings: &Settings,
    platform: &TokioPlatform,
    addresses: Addresses,
    emulator: Option<&Emulator>,
) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "code-assist-proxy {}", env!("CARGO_PKG_VERSION"));
    let address = addresses.main;
    let _ = writeln!(out, "  listening on http://{address}");
    if let Some(admin) = addresses.admin {
        let _ = writeln!(out, "  admin port   http://{admin} (metrics, details, status page)");
    }
    if let Some(emulator) = emulator {
        let _ = writeln!(out, "  emulator on {} (nothing goes to Google)", emulator.url());
    }
    write_upstreams(&mut out, settings, platform, emulator.is_some()).await;
    let Dialects { gemini, openai, anthropic } = settings.dialects;
    let served = [(gemini, "gemini"), (openai, "openai"), (anthropic, "anthropic")];
    if served.iter().any(|(is_on, _)| !is_on) {
        let names: Vec<&str> =
            served.iter().filter_map(|(is_on, name)| is_on.then_some(*name)).collect();
        let _ = writeln!(out, "  dialects     {} only (DIALECTS)", names.join(", "));
    }
    let _ = writeln!(out, "  access       {}", access(settings));
    let _ = writeln!(out, "  store        {}", platform.store().describe());
    let _ = writeln!(out, "  try          {}", example(settings, address));
    let is_code_assist =
        |upstream: &UpstreamSettings| matches!(upstream.account, AccountSettings::CodeAssist(_));
    if emulator.is_none()
        && settings.upstreams.iter().any(is_code_assist)
        && first_start(platform).await
    {
        let _ = writeln!(out, "\n{TERMS}");
    }
    out
}

/// A command that sends a request in a dialect that is served.
fn example(settings: &Settings, address: SocketAddr) -> String {
    let (path, body) = match settings.dialects {
        Dialects { gemini: true, .. } => (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#,
        ),
        Dialects { openai: true, .. } => (
            "/v1/chat/completions",
            r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"Hello"}]}"#,
        ),
        Dialects { .. } => (
            "/v1/messages",
            r#"{"model":"gemini-2.5-flash","max_tokens":1000,"messages":[{"role":"user","content":"Hello"}]}"#,
        ),
    };
    let key = match settings.number_of_keys() == 0 {
        true => "",
        false => " -H \"x-goog-api-key: $YOUR_PROXY_KEY\"",
    };
    format!("curl -s http://{address}{path} -H 'content-type: application/json'{key} -d '{body}'")
}

async fn write_upstreams(
    out: &mut String,
    settings: &Settings,
    platform: &TokioPlatform,
    is_emulated: bool,
) {
    for upstream in &settings.upstreams {
        let name = match &*upstream.name {
            name if name == upstream.account.provider() => name.to_owned(),
            name => format!("{name} ({})", upstream.account.provider()),
        };
        let place = match &upstream.account {
            AccountSettings::Vertex(VertexSettings { auth: VertexAuth::ApiKey(_), .. }) => {
                ", express mode".to_owned()
            }
            AccountSettings::Vertex(VertexSettings { project, location, .. }) => {
                let project = project.as_deref().unwrap_or("the credentials' project");
                format!(", {project} in {location}")
            }
            AccountSettings::CodeAssist(_) | AccountSettings::GeminiApi(_) => String::new(),
        };
        let _ = writeln!(out, "  upstream     {name} at {}{place}", upstream.endpoints.join(", "));
        if !is_emulated {
            let credentials = credentials(&upstream.account, settings, platform).await;
            let _ = writeln!(out, "  credentials  {credentials}");
        }
    }
    if is_emulated {
        out.push_str("  credentials  thrown away when the emulator stops\n");
    }
    if settings.no_upstream_configured && !is_emulated {
        let _ = writeln!(
            out,
            "               or set GEMINI_API_KEY for the Gemini API, or VERTEX_PROJECT for Vertex AI"
        );
    }
    for unused in &settings.unused_upstreams {
        let _ =
            writeln!(out, "  unused       {} has a credential too: {}", unused.name, unused.hint);
    }
    if !settings.failover.is_off() && settings.upstreams.len() > 1 {
        let reasons = FailoverReason::ALL.into_iter();
        let reasons = reasons.filter(|reason| settings.failover.includes(*reason));
        let words: Vec<&str> = reasons.map(FailoverReason::word).collect();
        let _ = writeln!(out, "  failover     in this order, for {}", words.join(", "));
    }
}

/// Who may use the proxy.
fn access(settings: &Settings) -> String {
    match settings.number_of_keys() {
        0 if settings.is_loopback() => "no keys: local programs only".to_owned(),
        0 => "no keys: everyone who reaches the port".to_owned(),
        count => format!("keys: {count}"),
    }
}

/// Where an account's credentials are, and whether they can be read.
async fn credentials(
    account: &AccountSettings,
    settings: &Settings,
    platform: &TokioPlatform,
) -> String {
    match account {
        AccountSettings::CodeAssist(account) => code_assist(account, platform).await,
        AccountSettings::GeminiApi(_) => "an API key".to_owned(),
        AccountSettings::Vertex(account) => match &account.auth {
            VertexAuth::ApiKey(_) => "an API key of express mode".to_owned(),
            VertexAuth::Google(GoogleCredentials::Search) => found(settings, platform).await,
            VertexAuth::Google(GoogleCredentials::Json(json)) => described(
                json.name,
                google_credential_problem(json.text.expose_secret().as_bytes()),
            ),
            VertexAuth::Google(GoogleCredentials::File(path)) => {
                in_file(path, platform, google_credential_problem, NO_GOOGLE_FILE).await
            }
        },
    }
}

/// Where the search of Google's libraries ends.
async fn found(settings: &Settings, platform: &TokioPlatform) -> String {
    if let Some(path) = &settings.adc_file
        && let CredentialFile::Read { content, .. } = platform.credential_file(path, None).await
    {
        return described(path, google_credential_problem(&content));
    }
    match &settings.metadata_host {
        Some(host) => format!("the metadata server {host}, since there is no file of gcloud's"),
        None => format!("MISSING: {NO_GOOGLE_FILE}"),
    }
}

async fn code_assist(account: &CodeAssistSettings, platform: &TokioPlatform) -> String {
    if account.access_token.is_some() {
        return "GOOGLE_CLOUD_ACCESS_TOKEN, used as it is and never refreshed".to_owned();
    }
    if let Some(CredentialsJson { name, text }) = &account.credentials_json {
        return described(name, credential_problem(text.expose_secret().as_bytes()));
    }
    match &account.credentials_file {
        Some(path) => in_file(path, platform, credential_problem, NO_LOGIN_FILE).await,
        None => "MISSING: there is no home folder; set GCP_SERVICE_ACCOUNT".to_owned(),
    }
}

async fn in_file(
    path: &str,
    platform: &TokioPlatform,
    problem: fn(&[u8]) -> Option<String>,
    remedy: &str,
) -> String {
    match platform.credential_file(path, None).await {
        CredentialFile::Read { content, .. } => described(path, problem(&content)),
        CredentialFile::Unchanged => path.to_owned(),
        CredentialFile::Absent { path, encrypted_store: true } => format!(
            "MISSING: {path} is not there, only the CLI's encrypted store is; unset \
             GEMINI_FORCE_ENCRYPTED_FILE_STORAGE and sign in again with `gemini`"
        ),
        CredentialFile::Absent { path, .. } => {
            format!(
                "MISSING: {path} is not there; {remedy} (no restart is needed once the file is there)"
            )
        }
        CredentialFile::Unreadable(why) => format!("UNREADABLE: {why}"),
        CredentialFile::Unsupported => "none".to_owned(),
    }
}

fn described(place: &str, problem: Option<String>) -> String {
    match problem {
        Some(why) => format!("UNREADABLE: {place} {why}"),
        None => place.to_owned(),
    }
}

/// Returns true once for each store, since the terms notice is for the first start.
async fn first_start(platform: &TokioPlatform) -> bool {
    if matches!(platform.load(NOTICE_KEY).await, Ok(Some(_))) {
        return false;
    }
    let _ = platform.save(NOTICE_KEY, Bytes::from_static(b"true"), NOTICE_TTL, None).await;
    true
}

const NO_LOGIN_FILE: &str = "sign in with `gemini`, or set GCP_SERVICE_ACCOUNT";
const NO_GOOGLE_FILE: &str = "set VERTEX_CREDENTIALS to the right \
    path, or sign in with `gcloud auth application-default login`";

const NOTICE_KEY: &str = "terms_notice_shown";
const NOTICE_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `README.md`.
const TERMS: &str = "\
Please note: Google's terms restrict using the Gemini CLI's OAuth sign-in from third-party software,
and accounts have been suspended for it. Individual accounts (free, Pro, Ultra) no longer work
through this client since 2026-06-18. This proxy is meant for accounts whose owner has the right to
use them so: organisations with a Code Assist Standard or Enterprise licence.";
