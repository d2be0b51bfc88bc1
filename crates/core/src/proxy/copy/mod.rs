//! The life of a request that is copied to the Gemini API and back, byte for byte.

mod vertex;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use http_body::Body;

use crate::access;
use crate::context::{ChargeRule, RequestContext};
use crate::dialect::gemini::models::bare;
use crate::dialect::gemini::route::{
    self, Beyond, CopiedPath, PathForm, Route, RouteError, copied,
};
use crate::dialect::{CopiedKind, Operation};
use crate::error::Error;
use crate::memory;
use crate::payload::Payload;
use crate::platform::{Platform, RequestBodyError, WebSocketRequest};
use crate::policy::memory::REQUEST_BASE;
use crate::provider::forward;
use crate::provider::gemini_api::copied::{self as requests, Repeats, SOCKET_HEADERS};
use crate::provider::gemini_api::{self, upload};
use crate::provider::request::{self, UpstreamRequest};
use crate::proxy::Proxy;
use crate::proxy::allowed::{allows_listed, check_copy, check_model, only_allowed, restricted};
use crate::proxy::choose::Asked;
use crate::proxy::respond::{self, Answer, AnswerBody, put};
use crate::upstream::{Account, CopiedAnswer, CopiedBody, Upstream, UpstreamList};

impl Proxy {
    /// The route of a path that only an upstream with the whole Gemini API knows, if there is one.
    pub(in crate::proxy) fn with_copies(
        &self,
        error: RouteError,
        parts: &Parts,
    ) -> Result<Route, RouteError> {
        if !matches!(error, RouteError::NotFound { .. } | RouteError::NotOffered { .. }) {
            return Err(error);
        }
        match copied::read(&parts.method, &parts.uri) {
            Some(Beyond::Embed { model, form, batch }) if self.has_offer(Operation::Embed) => {
                Ok(Route::Embed { model, form, batch })
            }
            Some(Beyond::Copy(path)) if self.has_offer(Operation::Copy(path.kind)) => {
                Ok(Route::Copy(Box::new(path)))
            }
            // With the whole API, what is not copied is no path of it.
            None if self.has_offer(Operation::Copy(CopiedKind::Other)) => {
                Err(route::not_found(&parts.method, &parts.uri))
            }
            _ => Err(error),
        }
    }

    fn has_offer(&self, operation: Operation) -> bool {
        let mut operators = self.upstreams.operators.iter();
        operators.any(|upstream| upstream.calls.provider.offers(operation))
    }

    /// True for the next step of an upload whose URL the proxy has issued, and which needs no key. A key that
    /// comes with it is checked.
    pub(in crate::proxy) fn is_issued_upload(&self, path: &CopiedPath, parts: &Parts) -> bool {
        upload::is_later_step(&parts.method, &parts.headers)
            && self.issuer(path, parts).is_some()
            && !access::presents_key(&parts.headers, &parts.uri)
    }

    /// The upstream at which an upload was begun.
    fn issuer(&self, path: &CopiedPath, parts: &Parts) -> Option<&Upstream> {
        let query = parts.uri.query().filter(|_| path.kind == CopiedKind::Upload)?;
        let has_issued = |upstream: &&Upstream| {
            upstream.uploads().is_some_and(|uploads| uploads.has_issued(&path.path, query))
        };
        self.upstreams.operators.iter().find(has_issued)
    }

