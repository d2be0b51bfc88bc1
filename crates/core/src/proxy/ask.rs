//! The client's request on its way up: its body read and rewritten, wrapped, made into a call.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body::Body;

use super::{Proxy, lock, put};
use crate::error::Error;
use crate::intake;
use crate::metrics::Ledger;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::cache::{self, CacheDirective, CacheKey, Operation};
use crate::provider::code_assist::adapt;
use crate::provider::code_assist::envelope;
use crate::provider::code_assist::models;
use crate::provider::request::Call;

/// What the client asked, read and made fit for Code Assist.
pub(super) struct Asked {
    request: Payload,
    /// What the answer will say about the changes.
    pub(super) headers: HeaderMap,
    /// The question, if equal ones may share its answer.
    pub(super) question: Option<CacheKey>,
    pub(super) freshness: CacheDirective,
}

impl Proxy {
    /// Reads the client's body for one of the three methods that take one.
    pub(super) async fn read<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        asked: String,
        operation: Operation,
    ) -> Result<Asked, Error> {
        let body = self.intake(platform, parts, body, ledger).await?;
        let live = self.live();
        let model = models::resolve(&asked, &live.model_aliases);
        let renamed = (model != asked).then(|| model.to_owned());
        ledger.entry.model = renamed.clone().unwrap_or(asked);
        let model = &ledger.entry.model;
        let rewritten = match operation {
            Operation::Count => adapt::count(&body, model)?,
            Operation::Generate | Operation::Stream => adapt::generate(&body)?,
        };
        let key = cache::idempotency_key(&parts.headers);
        let repeats = cache::repeatable(operation, rewritten.temperature_zero, key.is_some())
            && lock(&self.repeats).is_on();
        let question = repeats.then(|| {
            let client = ledger.entry.client.as_deref();
            CacheKey::new(client, ledger.entry.method, model, &Payload::from(body.clone()), key)
        });
        let freshness =
            if repeats { CacheDirective::of(&parts.headers) } else { CacheDirective::Any };
        Ok(Asked {
            request: rewritten.request,
            headers: marks(renamed.as_deref(), &rewritten.dropped),
            question,
            freshness,
        })
    }

    /// The call that asks the model of the ledger. countTokens has an envelope of its own, and no
    /// project.
    pub(super) async fn call<P: Platform>(
        &self,
        platform: &P,
        asked: Asked,
        operation: Operation,
        ledger: &mut Ledger<P>,
    ) -> Result<Call, Error> {
        if operation == Operation::Count {
            let payload = envelope::wrap_count(asked.request);
            return Ok(Call::post(&self.settings.api_version, "countTokens", payload));
        }
        if let Some(fault) = lock(&self.quotas).ask(&ledger.entry.model, platform.wall_clock()) {
            return Err(fault.into());
        }
        // A project that must be looked for first is asked of the same endpoints.
        self.somewhere_to_go(platform)?;
        let project = self.project(platform, ledger).await?;
        let (model, prompt_id) = (&ledger.entry.model, prompt_id(platform));
        let payload = envelope::wrap_generate(model, &project, text(&prompt_id), asked.request);
        let call = match operation {
            Operation::Stream => Call::stream(&self.paths, payload),
            Operation::Count | Operation::Generate => Call::generate(&self.paths, payload),
        };
        Ok(call.in_project(project))
    }

    pub(super) async fn intake<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Error> {
        let begun = platform.now();
        let limit = self.settings.max_request_body_bytes;
        let body = intake::collect(platform, &parts.headers, body, limit).await?;
        ledger.entry.intake = platform.now().since(begun);
        ledger.entry.bytes_in = body.len() as u64;
        Ok(body)
    }
}

/// What was changed about the request, for the client to see.
pub(super) fn marks(renamed: Option<&str>, dropped: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(model) = renamed {
        put(&mut headers, MODEL, model);
    }
    if !dropped.is_empty() {
        put(&mut headers, DROPPED_FIELDS, dropped.join(", "));
    }
    headers
}

/// A fresh `x-request-id`.
pub(super) fn request_id<P: Platform>(platform: &P) -> String {
    let mut id = *b"req_0000000000000000";
    id[4..].copy_from_slice(&hex(platform.random()));
    text(&id).to_owned()
}

/// A fresh `user_prompt_id`, in the form of a random UUID as the CLI sends it (RFC 9562, version 4).
fn prompt_id<P: Platform>(platform: &P) -> [u8; 36] {
    let high = hex(platform.random() & !0xf000 | 0x4000);
    let low = hex(platform.random() & (u64::MAX >> 2) | 1 << 63);
    let mut id = [b'-'; 36];
    id[..8].copy_from_slice(&high[..8]);
    id[9..13].copy_from_slice(&high[8..12]);
    id[14..18].copy_from_slice(&high[12..]);
    id[19..23].copy_from_slice(&low[..4]);
    id[24..].copy_from_slice(&low[4..]);
    id
}

/// The hex digits of a number.
fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - place * 4)) as usize & 0xf])
}

fn text(id: &[u8]) -> &str {
    std::str::from_utf8(id).expect("hex digits are ASCII")
}

const MODEL: HeaderName = HeaderName::from_static("x-proxy-model");
const DROPPED_FIELDS: HeaderName = HeaderName::from_static("x-proxy-dropped-fields");
