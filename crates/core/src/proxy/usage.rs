//! `GET /usage`: what keys have used.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Proxy;
use super::local::NO_STORE;
use super::respond::{Answer, AnswerBody, JSON};
use crate::context::RequestContext;
use crate::error::Error;
use crate::keys::usage::{UsageFormat, UsageQuery, UsageReport};
use crate::platform::Platform;
use crate::policy::budget::Day;

impl Proxy {
    /// Answers with the usage of the client's own key, or of all keys if it is an admin's: what the store
    /// has, and what is not in it yet.
    pub(super) async fn usage<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        context.set_aside();
        let Some(holder) = context.holder.clone() else { return Err(Error::UsageNotCounted) };
        let problem = |problem| Error::UsageParameter { problem };
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let parameters = parts.uri.query().unwrap_or_default();
        let format =
            UsageFormat::choose(parameters, accept.unwrap_or_default()).map_err(problem)?;
        let today = Day::of(context.platform().wall_clock());
        let query = UsageQuery::read(parameters, today).map_err(problem)?;
        let own = (!holder.settings.admin).then(|| &**holder.id());
        let rows = context.platform().usage(query.days(), own).await;
        let rows = rows.map_err(|error| Error::UsageUnreadable { why: error.0 })?;
        let report = UsageReport::new(query, rows, Vec::new()).map_err(problem)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            match format {
                UsageFormat::Csv => HeaderValue::from_static("text/csv; charset=utf-8"),
                UsageFormat::Json => JSON,
            },
        );
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        let body = AnswerBody::Whole(Bytes::from(report.write(format)));
        Ok(Answer { status: StatusCode::OK, headers, body })
    }
}
