//! The life of a request that is copied to Vertex AI and back. The project and location in its path, and in the
//! names in its body, become the operator's.

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body::Body;

use super::{named, no_list, of_verb};
use crate::context::{ChargeRule, RequestContext};
use crate::dialect::CopiedKind;
use crate::dialect::gemini::models::bare;
use crate::dialect::gemini::route::{CopiedPath, Route, VertexResource};
use crate::error::Error;
use crate::payload::Payload;
use crate::platform::{Platform, RequestBodyError};
use crate::provider::ProviderKind;
use crate::provider::edits::AdaptedRequest;
use crate::provider::forward;
use crate::provider::gemini_api::copied::Repeats;
use crate::provider::request::UpstreamRequest;
use crate::provider::vertex::adapt;
use crate::provider::vertex::copied::{self, CopyRule};
use crate::provider::vertex::path::VertexPaths;
use crate::provider::vertex_client::{self, VertexClientError};
use crate::proxy::Proxy;
use crate::proxy::allowed::{allows_listed, check_model, check_resource, only_allowed, restricted};
use crate::proxy::choose::{Asked, path_error};
use crate::proxy::dropped::put_dropped;
use crate::proxy::prepare::MODEL;
use crate::proxy::respond::{self, Answer, put};
use crate::upstream::{Account, Upstream, UpstreamList, VertexAccount};

impl Proxy {
    /// Copies a request of a client in Vertex mode that is no call of a Gemini model.
    pub(in crate::proxy) async fn vertex_resource<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        resource: &VertexResource,
    ) -> Result<Answer<P>, Error> {
        let model = resource.model().unwrap_or_default();
        let what = resource.what();
        if upstreams.is_code_assist_alone() {
            let model = resource.model().map(str::to_owned);
            let what = what.to_owned();
            let (others, provider) = (Vec::new(), Some(ProviderKind::Vertex.word()));
            return Err(Error::NotOffered { what, model, upstream: None, others, provider });
        }
        let asked = Asked { operation: context.operation, model };
        let (upstream, _) =
            self.candidates(upstreams, parts, asked).map_err(|error| named(error, what))?;
        let Account::Vertex(account) = &upstream.account else { return Err(Error::Internal) };
        check_resource(context, &parts.method, resource)?;
        let rule = copied::rule(&parts.method, &resource.rest);
        let Some(rule) = rule else { return Err(not_copied(what, upstream)) };
        self.use_upstream(upstreams, upstream, context);
        context.model = model.into();
        let now = context.platform().now();
        let (paths, _) = account.paths(&upstream.calls, context, now).await;
        let paths = paths?;
        let path = copied::path(paths, parts, resource);
        let path = path.map_err(|why| path_error(why, what, upstream))?;
        let target = VertexCopy { upstream, account, paths, path, rule, of_gemini: false };
        self.copy_to_vertex(parts, body, context, target).await
    }

    /// Copies a request of the Gemini API that Vertex AI has too, in the operator's project.
    pub(in crate::proxy) async fn copy_gemini_path<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        gemini: &CopiedPath,
        (upstream, account): (&Upstream, &VertexAccount),
    ) -> Result<Answer<P>, Error> {
        let reloadable = self.reloadable();
        let requested = gemini.model.as_deref().unwrap_or_default();
        let model = upstream.model(requested, &reloadable.model_aliases);
        context.model = model.into();
        let rest = copied::of_gemini_path(gemini, model);
        let known = rest.and_then(|rest| Some((copied::rule(&parts.method, &rest)?, rest)));
        let Some((rule, rest)) = known else { return Err(not_copied(gemini.what(), upstream)) };
        let now = context.platform().now();
        let (paths, _) = account.paths(&upstream.calls, context, now).await;
        let paths = paths?;
        let query = forward::query(parts.uri.query().unwrap_or_default());
        let path = paths.below(None, &rest, query.strip_prefix('?'));
        let path = path.map_err(|why| path_error(why, gemini.what(), upstream))?;
        let of_gemini = gemini.kind == CopiedKind::CachedContents;
        let target = VertexCopy { upstream, account, paths, path, rule, of_gemini };
        let mut answer = self.copy_to_vertex(parts, body, context, target).await?;
        if model != requested {
            put(&mut answer.headers, MODEL, model);
        }
        Ok(answer)
    }

    /// Copies the catalogue of Google's models, or one of them.
    pub(in crate::proxy) async fn copy_catalogue<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
        route: &Route,
        (upstream, account): (&Upstream, &VertexAccount),
    ) -> Result<Answer<P>, Error> {
        let reloadable = self.reloadable();
        let mut more = HeaderMap::new();
        let model = match route {
            Route::Model { model, .. } => {
                let found = upstream.model(model, &reloadable.model_aliases);
                if found != bare(model) {
                    put(&mut more, MODEL, found);
                }
                context.model = found.into();
                check_model(context, found)?;
                Some(found)
            }
            _ => None,
        };
        let now = context.platform().now();
        let (paths, now) = account.paths(&upstream.calls, context, now).await;
        let paths = paths?;
        let query = forward::query(parts.uri.query().unwrap_or_default());
        let path = paths.catalogue(model, query.strip_prefix('?'));
        let path = path.map_err(|why| path_error(why, "models", upstream))?;
        let own = account.catalogue_headers(&upstream.calls, paths);
        if model.is_none()
            && let Some(holder) = restricted(context).cloned()
        {
            let list = UpstreamRequest::new(Method::GET, Ok(path), Payload::default());
            let list = list.with_headers(own);
            let page = Box::pin(upstream.calls.call(&list, context)).await?;
            let is_allowed =
                |name: &str| allows_listed(&holder, upstream, name, &reloadable.model_aliases);
            let page = only_allowed(&page, "publisherModels", is_allowed).ok_or_else(no_list)?;
            return Ok(respond::json(HeaderMap::new(), page));
        }
        let request = copied::request(parts, path, own, None).repeatable();
        upstream.calls.check_breakers(request.counts_for(), "", now)?;
        let answer = Box::pin(upstream.calls.copy(&request, context, now)).await?;
        Ok(respond::copied(answer, |headers| headers.extend(more), context))
    }

    async fn copy_to_vertex<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        target: VertexCopy<'_>,
    ) -> Result<Answer<P>, Error> {
        let VertexCopy { upstream, account, paths, path, rule, of_gemini } = target;
        let calls = &upstream.calls;
        self.reserve_for_copy(parts, charge_rule(parts, &path, &rule), context).await?;
        let own = account.headers(calls, None);
        let mut more = HeaderMap::new();
        let answer = if rule.has_names {
            let body = self.intake(parts, body, context).await?;
            let read = if of_gemini { adapt::cached_content } else { vertex_names };
            let read = self.with_own_names(&body, (paths, read), context, &mut more).await?;
            let request = copied::request(parts, path, own, Some(read.clone()));
            let now = context.platform().now();
            calls.check_breakers(request.counts_for(), &context.model, now)?;
            let mut read = Box::pin(read);
            let sending = calls.copy_streamed(&request, read.as_mut(), rule.repeats, context, now);
            Box::pin(sending).await?
        } else {
            let request = copied::request(parts, path, own, None);
            self.send_copy(upstream, (request, rule.repeats), body, context).await?
        };
        let edit = |headers: &mut HeaderMap| headers.extend(more);
        Ok(respond::copied(answer, edit, context))
    }

    /// The body with the operator's project and location in its names. An empty one has no names.
    async fn with_own_names<P: Platform>(
        &self,
        body: &Bytes,
        (paths, read): (&VertexPaths, ReadNames),
        context: &mut RequestContext<P>,
        headers: &mut HeaderMap,
    ) -> Result<Payload, Error> {
        if body.is_empty() {
            return Ok(Payload::default());
        }
        let adapted = match read(body, paths) {
            Err(VertexClientError::Json(refused)) => {
                let paths = paths.clone();
                let read = move |text: &Bytes| read(text, &paths);
                Box::pin(self.read_leniently(body, refused, read, context, headers)).await?
            }
            adapted => adapted?,
        };
        put_dropped(headers, adapted.dropped.iter());
        Ok(adapted.request)
    }
}

