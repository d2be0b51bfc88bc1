//! The messages of errors: what happened, who has to act, and what to do.

use std::fmt;
use std::time::Duration;

use super::{Awaited, BodyBound, BrokenAt, CredentialKind, Error};
use crate::policy::budget::Day;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountIneligible { reasons } => write_ineligible(f, reasons),
            Self::AdminOnly { what } => write!(
                f,
                "Your key may not read {what}, which concerns all keys. The proxy's operator can set \
                 `admin = true` in the key's table. Your own usage is at /usage."
            ),
            Self::ApiKeyExpired { since } => write!(
                f,
                "Your key for this proxy has expired on {}. Ask the proxy's operator for a new one.",
                Day::of(*since)
            ),
            Self::ApiKeyInvalid => f.write_str(
                "The API key is not one of this proxy's keys. The proxy does not take Google API \
                 keys: ask its operator for a key of its own.",
            ),
            Self::ApiKeyMissing => f.write_str(
                "This proxy needs an API key. Send one of its keys in the header \
                 x-goog-api-key (or Authorization: Bearer, x-api-key, ?key=).",
            ),
            Self::BadPageToken => f.write_str(
                "Invalid pageToken. Use the nextPageToken of the page before, or leave it out to \
                 start again.",
            ),
            Self::BodyTooLarge { limit, bound: BodyBound::Budget } => write!(
                f,
                "The request body needs more memory than the {limit} bytes that this proxy may hold \
                 for one client. Send less, or have its operator raise MEMORY_BUDGET_BYTES."
            ),
            Self::BodyTooLarge { limit, bound: BodyBound::Ratio } => write!(
                f,
                "The compressed request body unpacks to more than {limit} bytes, which is more than \
                 100 times its length. Send it without Content-Encoding."
            ),
            Self::BodyTooLarge { limit, bound: BodyBound::Setting } => write!(
                f,
                "The request body is larger than the {limit} bytes that this proxy accepts. Send \
                 less, or have its operator raise MAX_REQUEST_BODY_BYTES."
            ),
            Self::BudgetExhausted(budget) if budget.may_pass => write!(
                f,
                "Requests of your key that are in flight have reserved what is left of its {} ({} of {} \
                 are used). Please retry in {}.",
                budget.budget,
                budget.used,
                budget.limit,
                Plain(budget.after)
            ),
            Self::BudgetExhausted(budget) => write!(
                f,
                "The budget {} of your key is used up: {} of {}. It begins anew in {}; the proxy's \
                 operator can raise it.",
                budget.budget,
                budget.used,
                budget.limit,
                Plain(budget.after)
            ),
            Self::CircuitOpen { after, model: None } => write!(
                f,
                "Google's API has failed several times in a row, so no request is sent to it now. \
                 The next one is let through in {}; try again then.",
                Plain(*after)
            ),
            Self::CircuitOpen { after, model: Some(model) } => write!(
                f,
                "The model {model} has failed several times in a row. The proxy sends no further \
                 request of this kind for it to Google for {}; try again then, or take another model.",
                Plain(*after)
            ),
            Self::Conflict => f.write_str(
                "This Idempotency-Key was used before with a different body. Use a new key for a \
                 new request.",
            ),
            Self::ConnectionsExhausted => f.write_str(
                "Nearly all connections that this proxy may have are in use. Try again in a second, \
                 over fewer connections; its operator may allow it more open files or memory.",
            ),
            Self::CredentialsMissing { why, kind: CredentialKind::KeysOwn } => write!(
                f,
                "Your key for this proxy uses your own Google login, and there is none: {} Sign in \
                 with the official Gemini CLI, and have the proxy's operator put your oauth_creds.json \
                 where `credentials` of your key points.",
                Sentence(why)
            ),
            Self::CredentialsRejected { why, kind: CredentialKind::KeysOwn, .. } => write!(
                f,
                "Google does not accept your own Google login, which your key for this proxy uses: {} \
                 The key itself is fine. Sign in again with the official Gemini CLI, and have the \
                 proxy's operator put your new oauth_creds.json where `credentials` of your key points.",
                Sentence(why)
            ),
            Self::CredentialsUnreadable { why, kind: CredentialKind::KeysOwn } => write!(
                f,
                "The proxy cannot use your own Google login, which your key for this proxy has: {} \
                 Google was not asked. Have the proxy's operator correct `credentials` of your key.",
                Sentence(why)
            ),
            Self::CredentialsMissing { why, kind } => {
                let then = match kind {
                    CredentialKind::GeminiCli => {
                        "Sign in with the official Gemini CLI on the proxy's machine, or set \
                         GCP_SERVICE_ACCOUNT to the JSON of its oauth_creds.json, then run"
                    }
                    CredentialKind::ApiKey
                    | CredentialKind::GoogleCloud
                    | CredentialKind::KeysOwn => "Afterwards run",
                    CredentialKind::Unset => {
                        "Set GEMINI_API_KEY for the Gemini API, or VERTEX_PROJECT for Vertex AI, and \
                         restart the proxy; or, for Code Assist, sign in with the official Gemini CLI on \
                         the proxy's machine or set GCP_SERVICE_ACCOUNT to the JSON of its \
                         oauth_creds.json. Then run"
                    }
                };
                write!(
                    f,
                    "The proxy has no Google credentials: {} {then} `code-assist-proxy check`.",
                    Sentence(why)
                )
            }
            Self::CredentialsRejected { why, kind, .. } => {
                let then = match kind {
                    CredentialKind::ApiKey => {
                        "The proxy's operator must correct the proxy's own key for Google, then run"
                    }
                    CredentialKind::GeminiCli
                    | CredentialKind::KeysOwn
                    | CredentialKind::Unset => {
                        "Sign in again with the official Gemini CLI, then run"
                    }
                    CredentialKind::GoogleCloud => {
                        "The proxy's operator must renew or correct them, then run"
                    }
                };
                write!(
                    f,
                    "Google does not accept the proxy's credentials: {} This is not about your API \
                     key. {then} `code-assist-proxy check`.",
                    Sentence(why)
                )
            }
            Self::CredentialsUnreadable { why, .. } => write!(
                f,
                "The proxy cannot use its Google credentials: {} Google was not asked, and this is \
                 not about your API key. Correct them, then run `code-assist-proxy check`.",
                Sentence(why)
            ),
            Self::FieldNotTaken { field, why } => write!(
                f,
                "The field {field:?} of the request body is not taken: {} Without it the request would \
                 mean something else, so nothing was sent to Google.",
                Sentence(why)
            ),
            Self::HostMissing => f.write_str(
                "The request has no Host header, or several. HTTP/1.1 requires exactly one (RFC 9112, \
                 section 3.2). Send one.",
            ),
            Self::HostNotAllowed { host } => write!(
                f,
                "This proxy has no keys set, so it does not answer under the name {host:?}. On its own \
                 machine use http://127.0.0.1 or http://localhost, elsewhere its IP address; or have its \
                 operator add the name to ALLOWED_HOSTS, or set PROXY_API_KEYS."
            ),
            Self::Internal => f.write_str(
                "The proxy has run into a bug of its own; your request may be fine. Please report \
                 it with the x-request-id of this answer.",
            ),
            Self::KeyRefused { why, .. } => write!(
                f,
                "Google does not accept the proxy's own API key, and your key for the proxy is not \
                 concerned. Google says: {} The operator has to set the upstream's key (GEMINI_API_KEY, \
                 VERTEX_API_KEY) to one that works, and restart the proxy.",
                Sentence(why)
            ),
            Self::MalformedBody => f.write_str(
                "The request body is broken: its chunks do not follow HTTP's framing, or it does not \
                 have the length that was announced. Nothing was sent to Google. Check the client, or \
                 what stands between it and the proxy.",
            ),
            Self::MalformedJson { detail } => write!(
                f,
                "The request body is not exactly one JSON object: {} Nothing was sent to Google.",
                Sentence(detail)
            ),
            Self::MethodNotAllowed { allow } => {
                write!(f, "This path does not take this HTTP method. It takes: {allow}.")
            }
            Self::NeedsProject { what, upstream, others } => {
                write!(
                    f,
                    "The upstream {upstream} has no {what}: it is Vertex AI with an API key, whose \
                     express mode has generateContent, streamGenerateContent and countTokens only. The \
                     operator can give it a project and credentials of Google Cloud (VERTEX_PROJECT)."
                )?;
                match &**others {
                    [] => Ok(()),
                    others => write_others(f, others),
                }
            }
            Self::NoAnswer { reason, message } => {
                write!(f, "The model ended its answer without any content ({reason})")?;
                if let Some(message) = message {
                    write!(f, ": {}", message.trim_end_matches('.'))?;
                }
                f.write_str(". The same request may succeed when it is sent again.")
            }
            Self::NotAllowed { what } => write!(
                f,
                "This proxy does not let clients use {what}: the tokens that it makes go to Google \
                 without the proxy, at its operator's cost. The operator can set ALLOW_AUTH_TOKENS=true."
            ),
            Self::ModelNotAllowed { model: None } => f.write_str(
                "Your key for this proxy may use some models only, and this request may use any: its path \
                 names no model. GET /v1beta/models lists those that it may use, with the usual methods of \
                 models, in every dialect; the proxy's operator can remove `models` from the key.",
            ),
            Self::ModelNotAllowed { model: Some(model) } => write!(
                f,
                "Your key for this proxy may not use the model {model:?}. GET /v1beta/models lists those \
                 that it may use; the proxy's operator can add the model to `models` of the key."
            ),
            Self::NotFound { what } => write!(
                f,
                "{what} is not found. This proxy offers {OFFERED}; GET / lists all its paths."
            ),
            Self::NotOffered { what, model, upstream: None, provider, .. } => {
                write_not_offered(f, what, model.as_deref())?;
                write_provider(f, *provider, "set UPSTREAMS=code-assist,")
            }
            Self::NotOffered { what, model, upstream: Some(upstream), others, provider } => {
                match model {
                    Some(model) => write!(f, "The upstream {upstream} has no {what} for {model}.")?,
                    None => write!(f, "The upstream {upstream} has no {what}.")?,
                }
                match &**others {
                    [] => {
                        f.write_str(" No upstream in use has it.")?;
                        write_provider(f, *provider, "add to UPSTREAMS: ")
                    }
                    others => write_others(f, others),
                }
            }
            Self::OriginNotAllowed { origin } if origin.is_empty() => f.write_str(
                "Web pages of other sites may not use this proxy, because it has no keys set, and this \
                 request does not say which page it is from. Have its operator set PROXY_API_KEYS.",
            ),
            Self::OriginNotAllowed { origin } => write!(
                f,
                "Web pages from {origin:?} may not use this proxy, because it has no keys set. \
                 Have its operator add the origin to ALLOWED_ORIGINS, or set PROXY_API_KEYS."
            ),
            Self::OutOfResources { why } => write!(
                f,
                "The proxy's machine has no resources left for a connection (file handles, memory, \
                 buffers or local ports): {} Google was not asked. Have the operator raise the \
                 limit of open files (`ulimit -n`, LimitNOFILE) or lower MAX_CONCURRENT_REQUESTS, \
                 then try again.",
                Sentence(why)
            ),
            Self::Overloaded { after } => write!(
                f,
                "The proxy has no memory left for this request: the requests and answers that it \
                 holds fill MEMORY_BUDGET_BYTES. Try again in {}, or have its operator raise \
                 MEMORY_BUDGET_BYTES.",
                Plain(*after)
            ),
            Self::ProjectRequired => f.write_str(
                "This Google account uses Code Assist through an organisation's licence, and that \
                 needs a Google Cloud project. Set GEMINI_PROJECT_ID to the id (not the number) of \
                 the project that holds the licence, then run `code-assist-proxy check`.",
            ),
            Self::QueueTimeout { after, own_share: false } => write!(
                f,
                "The proxy is at its concurrency limit and no slot became free in time. Try again \
                 in {}, or have its operator raise MAX_CONCURRENT_REQUESTS.",
                Plain(*after)
            ),
            Self::QueueTimeout { after, own_share: true } => write!(
                f,
                "You have as many requests in flight as one caller may have, and none of them ended \
                 in time. Send fewer at once, read your streams to their end or close them, and try \
                 again in {}; or have the proxy's operator raise MAX_CONCURRENT_REQUESTS_PER_CALLER.",
                Plain(*after)
            ),
            Self::RateLimited { limit, after } => write!(
                f,
                "You have reached this proxy's own rate limit ({}), not Google's. Please retry in {}.",
                limit.setting(),
                Plain(*after)
            ),
            Self::Refused(refusal) => f.write_str(&refusal.message),
            Self::RequestTimeout => f.write_str(
                "The request did not arrive in time: the client or the way here was too slow. \
                 Send it again.",
            ),
            Self::RpcNotAllowed { rpc } => write!(
                f,
                "This proxy does not pass on {rpc:?} of Code Assist's own protocol, because it passes \
                 on only what a session of the Gemini CLI needs. Its operator can call it without the \
                 proxy, or set CODE_ASSIST_PROTOCOL=all."
            ),
            Self::SettingsInvalid { problems } => write!(
                f,
                "The proxy's settings cannot be used, and nothing was sent to Google: {}. The \
                 operator must fix them and redeploy.",
                problems.join("; ")
            ),
            Self::ShuttingDown => {
                f.write_str("The proxy is shutting down. Send the request again in a moment.")
            }
            Self::TokenUnavailable { why, after } => {
                write!(f, "The proxy gets no access token from Google: {}", Sentence(why))?;
                if after.is_zero() {
                    f.write_str(" It tries again by itself.")?;
                } else {
                    write!(
                        f,
                        " It tries again in {}; send the request again then.",
                        Plain(*after)
                    )?;
                }
                f.write_str(
                    " If it goes on, check the network, HTTPS_PROXY and OAUTH_TOKEN_URL of the \
                     proxy, then run `code-assist-proxy check`.",
                )
            }
            Self::TooManyAttempts { after } => write!(
                f,
                "Too many wrong API keys came from your address, so this key was not checked. Correct \
                 the key, and try again in {}.",
                Plain(*after)
            ),
            Self::UnknownUpstream { name, known } => write!(
                f,
                "This proxy has no upstream {name:?}. The header x-proxy-upstream may name: {}.",
                known.join(", ")
            ),
            Self::UnsupportedEncoding { what } => write!(
                f,
                "The request body cannot be decoded: {} Send it plain or with Content-Encoding: \
                 gzip.",
                Sentence(what)
            ),
            Self::UpgradeRequired => f.write_str(
                "This is the path of a WebSocket, and the request does not ask for one. Connect with a \
                 WebSocket client; if one did, something between it and the proxy has dropped the header \
                 Upgrade.",
            ),
            Self::UpgradeUnsupported => f.write_str(
                "The Live API needs WebSockets, and this runtime of the proxy (a Cloudflare Worker) \
                 connects none. Have its operator run the proxy's own binary for it, or use \
                 streamGenerateContent.",
            ),
            Self::Upstream(error) => f.write_str(&error.message),
            Self::UpstreamDisconnected { at: BrokenAt::Answer } => f.write_str(
                "The connection to Google's API broke in the middle of the answer. Google may have \
                 carried the request out and counted it against the quota, so the proxy did not \
                 send it again. Send it again if that does no harm.",
            ),
            Self::UpstreamDisconnected { at: BrokenAt::Request } => f.write_str(
                "The connection to Google's API broke before the answer began. Google may have \
                 carried the request out and counted it against the quota, so the proxy did not \
                 send it again. Send it again if that does no harm. If long requests keep failing \
                 after the same time, something between the proxy and Google ends silent \
                 connections: use streamGenerateContent, or have its idle timeout raised.",
            ),
            Self::UpstreamDisconnected { at: BrokenAt::Stream } => f.write_str(
                "Google's API broke the request off before the answer began. Google may have carried \
                 it out and counted it against the quota, so the proxy did not send it again. Send it \
                 again if that does no harm.",
            ),
            Self::UpstreamDisconnected { at: BrokenAt::Unprocessed } => f.write_str(
                "Google's API closed the connection without processing the request. \
                 Nothing was carried out: send the request again in a moment.",
            ),
            Self::UpstreamIncomplete => f.write_str(
                "Google's API ended the answer without a finishReason, so something may be missing at \
                 its end. Send the request again.",
            ),
            Self::UpstreamMalformed { what } => write!(
                f,
                "Google's API answered something that is not its protocol: {} If it goes on, \
                 please report it with the x-request-id of this answer.",
                Sentence(what)
            ),
            Self::UpstreamNoEvents => f.write_str(
                "Google's API ended the stream without an answer. Send the request again; if it goes \
                 on, try another model.",
            ),
            Self::UpstreamPage { what } => write!(
                f,
                "Something other than Google's API has answered: {} A captive portal, a corporate \
                 proxy or a load balancer may be in between; the operator should look at the \
                 proxy's network and the upstream's endpoint (CODE_ASSIST_ENDPOINT, GEMINI_API_ENDPOINT, \
                 VERTEX_ENDPOINT).",
                Sentence(what)
            ),
            Self::UpstreamTimeout { awaited: Awaited::ClientDeadline, after } => write!(
                f,
                "There was no answer within the {} that the client allows (X-Server-Timeout). Try \
                 again, or let the client wait longer.",
                Plain(*after)
            ),
            Self::UpstreamTimeout { awaited: Awaited::FirstByte, after } => write!(
                f,
                "Google's API did not begin to answer within {}. Try again, or have the operator \
                 raise FIRST_BYTE_TIMEOUT_MS.",
                Plain(*after)
            ),
            Self::UpstreamTimeout { awaited: Awaited::NextChunk, after } => write!(
                f,
                "Google's API sent nothing for {} in the middle of its answer. Try again, or have \
                 the operator raise STREAM_IDLE_TIMEOUT_MS.",
                Plain(*after)
            ),
            Self::UpstreamUnreachable { why } => write!(
                f,
                "Google's API cannot be reached: {} Check the network, HTTPS_PROXY and \
                 the endpoint of the upstream (CODE_ASSIST_ENDPOINT, GEMINI_API_ENDPOINT, VERTEX_ENDPOINT), then \
                 run `code-assist-proxy check`.",
                Sentence(why)
            ),
            Self::UsageNotCounted => f.write_str(
                "This proxy counts no usage, since it has no [[key]] tables. Its operator can make one \
                 with `code-assist-proxy keys new ID --append`; from then on the usage of every key is \
                 here.",
            ),
            Self::UsageParameter { problem } => f.write_str(problem),
            Self::UsageUnreadable { why } => write!(
                f,
                "The store in which usage is kept cannot be read: {} Nothing is lost by that; what is \
                 used meanwhile is written when the store works again. The proxy's operator can look at \
                 `store` in /health/detailed.",
                Sentence(why)
            ),
            Self::ValidationRequired { message, link } => {
                write!(
                    f,
                    "Google wants the owner of the proxy's account to verify it first: {}",
                    Sentence(message)
                )?;
                match link {
                    Some(link) => write!(f, " Open {link} in a browser, then try again."),
                    None => f.write_str(" Sign in with the official Gemini CLI to be led there."),
                }
            }
        }
    }
}

