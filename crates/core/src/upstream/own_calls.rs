//! Calls of the proxy's own for the commands `check` and `models`: one count of tokens, and the list of
//! models.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;

use super::{Account, Upstream, VertexAccount};
use crate::context::RequestContext;
use crate::dialect::gemini::models::{Model, title, version};
use crate::error::Error;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::provider::code_assist;
use crate::provider::request::{UpstreamRequest, path};
use crate::provider::vertex::path::{VertexPathError, VertexPaths};
use crate::settings::ModelAlias;

/// The result of a count of tokens.
#[derive(Debug)]
pub(crate) struct Counted {
    /// The model as it was sent.
    pub(crate) model: String,
    /// The proxy has chosen the model, not the operator.
    pub(crate) is_default: bool,
    /// `None` for an answer that is no count.
    pub(crate) tokens: Result<Option<u64>, Error>,
}

/// One model of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The bare id.
    pub id: String,
    /// Tokens in and out, where they are known.
    pub limits: Option<(u32, u32)>,
    /// The API's methods of the model; empty where they are not known.
    pub methods: Vec<String>,
    /// Google has named the model for this account. The others are built into the proxy.
    pub is_named: bool,
}

impl Upstream {
    /// Counts the tokens of one word, for the first model that the operator lists for the upstream.
    pub(crate) async fn count_tokens<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        aliases: &[ModelAlias],
    ) -> Counted {
        let listed = self.models.iter().map(ToString::to_string).find(|name| !name.contains('*'));
        let is_default = listed.is_none();
        let requested = listed.unwrap_or_else(|| COUNTED_MODEL.to_owned());
        let model = self.model(&requested, aliases).to_owned();
        let tokens = self.count_with(context, &model).await;
        Counted { model, is_default, tokens: tokens.map(|answer| read_count(&answer)) }
    }

    async fn count_with<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        model: &str,
    ) -> Result<Bytes, Error> {
        let body = Payload::from(Bytes::from_static(ONE_WORD));
        let request = match &self.account {
            Account::CodeAssist(account) => account.protocol.count_tokens(body),
            Account::GeminiApi(_) => {
                UpstreamRequest::post(path(format!("/v1beta/models/{model}:countTokens")), body)
            }
            Account::Vertex(account) => {
                let paths = self.paths(account, context).await?;
                let path = paths.method(None, model, "countTokens", None).map_err(no_path)?;
                UpstreamRequest::post(Ok(path), body)
                    .with_headers(account.headers(&self.calls, None))
            }
        };
        self.calls.call(&request, context).await
    }

    /// Asks Google for the models of the account.
    pub(crate) async fn own_models<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<Vec<ListedModel>, Error> {
        match &self.account {
            Account::CodeAssist(account) => {
                let now = context.platform().now();
                let (project, _) = account.projects.project(&self.calls, context, now).await;
                let own = account.models.ask_google(&self.calls, context, &project?).await?;
                let own = own.unwrap_or_default();
                let models = code_assist::models::catalogue(own.iter().map(String::as_str));
                let listed = |model: &Model| ListedModel {
                    is_named: own.iter().any(|id| *id == *model.id),
                    limits: Some((model.input_token_limit, model.output_token_limit)),
                    ..ListedModel::of(model)
                };
                Ok(models.iter().map(listed).collect())
            }
            Account::GeminiApi(_) => {
                let page = |token: &str| path(format!("/v1beta/models?pageSize=1000{token}"));
                self.pages(context, HeaderMap::new(), |token| Ok(page(token)), gemini_page).await
            }
            Account::Vertex(account) => {
                let paths = self.paths(account, context).await?;
                let page = |token: &str| {
                    let query = format!("pageSize=200{token}");
                    paths.catalogue(None, Some(&query)).map(Ok).map_err(no_path)
                };
                let headers = account.catalogue_headers(&self.calls, paths);
                self.pages(context, headers, page, vertex_page).await
            }
        }
    }

    /// The models of an account of the Gemini API, in the form of the other providers' lists.
    pub(crate) async fn gemini_api_models<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<Arc<[Model]>, Error> {
        let listed = self.own_models(context).await?;
        let model = |listed: ListedModel| {
            let usual = (Model::DEFAULTS.input_token_limit, Model::DEFAULTS.output_token_limit);
            let (input_token_limit, output_token_limit) = listed.limits.unwrap_or(usual);
            let generates = listed.methods.iter().any(|method| method == "generateContent");
            Model {
                display_name: Cow::Owned(title(&listed.id)),
                version: Cow::Owned(version(&listed.id)),
                id: Cow::Owned(listed.id),
                input_token_limit,
                output_token_limit,
                supported_generation_methods: if generates {
                    Model::DEFAULTS.supported_generation_methods
                } else {
                    &[]
                },
                ..Model::DEFAULTS
            }
        };
        Ok(listed.into_iter().map(model).collect())
    }

    async fn pages<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        headers: HeaderMap,
        path_of: impl Fn(&str) -> Result<PagePath, Error>,
        read: fn(&[u8]) -> Option<ModelPage>,
    ) -> Result<Vec<ListedModel>, Error> {
        let mut models = Vec::new();
        let mut token = String::new();
        for _ in 0..MOST_PAGES {
            let request = UpstreamRequest::new(Method::GET, path_of(&token)?, Payload::default())
                .with_headers(headers.clone());
            let answer = self.calls.call(&request, context).await?;
            let (page, next) = read(&answer).ok_or_else(|| Error::UpstreamMalformed {
                what: "the list of models is no such list".to_owned(),
            })?;
            models.extend(page);
            match next.filter(|next| !next.is_empty()) {
                Some(next) => {
                    let encoded: String =
                        form_urlencoded::byte_serialize(next.as_bytes()).collect();
                    token = format!("&pageToken={encoded}");
                }
                None => break,
            }
        }
        Ok(models)
    }

    async fn paths<'a, P: Platform>(
        &self,
        account: &'a VertexAccount,
        context: &mut RequestContext<P>,
    ) -> Result<&'a VertexPaths, Error> {
        let now = context.platform().now();
        account.paths(&self.calls, context, now).await.0
    }
}

