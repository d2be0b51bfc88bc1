//! The steps of upstreams at the Gemini API and at Vertex AI. Each ends with one `countTokens`, which costs
//! nothing and finds what is wrong with key, project, role and location.

use http::StatusCode;

use super::credentials::token_step;
use super::{Step, StepResult, remedy};
use crate::context::RequestContext;
use crate::error::Error;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::settings::CredentialsJson;
use crate::settings::{AccountSettings, GoogleCredentials, VertexAuth};
use crate::upstream::{Counted, Upstream, VertexAccount};

impl Proxy {
    /// Checks key, endpoint and one count. Whether the key's project pays is in no answer of Google's.
    pub(super) async fn check_gemini_api<P: Platform>(
        &self,
        platform: &P,
        upstream: &Upstream,
    ) -> Vec<Step> {
        let mut steps = vec![
            Step::ok("credentials", "an API key"),
            Step::ok("endpoint", self.endpoints_of(upstream)),
        ];
        let counted = self.count(platform, upstream).await;
        steps.push(match &counted.tokens {
            Ok(tokens) => count_step(*tokens, &counted.model, "the Gemini API"),
            // The key is good if Google has looked for the model, and the proxy has named it.
            Err(error) if is_not_found(error) && counted.is_default => {
                Step::warn("count", error.message(), UNKNOWN_MODEL)
            }
            Err(error) => Step::fail("count", error, remedy::gemini_api(error)),
        });
        steps
    }

    /// Checks credentials, token, project and location, and one count, and stops at the first failure.
    pub(super) async fn check_vertex<P: Platform>(
        &self,
        platform: &P,
        upstream: &Upstream,
        account: &VertexAccount,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        match upstream.calls.auth.credentials() {
            None => steps.push(Step::ok("credentials", "an API key of express mode")),
            Some(credentials) => {
                let (summary, refreshed) = match credentials.check(platform).await {
                    Ok(checked) => checked,
                    Err(error) => return vec![Step::fail("credentials", &error, None)],
                };
                let kind = summary.kind.unwrap_or("a credential");
                let place = self.place_of(upstream, kind);
                steps.push(Step::ok("credentials", format!("{kind}, from {place}")));
                if let Some(step) = token_step(platform, refreshed, None) {
                    let is_usable = step.result != StepResult::Fail;
                    steps.push(step);
                    if !is_usable {
                        return steps;
                    }
                }
            }
        }
        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        if let (Err(error), _) = account.paths(&upstream.calls, &mut context, now).await {
            steps.push(Step::fail("project", &error, None));
            return steps;
        }
        steps.push(Step::ok("project", account.place()));
        steps.push(Step::ok("endpoint", self.endpoints_of(upstream)));
        let counted = self.count(platform, upstream).await;
        steps.push(match &counted.tokens {
            Ok(tokens) => count_step(*tokens, &counted.model, "Vertex AI"),
            // Every model is at this location, so that the name is at fault, which is the proxy's.
            Err(error) if is_not_found(error) && counted.is_default && account.is_global() => {
                Step::warn("count", error.message(), UNKNOWN_MODEL)
            }
            Err(error) => Step::fail("count", error, remedy::vertex(error)),
        });
        steps
    }

    async fn count<P: Platform>(&self, platform: &P, upstream: &Upstream) -> Counted {
        let mut context = RequestContext::own(platform, &self.metrics, platform.now());
        let aliases = &self.reloadable().model_aliases;
        upstream.count_tokens(&mut context, aliases).await
    }

    fn endpoints_of(&self, upstream: &Upstream) -> String {
        let configured = &self.settings.upstreams[upstream.id.position()];
        configured.endpoints.join(", ")
    }

    /// Where a credential of Google Cloud comes from.
    fn place_of(&self, upstream: &Upstream, kind: &str) -> String {
        let configured = &self.settings.upstreams[upstream.id.position()];
        let AccountSettings::Vertex(vertex) = &configured.account else { return String::new() };
        match &vertex.auth {
            VertexAuth::Google(GoogleCredentials::Json(CredentialsJson { name, .. })) => {
                (*name).to_owned()
            }
            VertexAuth::Google(GoogleCredentials::File(path)) => path.clone(),
            VertexAuth::Google(GoogleCredentials::Search) if kind == METADATA_SERVER => {
                self.settings.metadata_host.clone().unwrap_or_default()
            }
            VertexAuth::Google(GoogleCredentials::Search) => {
                self.settings.adc_file.clone().unwrap_or_default()
            }
            VertexAuth::ApiKey(_) => "VERTEX_API_KEY".to_owned(),
        }
    }
}

fn count_step(tokens: Option<u64>, model: &str, whom: &str) -> Step {
    match tokens {
        Some(_) => Step::ok("count", format!("{whom} answers, for {model}")),
        None => Step::failed("count", format!("{whom} answers with something that is no count")),
    }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Upstream(error) if error.http == StatusCode::NOT_FOUND)
}

/// For a model that the proxy has chosen.
const UNKNOWN_MODEL: &str = "the account works, only this model is not there: see \
    `code-assist-proxy models` for those that are";

const METADATA_SERVER: &str = "metadata server";
