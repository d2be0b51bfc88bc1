//! `keys usage`: what keys have used, as `/usage` tells it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::{KvUrl, Settings};
use code_assist_core::{KeyDigest, StoreError};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::arguments::UsageArguments;
use super::table::new_key;
use super::usage_table;
use crate::app::{App, ServeParts};
use crate::local_request::get;
use crate::operator_file::Operator;
use crate::store::Store;
use crate::{CommandError, print};

/// Why there is no usage to show.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error(
        "there is no [[key]] table, so no usage is counted: `code-assist-proxy keys new ID --append` makes \
         the first one"
    )]
    NoKeys,
    #[error(
        "KV_URL is memory:, so the usage is only in the running proxy: ask its /usage with the key of an \
         admin, or set KV_URL to a file or a Redis"
    )]
    MemoryOnly,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{why}; a proxy that runs on this machine could not be asked: {asked}")]
    Unreadable { why: StoreError, asked: NotAsked },
    #[error("{0}")]
    Refused(String),
    #[error("the answer of the proxy is no usage")]
    NoUsage,
    #[error("{0}")]
    Assemble(std::io::Error),
}

/// Why the running proxy was not asked.
#[derive(Debug, thiserror::Error)]
enum NotAsked {
    #[error(
        "there is no {0} that this user may read; run this command as the proxy's user or as root"
    )]
    NoFile(String),
    #[error("{url} does not answer ({why}); the proxy of that file has probably been killed")]
    NoAnswer { url: String, why: String },
    #[error("{url} does not take the key of its file, which is an older proxy's")]
    OtherProxy { url: String },
}

pub(super) async fn run(
    arguments: &UsageArguments,
    settings: Settings,
) -> Result<(), CommandError> {
    let Answered { answer, file } =
        ask(arguments, settings).await.map_err(CommandError::runtime)?;
    let text = String::from_utf8_lossy(&answer);
    if arguments.csv {
        print(&text);
        return Ok(());
    }
    if arguments.json {
        print(&format!("{}\n", text.trim_end()));
        return Ok(());
    }
    let report = serde_json::from_slice(&answer).ok().as_ref().and_then(usage_table::of);
    print(&report.ok_or_else(|| CommandError::runtime(UsageError::NoUsage))?);
    if let Some(file) = file {
        print(&format!(
            "\nNo running proxy has the store {file} open. These are the figures in it.\n"
        ));
    }
    Ok(())
}

/// What `/usage` answers.
struct Answered {
    answer: Bytes,
    /// The store's file, if it was read in place of asking a running proxy.
    file: Option<String>,
}

/// Asks the running proxy. Without one, reads the store with a proxy that does not listen.
async fn ask(arguments: &UsageArguments, settings: Settings) -> Result<Answered, UsageError> {
    if settings.keys.is_empty() {
        return Err(UsageError::NoKeys);
    }
    let question = Question::of(arguments);
    let asked = match &settings.kv_url {
        KvUrl::Memory => return Err(UsageError::MemoryOnly),
        KvUrl::Redis(_) => None,
        KvUrl::File(path) => Some(ask_running(Path::new(path), &question).await),
    };
    let not_asked = match asked {
        Some(Ok((status, answer))) => {
            return Ok(Answered { answer: checked(status, answer)?, file: None });
        }
        Some(Err(why)) => Some(why),
        None => None,
    };
    let (store, notice) = Store::open_only(&settings).await.map_err(|why| match not_asked {
        Some(asked) => UsageError::Unreadable { why, asked },
        None => UsageError::Store(why),
    })?;
    if let Some(notice) = notice {
        crate::warn(&notice);
    }
    let file = match &settings.kv_url {
        KvUrl::File(path) => Some(path.clone()),
        KvUrl::Memory | KvUrl::Redis(_) => None,
    };
    Ok(Answered { answer: read(settings, store, &question).await?, file })
}

/// Asks the proxy that has the store's file open.
async fn ask_running(store: &Path, question: &Question) -> Result<(StatusCode, Bytes), NotAsked> {
    let Some(operator) = Operator::of_store(store) else {
        return Err(NotAsked::NoFile(format!("{}.operator", store.display())));
    };
    let url = operator.url;
    let no_answer = |why: String| NotAsked::NoAnswer { url: url.clone(), why };
    let target: Uri =
        format!("{url}{}", question.path).parse().map_err(|_| no_answer("no URL".to_owned()))?;
    let headers = question.headers(operator.key.expose_secret());
    let answer = timeout(TIMEOUT, get(&target, headers, LARGEST)).await;
    let answer = answer.map_err(|_| no_answer(format!("not within {TIMEOUT:?}")))?;
    let (status, body) = answer.map_err(|why| no_answer(why.to_string()))?;
    match status {
        StatusCode::UNAUTHORIZED => Err(NotAsked::OtherProxy { url }),
        _ => Ok((status, body)),
    }
}

/// Reads the store as a running proxy does.
async fn read(settings: Settings, store: Store, question: &Question) -> Result<Bytes, UsageError> {
    let key = new_key();
    let digest = KeyDigest::of(key.expose_secret());
    let (_sender, abort) = watch::channel(false);
    let parts = ServeParts { operator: Some(digest), ..ServeParts::default() };
    let App { proxy, platform } =
        App::assemble_with(settings, store, abort, parts).map_err(UsageError::Assemble)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = question.path.parse().map_err(|_| UsageError::NoUsage)?;
    *request.headers_mut() = question.headers(key.expose_secret());
    proxy.load_usage(&platform).await;
    let response = Box::pin(proxy.handle(&platform, request)).await;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|_| UsageError::NoUsage)?;
    checked(status, body.to_bytes())
}

/// The answer, or the message of the error in it.
fn checked(status: StatusCode, answer: Bytes) -> Result<Bytes, UsageError> {
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let error: Option<Value> = serde_json::from_slice(&answer).ok();
    let message = error.as_ref().and_then(|error| error["error"]["message"].as_str());
    Err(match message {
        Some(message) => UsageError::Refused(message.to_owned()),
        None => UsageError::Refused(format!("the proxy answers {status}")),
    })
}

/// What `/usage` is asked for.
struct Question {
    path: String,
    accept: HeaderValue,
}

impl Question {
    fn of(arguments: &UsageArguments) -> Self {
        let UsageArguments { id, since, until, by, csv, .. } = arguments;
        let parameters = [
            ("id", id.as_deref().map(encoded)),
            ("since", since.map(|day| day.to_string())),
            ("until", until.map(|day| day.to_string())),
            ("by", by.clone()),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={value}")).collect();
        let accept = if *csv { "text/csv" } else { "application/json" };
        Self {
            path: format!("/usage?{}", query.join("&")),
            accept: HeaderValue::from_static(accept),
        }
    }

    fn headers(&self, key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, self.accept.clone());
        if let Ok(mut key) = HeaderValue::from_str(key) {
            key.set_sensitive(true);
            headers.insert("x-goog-api-key", key);
        }
        headers
    }
}

/// A text as the value of a URL's parameter.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How long a proxy may need for a large answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A bound on what is read into memory: several times the largest answer.
const LARGEST: usize = 1 << 24;
