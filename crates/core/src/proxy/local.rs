//! Answers that the proxy gives itself: its name, its health and its metrics.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::respond::{Answer, AnswerBody, JSON};
use super::root::{self, ServedPort};
use super::{Proxy, page};
use crate::dialect::gemini::route::{self, Route};
use crate::error::Error;
use crate::metrics::{ExpositionFormat, HealthInput, UpstreamInput};
use crate::platform::{AdminPort, Platform, ProcessStats};
use crate::settings::Settings;

impl Proxy {
    /// Answers `GET /`, `/health`, `/health/detailed`, `/live`, `/metrics`, `/ready` and `OPTIONS *`,
    /// without an upstream call, the store or waiting.
    pub(super) fn local<P: Platform>(
        &self,
        platform: &P,
        route: &Route,
        parts: &Parts,
    ) -> Answer<P> {
        let mut headers = HeaderMap::new();
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let accept = accept.unwrap_or_default();
        let (status, body) = match route {
            Route::Options => {
                headers.extend(self.reloadable().access.preflight(&parts.headers));
                (StatusCode::NO_CONTENT, Bytes::new())
            }
            Route::Live | Route::Ready => {
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(CACHE_CONTROL, NO_STORE);
                match route {
                    Route::Live => (StatusCode::OK, Bytes::from_static(br#"{"status":"live"}"#)),
                    _ => self.readiness(platform),
                }
            }
            Route::Health | Route::HealthDetailed => {
                let input = self.health_input(platform);
                let (ok, body) = match route {
                    Route::Health => self.metrics.health(&input),
                    _ => {
                        let process_stats = platform.process_stats();
                        self.metrics.health_detailed(&HealthInput { process_stats, ..input })
                    }
                };
                let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(CACHE_CONTROL, NO_STORE);
                (status, Bytes::from(body))
            }
            Route::Metrics { format } => {
                let format = ExpositionFormat::choose(format.as_deref(), accept);
                headers.insert(CONTENT_TYPE, format.content_type());
                headers.insert(CACHE_CONTROL, NO_STORE);
                headers.insert(VARY, HeaderValue::from_static("Accept"));
                let process_stats = platform.process_stats();
                let keys = self.keys_input(platform);
                let input = HealthInput { process_stats, keys, ..self.health_input(platform) };
                (StatusCode::OK, Bytes::from(self.metrics.exposition(&input, format)))
            }
            _ if accepts_html(parts) => {
                let page = page::page(self.has_try(parts));
                headers.extend(page.headers());
                (StatusCode::OK, Bytes::from_static(page.html.as_bytes()))
            }
            _ => {
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(VARY, HeaderValue::from_static("Accept"));
                (StatusCode::OK, Bytes::from(root::body(&self.settings, self.port(parts))))
            }
        };
        Answer { status, headers, body: AnswerBody::Whole(body) }
    }

    /// Returns the route if the port that the request came through serves it. With `ADMIN_PORT` set,
    /// that port serves what concerns the operator, and the main port the rest; both serve the checks
    /// of load balancers.
    pub(super) fn on_port(&self, route: Route, parts: &Parts) -> Result<Route, Error> {
        let port = self.port(parts);
        if port == ServedPort::Only {
            return Ok(route);
        }
        let on_admin_port = port == ServedPort::Admin;
        let is_served = match &route {
            Route::Health | Route::Live | Route::Ready | Route::Options | Route::Usage => true,
            Route::Root => on_admin_port || !accepts_html(parts),
            Route::HealthDetailed | Route::Metrics { .. } => on_admin_port,
            _ => !on_admin_port,
        };
        if is_served { Ok(route) } else { Err(route::not_found(&parts.method, &parts.uri).into()) }
    }

    /// Whether the status page can send a prompt: the port serves the API, and the operator wants it.
    fn has_try(&self, parts: &Parts) -> bool {
        let Settings { status_page_try, dialects, .. } = &*self.settings;
        *status_page_try && dialects.gemini && self.port(parts) != ServedPort::Admin
    }

    fn port(&self, parts: &Parts) -> ServedPort {
        match self.settings.admin_port {
            None => ServedPort::Only,
            Some(_) if parts.extensions.get::<AdminPort>().is_some() => ServedPort::Admin,
            Some(_) => ServedPort::Main,
        }
    }

    /// Collects the state that health and metrics show besides the counts. The process's statistics are
    /// left out: they cost a few system calls, and `/health` is requested often.
    fn health_input<P: Platform>(&self, platform: &P) -> HealthInput {
        let (clock, now) = (platform.wall_clock(), platform.now());
        let upstreams: Vec<_> =
            self.upstreams.operators.iter().map(|it| it.health(clock, now)).collect();
        HealthInput {
            clock,
            now,
            needs_operators: self.reloadable().needs_operators
                || !upstreams.iter().all(UpstreamInput::has_no_credentials),
            store_connected: platform.store_connected(),
            store_stats: platform.store_stats(),
            upstreams,
            key_logins: self
                .upstreams
                .own()
                .iter()
                .filter_map(|own| own.key_login(clock, now))
                .collect(),
            fails_over: !self.settings.failover.is_off(),
            most_requests: self.settings.max_concurrent_requests,
            most_per_caller: self.permits_per_caller(),
            queue_timeout: self.settings.queue_timeout,
            ready: self.unready_reasons(platform).is_empty(),
            memory_used: self.memory.used(),
            memory_limit: self.memory.limit(),
            process_stats: ProcessStats::default(),
            keys: None,
        }
    }
}

/// True for a browser, which gets the status page.
fn accepts_html(parts: &Parts) -> bool {
    let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
