//! The list of models, and one model, for clients of OpenAI's and Anthropic's dialects.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use super::unknown_model;
use crate::context::RequestContext;
use crate::dialect::gemini::models::{Model, bare};
use crate::dialect::route::ModelsPage;
use crate::dialect::translate::models::normalized;
use crate::dialect::{Dialect, anthropic, openai};
use crate::error::Error;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::proxy::allowed::check_model;
use crate::proxy::choose::Asked;
use crate::proxy::prepare::MODEL;
use crate::proxy::respond::{self, Answer, put};
use crate::upstream::{Account, Upstream, UpstreamList};

impl Proxy {
    /// Answers with the models of the first upstream.
    pub(super) async fn translated_models<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        context: &mut RequestContext<P>,
        page: &ModelsPage,
    ) -> Result<Answer<P>, Error> {
        let (upstream, models) = self.listed_models(upstreams, parts, context).await?;
        let models = self.allowed_models(context, upstream, models);
        let body = match context.dialect {
            Dialect::Anthropic => anthropic::models::list(&models, page),
            Dialect::Gemini | Dialect::OpenAi => openai::models::list(&models),
        };
        Ok(respond::json(HeaderMap::new(), body))
    }

    /// Answers with one model, under the name that the client uses for it.
    pub(super) async fn translated_model<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        context: &mut RequestContext<P>,
        requested: &str,
    ) -> Result<Answer<P>, Error> {
        let (upstream, models) = self.listed_models(upstreams, parts, context).await?;
        let reloadable = self.reloadable();
        let name = normalized(requested);
        let found = |id: &str| models.iter().find(|model| *model.id == *bare(id));
        let resolved = upstream.model(name, &reloadable.model_aliases);
        check_model(context, resolved)?;
        let model = found(name).or_else(|| found(resolved));
        let model = model.ok_or_else(|| unknown_model(requested))?;
        let mut headers = HeaderMap::new();
        if *model.id != *requested {
            put(&mut headers, MODEL, &*model.id);
        }
        let body = match context.dialect {
            Dialect::Anthropic => anthropic::models::one(model, requested),
            Dialect::Gemini | Dialect::OpenAi => openai::models::one(model, requested),
        };
        Ok(respond::json(headers, body))
    }

    async fn listed_models<'a, P: Platform>(
        &self,
        upstreams: &'a UpstreamList,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Result<(&'a Upstream, Arc<[Model]>), Error> {
        let asked = Asked { operation: context.operation, model: "" };
        let (upstream, _) = self.candidates(upstreams, parts, asked)?;
        self.use_upstream(upstreams, upstream, context);
        let models = match &upstream.account {
            Account::CodeAssist(account) => {
                let began = context.platform().now();
                account.models.models(context, began).await?
            }
            Account::GeminiApi(_) => upstream.gemini_api_models(context).await?,
            Account::Vertex(account) => upstream.vertex_models(account, context).await?,
        };
        Ok((upstream, models))
    }
}