    /// Copies a request and its answer.
    pub(in crate::proxy) async fn copy<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        path: &CopiedPath,
    ) -> Result<Answer<P>, Error> {
        if path.is_token && !self.settings.allow_auth_tokens {
            return Err(Error::NotAllowed { what: "auth_tokens".to_owned() });
        }
        let model = path.model.as_deref().unwrap_or_default();
        let upstream = match self.issuer(path, parts) {
            Some(upstream) => upstream,
            None => {
                let asked = Asked { operation: context.operation, model };
                self.candidates(upstreams, parts, asked)
                    .map_err(|error| named(error, path.what()))?
                    .0
            }
        };
        self.use_upstream(upstreams, upstream, context);
        context.model = model.into();
        let is_at_vertex = matches!(upstream.account, Account::Vertex(_));
        let reloadable = self.reloadable();
        let used = match is_at_vertex && !model.is_empty() {
            true => upstream.model(model, &reloadable.model_aliases),
            false => model,
        };
        check_copy(context, &parts.method, path, used)?;
        if let Account::Vertex(account) = &upstream.account {
            let target = (upstream, account);
            return Box::pin(self.copy_gemini_path(parts, body, context, path, target)).await;
        }
        if path.kind == CopiedKind::LiveSocket {
            return Box::pin(self.connect(parts, context, path, upstream)).await;
        }
        let repeats = requests::repeats(&parts.method, path);
        self.reserve_for_copy(parts, charge_rule(parts, path, repeats), context).await?;
        let request = requests::request(parts, path);
        let answer = self.send_copy(upstream, (request, repeats), body, context).await?;
        // The length of what a GET would bring.
        let length = answer.head.headers.get(CONTENT_LENGTH).cloned();
        let length = length.filter(|_| parts.method == Method::HEAD);
        let edit = |headers: &mut HeaderMap| {
            self.at_proxy(headers, parts, upstream);
            headers.extend(length.map(|length| (CONTENT_LENGTH, length)));
        };
        Ok(respond::copied(answer, edit, context))
    }

    /// Reserves what a copied request may use, by the length that it announces.
    async fn reserve_for_copy<P: Platform>(
        &self,
        parts: &Parts,
        rule: ChargeRule,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let length =
            parts.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        match self.reserve(rule, length.unwrap_or_default(), context) {
            Some(waiting) => waiting.await,
            None => Ok(()),
        }
    }

    /// Sends a request with the client's body, which is read while it is sent. One without a body is tried
    /// again after failures, where that is harmless.
    async fn send_copy<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        upstream: &Upstream,
        (request, repeats): (UpstreamRequest, Repeats),
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<CopiedAnswer<P>, Error> {
        // What is held of a body on its way does not depend on its length.
        let longest = self.settings.queue_timeout;
        memory::reserve(&self.memory, REQUEST_BASE, longest, context).await?;
        let (calls, now) = (&upstream.calls, context.platform().now());
        calls.check_breakers(request.counts_for(), &context.model, now)?;
        if repeats == Repeats::Always && body.is_end_stream() {
            return calls.copy(&request.repeatable(), context, now).await;
        }
        let mut body = Box::pin(body);
        let sending = calls.copy_streamed(&request, body.as_mut(), repeats, context, now);
        Box::pin(sending).await
    }

    /// Connects the client's WebSocket to upstream's.
    async fn connect<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
        path: &CopiedPath,
        upstream: &Upstream,
    ) -> Result<Answer<P>, Error> {
        if !context.platform().has_upgrades() {
            return Err(Error::UpgradeUnsupported);
        }
        if parts.extensions.get::<WebSocketRequest>().is_none() {
            return Err(Error::UpgradeRequired);
        }
        let has_token = has_ephemeral_token(parts);
        if has_token && !self.settings.allow_auth_tokens {
            return Err(Error::NotAllowed { what: "ephemeral tokens".to_owned() });
        }
        context.stream = true;
        let longest = self.settings.queue_timeout;
        memory::reserve(&self.memory, REQUEST_BASE, longest, context).await?;
        if let Some(waiting) = self.reserve(ChargeRule::PromptAndAnswer, 0, context) {
            waiting.await?;
        }
        let request = requests::socket_request(parts, path, has_token);
        let now = context.platform().now();
        upstream.calls.check_breakers(request.counts_for(), "", now)?;
        let CopiedAnswer { mut head, body } =
            upstream.calls.connect(&request, context, now).await?;
        match body {
            CopiedBody::Open(body) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                let mut headers = HeaderMap::new();
                for name in SOCKET_HEADERS {
                    for value in head.headers.get_all(name) {
                        headers.append(HeaderName::from_static(name), value.clone());
                    }
                }
                let extensions = std::mem::take(&mut head.extensions);
                let body = AnswerBody::Upgraded(body, extensions);
                Ok(Answer { status: head.status, headers, body })
            }
            body => {
                let edit = |headers: &mut HeaderMap| self.at_proxy(headers, parts, upstream);
                Ok(respond::copied(CopiedAnswer { head, body }, edit, context))
            }
        }
    }

    /// Puts the proxy in place of Google's host into the URLs of an answer's headers.
    fn at_proxy(&self, headers: &mut HeaderMap, parts: &Parts, upstream: &Upstream) {
        let Some(endpoint) = upstream.calls.base() else { return };
        let (_, authority, prefix) = endpoint.parts();
        let base = self.public_base(parts);
        for name in UPLOAD_URLS {
            let Some(url) = headers.get(&name).and_then(|url| url.to_str().ok()) else { continue };
            match upstream.uploads().and_then(|uploads| uploads.issue(url, &base, prefix)) {
                Some(issued) => put(headers, name, issued),
                // A URL that the proxy does not serve would lead the client around it.
                None => drop(headers.remove(&name)),
            }
        }
        let location = headers.get(LOCATION).and_then(|url| url.to_str().ok());
        let location = location.and_then(|url| upload::at_proxy(url, (authority, prefix), &base));
        if let Some(location) = location {
            put(headers, LOCATION, location);
        }
    }

    /// The URL at which the client reaches the proxy, without a slash at its end: `PUBLIC_URL`, else what a
    /// trusted proxy says, else `Host`.
    fn public_base(&self, parts: &Parts) -> String {
        if let Some(base) = &self.settings.public_url {
            return base.trim_end_matches('/').to_owned();
        }
        let forwarded = |name: HeaderName| {
            let last = parts.headers.get_all(name).iter().next_back()?;
            let last = last.to_str().ok()?.rsplit(',').next()?.trim().to_owned();
            self.settings.trust_forwarded_for.then_some(last)
        };
        let scheme = forwarded(FORWARDED_PROTO).filter(|it| it == "http" || it == "https");
        let scheme = scheme.or_else(|| parts.uri.scheme_str().map(str::to_owned));
        let host = || parts.headers.get(HOST)?.to_str().ok().map(str::to_owned);
        let own = || parts.uri.authority().map(ToString::to_string);
        let is_host = |host: &String| host.parse::<Authority>().is_ok() && !host.contains('@');
        let host = forwarded(FORWARDED_HOST).filter(is_host).or_else(own).or_else(host);
        match host.filter(is_host) {
            Some(host) => format!("{}://{host}", scheme.as_deref().unwrap_or("http")),
            // A path alone is a URL too, below the one that the client has asked.
            None => String::new(),
        }
    }

    /// Copies the list of models, or one model. For an alias it is the model that the alias stands for.
    pub(in crate::proxy) async fn copy_models<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
        route: &Route,
        form: PathForm,
        upstream: &Upstream,
    ) -> Result<Answer<P>, Error> {
        let version = gemini_api::version(form);
        let reloadable = self.reloadable();
        let mut more = HeaderMap::new();
        let path = match route {
            Route::Model { model, .. } => {
                let found = upstream.model(model, &reloadable.model_aliases);
                if found != bare(model) {
                    put(&mut more, crate::proxy::prepare::MODEL, found);
                }
                context.model = found.into();
                check_model(context, found)?;
                format!("/{version}/models/{found}")
            }
            _ if let Some(holder) = restricted(context).cloned() => {
                let query = forward::query(parts.uri.query().unwrap_or_default());
                let path = request::path(format!("/{version}/models{query}"));
                let list = UpstreamRequest::new(Method::GET, path, Payload::default());
                let page = Box::pin(upstream.calls.call(&list, context)).await?;
                let is_allowed =
                    |name: &str| allows_listed(&holder, upstream, name, &reloadable.model_aliases);
                let page = only_allowed(&page, "models", is_allowed).ok_or_else(no_list)?;
                return Ok(respond::json(HeaderMap::new(), page));
            }
            _ => format!("/{version}/models"),
        };
        let path = CopiedPath {
            path,
            kind: CopiedKind::Other,
            collection: "models".to_owned(),
            verb: None,
            model: None,
            is_token: false,
        };
        let head = requests::request(parts, &path).repeatable();
        let now = context.platform().now();
        upstream.calls.check_breakers(head.counts_for(), "", now)?;
        let answer = Box::pin(upstream.calls.copy(&head, context, now)).await?;
        let edit = |headers: &mut HeaderMap| headers.extend(more);
        Ok(respond::copied(answer, edit, context))
    }
}