impl std::error::Error for Error {}

fn write_ineligible(f: &mut fmt::Formatter<'_>, reasons: &[(String, String)]) -> fmt::Result {
    f.write_str("Google does not let this account use Code Assist.")?;
    for (code, message) in reasons {
        write!(f, " {code}: {}", Sentence(message))?;
    }
    if reasons.iter().any(|(code, _)| code == "UNSUPPORTED_CLIENT") {
        f.write_str(
            " Individual accounts (free, Pro, Ultra) have not worked with the Gemini CLI's sign-in \
             since 2026-06-18.",
        )?;
    }
    f.write_str(
        " Use an account with a Code Assist Standard or Enterprise licence and set \
         GEMINI_PROJECT_ID to its project, or use the Gemini API with an API key of its own.",
    )
}

/// Names the upstreams that have what another one lacks.
fn write_others(f: &mut fmt::Formatter<'_>, others: &[String]) -> fmt::Result {
    write!(
        f,
        " These have it: {}. Name one in the header x-proxy-upstream, or leave the header out.",
        others.join(", ")
    )
}

/// Writes Google's own sentence first, since some clients look for it.
fn write_not_offered(f: &mut fmt::Formatter<'_>, what: &str, model: Option<&str>) -> fmt::Result {
    match model {
        Some(model) => write!(
            f,
            "models/{model} is not found for API version v1beta, or is not supported for {what}. \
             Call ListModels to see the list of available models and their supported methods."
        )?,
        None => write!(f, "{what} is not found for API version v1beta, or is not supported.")?,
    }
    write!(f, " Code Assist, which this proxy speaks to, offers {OFFERED}.")?;
    let instead = match what {
        "cachedContents" => {
            " Send the whole prompt with each request; Google caches it implicitly."
        }
        "files" | "media" | "upload" => " Send the data inline, as inlineData, instead.",
        "bidiGenerateContent" => " Use streamGenerateContent instead of the Live API.",
        "openai" => " Point the client at this proxy's Gemini API, at /v1beta, instead.",
        _ => "",
    };
    f.write_str(instead)
}

