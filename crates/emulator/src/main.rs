//! The binary `code-assist-emulator`.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use code_assist_emulator::{
    ACCESS_TOKEN, Emulator, GEMINI_API_KEY, Options, Played, VERTEX_ACCESS_TOKEN, VERTEX_LOCATION,
    VERTEX_PROJECT, service_account_json,
};

/// A strict stand-in for Google's OAuth endpoints, Code Assist, the Gemini API and Vertex AI.
///
/// Point a client at it (the lines to paste are printed on start) and it gets answers
/// of Google's form, and Google's refusals for requests that Google would refuse. Nothing leaves
/// this machine and no account is needed.
///
/// Tests control it over HTTP: POST /__emulator/script adds faults (status, body, delay, cut,
/// chunk sizes), GET /__emulator/log lists the received requests, POST /__emulator/state changes the
/// account and its tokens. docs/EMULATOR.md describes every field.
#[derive(Parser)]
#[command(version, about, long_about)]
struct Arguments {
    /// Port to listen on; 0 picks a free one and prints it
    #[arg(long, default_value_t = 8790)]
    port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// How long an access token is valid, in seconds
    #[arg(long, default_value_t = 3599, value_name = "SECONDS")]
    token_lifetime: u64,

    /// Start with an account that has to be onboarded first
    #[arg(long)]
    needs_onboarding: bool,

    /// Which of Google's APIs to play: code-assist, gemini-api, vertex or all
    #[arg(long, default_value = "code-assist", value_name = "PROVIDER")]
    provider: Played,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        port: arguments.port,
        host: arguments.host,
        token_lifetime: Duration::from_secs(arguments.token_lifetime),
        onboarded: !arguments.needs_onboarding,
        played: arguments.provider,
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves no place to report the error.
            let _closed = writeln!(io::stderr(), "code-assist-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let (host, port, played) = (options.host, options.port, options.played);
    let emulator = code_assist_emulator::start(options).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {host}:{port}: {error}"))
    })?;
    let mut out = io::stdout().lock();
    writeln!(out, "Emulator of Google's APIs on {}\n", emulator.url())?;
    if played.code_assist() {
        code_assist_lines(&mut out, &emulator)?;
    }
    if played.gemini_api() {
        gemini_api_lines(&mut out, &emulator)?;
    }
    if played.vertex() {
        vertex_lines(&mut out, &emulator)?;
    }
    writeln!(out, "Requests received: curl -s {}/__emulator/log", emulator.url())?;
    out.flush()?;
    drop(out);
    tokio::signal::ctrl_c().await?;
    emulator.stop();
    Ok(())
}

fn gemini_api_lines(out: &mut impl io::Write, emulator: &Emulator) -> io::Result<()> {
    let url = emulator.url();
    writeln!(out, "For code-assist-proxy in front of the Gemini API:")?;
    writeln!(out, "  export GEMINI_API_ENDPOINT={url}")?;
    writeln!(out, "  export GEMINI_API_KEY={GEMINI_API_KEY}\n")?;
    writeln!(out, "For a client of the Gemini API:")?;
    writeln!(out, "  export GOOGLE_GEMINI_BASE_URL={url}")?;
    writeln!(out, "  export GEMINI_API_KEY={GEMINI_API_KEY}\n")
}

fn vertex_lines(out: &mut impl io::Write, emulator: &Emulator) -> io::Result<()> {
    let url = emulator.url();
    let file = service_account_json(&url);
    let file: String = file.lines().map(str::trim).collect();
    let path = format!("/v1/projects/{VERTEX_PROJECT}/locations/{VERTEX_LOCATION}");
    writeln!(out, "For code-assist-proxy in front of Vertex AI:")?;
    writeln!(out, "  export VERTEX_ENDPOINT={url}")?;
    writeln!(out, "  export VERTEX_PROJECT={VERTEX_PROJECT}")?;
    writeln!(out, "  export VERTEX_LOCATION={VERTEX_LOCATION}")?;
    writeln!(out, "  export VERTEX_CREDENTIALS='{file}'\n")?;
    writeln!(out, "For curl:")?;
    writeln!(
        out,
        "  curl {url}{path}/publishers/google/models/gemini-2.5-flash:generateContent \\\n    \
         -H 'authorization: Bearer {VERTEX_ACCESS_TOKEN}' \\\n    \
         -d '{{\"contents\":{{\"role\":\"user\",\"parts\":{{\"text\":\"hello\"}}}}}}'\n"
    )
}

fn code_assist_lines(out: &mut impl io::Write, emulator: &Emulator) -> io::Result<()> {
    writeln!(out, "For code-assist-proxy:")?;
    writeln!(out, "  export CODE_ASSIST_ENDPOINT={}", emulator.url())?;
    writeln!(out, "  export OAUTH_TOKEN_URL={}", emulator.token_url())?;
    writeln!(out, "  export OAUTH_TOKENINFO_URL={}", emulator.tokeninfo_url())?;
    let credentials: String =
        emulator.credentials().lines().map(str::trim).collect::<Vec<_>>().join("");
    writeln!(out, "  export GCP_SERVICE_ACCOUNT='{credentials}'\n")?;
    writeln!(out, "For the Gemini CLI:")?;
    writeln!(out, "  export CODE_ASSIST_ENDPOINT={}", emulator.url())?;
    writeln!(out, "  export GOOGLE_GENAI_USE_GCA=true")?;
    writeln!(out, "  export GOOGLE_CLOUD_ACCESS_TOKEN={ACCESS_TOKEN}\n")
}
