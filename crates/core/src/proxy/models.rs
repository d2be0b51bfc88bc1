//! The list of models, and one model, as the upstream has them.

use http::HeaderMap;
use http::request::Parts;

use super::Proxy;
use super::allowed::check_model;
use super::choose::Asked;
use super::prepare::MODEL;
use super::respond::{self, Answer, put};
use crate::context::RequestContext;
use crate::dialect::gemini::models;
use crate::dialect::gemini::route::{ClientMode, PathForm, Route};
use crate::error::Error;
use crate::platform::Platform;
use crate::upstream::{Account, CodeAssistAccount, Upstream, UpstreamList, VertexAccount};

impl Proxy {
    /// Answers a request for the models or for one of them. The first upstream's list counts: what another
    /// one has besides is served only if that one is asked.
    pub(super) async fn answer_models<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        context: &mut RequestContext<P>,
        route: &Route,
        form: PathForm,
    ) -> Result<Answer<P>, Error> {
        let asked = Asked { operation: context.operation, model: "" };
        let (upstream, _) = self.candidates(upstreams, parts, asked)?;
        self.use_upstream(upstreams, upstream, context);
        match (&upstream.account, route) {
            (Account::GeminiApi(_), _) => {
                self.copy_models(parts, context, route, form, upstream).await
            }
            (Account::Vertex(account), _) if form.mode == ClientMode::Vertex => {
                self.copy_catalogue(parts, context, route, (upstream, account)).await
            }
            (Account::Vertex(account), Route::Models { page_size, page_token, .. }) => {
                let models = upstream.vertex_models(account, context).await?;
                let models = self.allowed_models(context, upstream, models);
                let body = models::list(&models, *page_size, page_token.as_deref())?;
                Ok(respond::json(HeaderMap::new(), body))
            }
            (Account::Vertex(account), Route::Model { model, .. }) => {
                self.vertex_model(context, model, (upstream, account)).await
            }
            (Account::CodeAssist(account), Route::Models { page_size, page_token, .. }) => {
                let began = context.platform().now();
                let models = account.models.models(context, began).await?;
                let models = self.allowed_models(context, upstream, models);
                let body = models::list(&models, *page_size, page_token.as_deref())?;
                Ok(respond::json(HeaderMap::new(), body))
            }
            (Account::CodeAssist(account), Route::Model { model, .. }) => {
                self.model(context, model, (upstream, account)).await
            }
            _ => Err(Error::Internal),
        }
    }

    /// Answers with one model of Vertex AI. For an alias it is the model that the alias stands for.
    async fn vertex_model<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        requested: &str,
        (upstream, account): (&Upstream, &VertexAccount),
    ) -> Result<Answer<P>, Error> {
        let reloadable = self.reloadable();
        let model = upstream.model(requested, &reloadable.model_aliases);
        check_model(context, model)?;
        let found = upstream.vertex_model(account, model, context).await?;
        let found = found.as_slice();
        let Some(body) = models::one(found, model) else {
            return Err(Error::NotFound { what: format!("models/{requested}") });
        };
        let mut headers = HeaderMap::new();
        if model != requested {
            put(&mut headers, MODEL, model);
        }
        Ok(respond::json(headers, body))
    }

    /// Answers with one model of Code Assist. For an alias it is the model that the alias stands for.
    async fn model<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        requested: &str,
        (upstream, account): (&Upstream, &CodeAssistAccount),
    ) -> Result<Answer<P>, Error> {
        let began = context.platform().now();
        let models = account.models.models(context, began).await?;
        let reloadable = self.reloadable();
        let model = upstream.model(requested, &reloadable.model_aliases);
        check_model(context, model)?;
        if let Some(body) = models::one(&models, requested) {
            return Ok(respond::json(HeaderMap::new(), body));
        }
        let Some(body) = models::one(&models, model) else {
            return Err(Error::NotFound { what: format!("models/{requested}") });
        };
        let mut headers = HeaderMap::new();
        if model != requested {
            put(&mut headers, MODEL, model);
        }
        Ok(respond::json(headers, body))
    }
}