/// Says which upstream the operator can add; `then` ends before its name.
fn write_provider(f: &mut fmt::Formatter<'_>, provider: Option<&str>, then: &str) -> fmt::Result {
    let (name, setting) = match provider {
        Some("gemini-api") => ("the Gemini API", "GEMINI_API_KEY"),
        Some("vertex") => ("Vertex AI", "VERTEX_PROJECT"),
        Some("code-assist") => ("Code Assist", "GCP_SERVICE_ACCOUNT"),
        _ => return Ok(()),
    };
    let provider = provider.unwrap_or_default();
    write!(
        f,
        " An upstream at {name} has it: the operator can set {setting}, and {then}{provider}."
    )
}

/// A quoted text, made to end like a sentence.
struct Sentence<'a>(&'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim();
        if text.is_empty() {
            return f.write_str("it does not say why.");
        }
        f.write_str(text)?;
        if text.ends_with(['.', '!', '?', '…']) { Ok(()) } else { f.write_str(".") }
    }
}

/// A duration as [`crate::google::error`] and Google's clients read it in prose: `1.5s`.
pub(super) struct Plain(pub(super) Duration);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) {
            return write!(f, "{}s", millis / 1000);
        }
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        write!(f, "{}s", text.trim_end_matches('0'))
    }
}

const OFFERED: &str = "generateContent, streamGenerateContent and countTokens on models/{model}, \
                       and the list of models";