/// How a request is charged.
fn charge_rule(parts: &Parts, path: &PathAndQuery, rule: &CopyRule) -> ChargeRule {
    let last = path.path().rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        _ if parts.method != Method::POST => ChargeRule::Nothing,
        Some((_, verb)) => of_verb(Some(verb)),
        None if last == "batchPredictionJobs" => ChargeRule::Prompt,
        None if last == "interactions" || last == "completions" => ChargeRule::PromptAndAnswer,
        // Tuning has no model answer a request.
        None => match rule.repeats {
            Repeats::Never => ChargeRule::Prompt,
            Repeats::Always | Repeats::Unsent => ChargeRule::Nothing,
        },
    }
}

/// A request that is copied to an upstream at Vertex AI.
struct VertexCopy<'a> {
    upstream: &'a Upstream,
    account: &'a VertexAccount,
    paths: &'a VertexPaths,
    path: PathAndQuery,
    rule: CopyRule,
    /// The body is in the form of the Gemini API, which differs.
    of_gemini: bool,
}

/// Reads a body whose names become the operator's.
type ReadNames = fn(&Bytes, &VertexPaths) -> Result<AdaptedRequest, VertexClientError>;

fn vertex_names(body: &Bytes, paths: &VertexPaths) -> Result<AdaptedRequest, VertexClientError> {
    Ok(AdaptedRequest::unedited(vertex_client::at_vertex(body, paths)?))
}

fn not_copied(what: &str, upstream: &Upstream) -> Error {
    let (what, upstream) = (what.to_owned(), Some(upstream.name.to_string()));
    Error::NotOffered { what, model: None, upstream, others: Vec::new(), provider: None }
}
