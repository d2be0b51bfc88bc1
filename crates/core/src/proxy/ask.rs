//! The client's request on its way up: its body read and rewritten, wrapped, made into a call.

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::Body;

use super::{Proxy, put};
use crate::assist::call::Call;
use crate::assist::envelope;
use crate::gemini::route::Framing;
use crate::gemini::{models, rewrite};
use crate::intake;
use crate::platform::Platform;
use crate::refusal::Refusal;
use crate::report::Ledger;

/// A call that is ready to be sent, and what the answer will say about it.
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) headers: HeaderMap,
}

impl Proxy {
    /// Client body to upstream call, for generateContent and its stream.
    pub(super) async fn generate_call<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        asked: &str,
        stream: Option<Framing>,
    ) -> Result<Asked, Refusal> {
        let body = self.intake(platform, parts, body, ledger).await?;
        let rewritten = rewrite::generate(&body)?;
        drop(body);
        let model = models::resolve(asked, &self.settings.model_aliases);
        ledger.entry.model = model.to_owned();
        let project = self.project(platform, ledger).await?;
        let prompt_id = prompt_id(platform);
        let payload = envelope::wrap_generate(model, &project, &prompt_id, rewritten.request);
        let call = match stream {
            Some(_) => Call::stream(&self.base, "streamGenerateContent", payload)?,
            None => Call::post(&self.base, "generateContent", payload)?,
        };
        Ok(Asked { call, headers: marks(asked, model, &rewritten.dropped) })
    }

    /// Client body to upstream call, for countTokens: it has an envelope of its own, and no project.
    pub(super) async fn count_call<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        asked: &str,
    ) -> Result<Asked, Refusal> {
        let body = self.intake(platform, parts, body, ledger).await?;
        let model = models::resolve(asked, &self.settings.model_aliases);
        ledger.entry.model = model.to_owned();
        let rewritten = rewrite::count(&body, model)?;
        let call = Call::post(&self.base, "countTokens", envelope::wrap_count(rewritten.request))?;
        Ok(Asked { call, headers: marks(asked, model, &rewritten.dropped) })
    }

    pub(super) async fn intake<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Refusal> {
        let begun = platform.now();
        let limit = self.settings.max_request_body_bytes;
        let body = intake::collect(platform, &parts.headers, body, limit).await?;
        ledger.entry.intake = platform.now().since(begun);
        ledger.entry.bytes_in = body.len() as u64;
        Ok(body)
    }
}

/// What was changed about the request, for the client to see.
pub(super) fn marks(asked: &str, model: &str, dropped: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if asked != model {
        put(&mut headers, "x-proxy-model", model);
    }
    if !dropped.is_empty() {
        put(&mut headers, "x-proxy-dropped-fields", &dropped.join(", "));
    }
    headers
}

/// A fresh `x-request-id`.
pub(super) fn request_id<P: Platform>(platform: &P) -> String {
    format!("req_{:016x}", platform.random())
}

/// A fresh `user_prompt_id`, in the form of a random UUID as the CLI sends it (RFC 9562, version 4).
pub(super) fn prompt_id<P: Platform>(platform: &P) -> String {
    let (high, low) = (platform.random(), platform.random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}