impl ListedModel {
    fn of(model: &Model) -> Self {
        let methods = model.supported_generation_methods.iter();
        Self {
            id: model.id.clone().into_owned(),
            limits: None,
            methods: methods.map(|method| (*method).to_owned()).collect(),
            is_named: true,
        }
    }
}

/// The models of a page, and what asks for the next one.
type ModelPage = (Vec<ListedModel>, Option<String>);

type PagePath = Result<http::uri::PathAndQuery, crate::provider::request::UrlError>;

fn no_path(why: VertexPathError) -> Error {
    Error::NotFound { what: why.to_string() }
}

fn read_count(answer: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count {
        total_tokens: u64,
    }
    serde_json::from_slice(answer).ok().map(|Count { total_tokens }| total_tokens)
}

fn gemini_page(answer: &[u8]) -> Option<ModelPage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        #[serde(default)]
        models: Vec<Entry>,
        next_page_token: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        name: String,
        input_token_limit: Option<u32>,
        output_token_limit: Option<u32>,
        #[serde(default)]
        supported_generation_methods: Vec<String>,
    }
    let page: Page = serde_json::from_slice(answer).ok()?;
    let listed = |entry: Entry| ListedModel {
        id: entry.name.strip_prefix("models/").unwrap_or(&entry.name).to_owned(),
        limits: entry.input_token_limit.zip(entry.output_token_limit),
        methods: entry.supported_generation_methods,
        is_named: true,
    };
    Some((page.models.into_iter().map(listed).collect(), page.next_page_token))
}

/// The catalogue says nothing of limits.
fn vertex_page(answer: &[u8]) -> Option<ModelPage> {
    let page = crate::provider::vertex::models::page(answer).ok()?;
    Some((page.models.iter().map(ListedModel::of).collect(), page.next_page_token))
}

/// A model that the Gemini API and every location of Vertex AI have today.
const COUNTED_MODEL: &str = "gemini-2.5-flash";

/// The body of a count, which both APIs take.
const ONE_WORD: &[u8] = br#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

/// More than both services have.
const MOST_PAGES: usize = 20;