fn no_list() -> Error {
    Error::UpstreamMalformed { what: "the list of models is no such list".to_owned() }
}

/// How a copied request is charged. What may not be sent twice has a model do something.
fn charge_rule(parts: &Parts, path: &CopiedPath, repeats: Repeats) -> ChargeRule {
    if parts.method != Method::POST {
        return ChargeRule::Nothing;
    }
    match (path.kind, repeats) {
        (CopiedKind::Upload, _) => ChargeRule::Nothing,
        (CopiedKind::Batches | CopiedKind::Predict, Repeats::Never) => ChargeRule::Prompt,
        (_, Repeats::Never) if path.path.ends_with("/embeddings") => ChargeRule::Prompt,
        (_, Repeats::Never) => ChargeRule::PromptAndAnswer,
        (CopiedKind::Other, _) if path.model.is_some() || is_model_call(path) => {
            of_verb(path.verb.as_deref())
        }
        _ => ChargeRule::Nothing,
    }
}

/// True for a call of a model that is none of `models`, such as a tuned one, or whose name is no name.
fn is_model_call(path: &CopiedPath) -> bool {
    let verb = path.verb.as_deref().unwrap_or_default().to_ascii_lowercase();
    ["generate", "embed", "predict"].iter().any(|part| verb.contains(part))
}

