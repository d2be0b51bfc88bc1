//! The list of models, and one model, for clients of OpenAI's and Anthropic's dialects.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use crate::context::RequestContext;
use crate::dialect::gemini::models::{Model, bare};
use crate::dialect::route::ModelsPage;
use crate::dialect::translate::models::{DialectModel, normalized, not_found};
use crate::dialect::{Dialect, anthropic, openai};
use crate::error::Error;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::proxy::choose::Asked;
use crate::proxy::prepare::MODEL;
use crate::proxy::respond::{self, Answer, put};
use crate::upstream::{Account, ListedModel, Upstream};

/// The models of an upstream, as its provider lists them.
enum UpstreamList {
    /// What the proxy keeps.
    Known(Arc<[Model]>),
    /// What the Gemini API has just said.
    Listed(Vec<ListedModel>),
}

impl UpstreamList {
    fn models(&self) -> Vec<DialectModel<'_>> {
        match self {
            Self::Known(models) => models.iter().map(DialectModel::from).collect(),
            Self::Listed(models) => models.iter().map(DialectModel::from).collect(),
        }
    }
}

impl<'a> From<&'a ListedModel> for DialectModel<'a> {
    fn from(listed: &'a ListedModel) -> Self {
        let generates = listed.methods.iter().any(|method| method == "generateContent");
        Self::named(&listed.id, listed.limits, generates)
    }
}

impl Proxy {
    /// Answers with the models of the first upstream.
    pub(super) async fn translated_models<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
        page: &ModelsPage,
    ) -> Result<Answer<P>, Error> {
        let (_, list) = self.listed_models(parts, context).await?;
        let models = list.models();
        let body = match context.dialect {
            Dialect::Anthropic => anthropic::models::list(&models, page)?,
            Dialect::Gemini | Dialect::OpenAi => openai::models::list(&models),
        };
        Ok(respond::json(HeaderMap::new(), body))
    }

    /// Answers with one model, under the name that the client uses for it.
    pub(super) async fn translated_model<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
        requested: &str,
    ) -> Result<Answer<P>, Error> {
        let (upstream, list) = self.listed_models(parts, context).await?;
        let models = list.models();
        let reloadable = self.reloadable();
        let name = normalized(requested);
        let found = |id: &str| models.iter().find(|model| *model.id == *bare(id));
        let resolved = upstream.model(name, &reloadable.model_aliases);
        let model = found(name).or_else(|| found(resolved));
        let model = model.ok_or_else(|| not_found(requested))?;
        let mut headers = HeaderMap::new();
        if *model.id != *requested {
            put(&mut headers, MODEL, &*model.id);
        }
        let model = DialectModel { id: requested.into(), ..model.clone() };
        let body = match context.dialect {
            Dialect::Anthropic => anthropic::models::one(&model),
            Dialect::Gemini | Dialect::OpenAi => openai::models::one(&model),
        };
        Ok(respond::json(headers, body))
    }

    async fn listed_models<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Result<(&Upstream, UpstreamList), Error> {
        let asked = Asked { operation: context.operation, model: "" };
        let (upstream, _) = self.candidates(parts, asked)?;
        self.use_upstream(upstream, context);
        let list = match &upstream.account {
            Account::CodeAssist(account) => {
                let began = context.platform().now();
                UpstreamList::Known(account.models.models(context, began).await?)
            }
            Account::GeminiApi(_) => UpstreamList::Listed(upstream.own_models(context).await?),
            Account::Vertex(account) => {
                UpstreamList::Known(upstream.vertex_models(account, context).await?)
            }
        };
        Ok((upstream, list))
    }
}