/// How a call of a model's method is charged.
fn of_verb(verb: Option<&str>) -> ChargeRule {
    match verb {
        None => ChargeRule::Nothing,
        Some(verb) if verb.starts_with("count") || verb.starts_with("fetch") => ChargeRule::Nothing,
        Some("computeTokens" | "cancel") => ChargeRule::Nothing,
        Some(verb) if verb.contains("mbed") || verb.starts_with("predict") => ChargeRule::Prompt,
        Some(_) => ChargeRule::PromptAndAnswer,
    }
}

/// Names the method or the collection in the error for a path that the upstream has not.
fn named(error: Error, what: &str) -> Error {
    let what = what.to_owned();
    match error {
        Error::NeedsProject { upstream, others, .. } => {
            Error::NeedsProject { what, upstream, others }
        }
        Error::NotOffered { model, upstream, others, provider, .. } => {
            Error::NotOffered { what, model, upstream, others, provider }
        }
        error => error,
    }
}

/// True if a request carries an ephemeral token in place of a key.
fn has_ephemeral_token(parts: &Parts) -> bool {
    let in_header = parts.headers.get_all(http::header::AUTHORIZATION).iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.trim_ascii_start().starts_with(b"token ")
    });
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    in_header || pairs.any(|(name, value)| name == "access_token" && value.contains("auth_tokens/"))
}

/// The headers of an answer that name the URL of an upload.
const UPLOAD_URLS: [HeaderName; 2] = [
    HeaderName::from_static("x-goog-upload-url"),
    HeaderName::from_static("x-goog-upload-control-url"),
];

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
