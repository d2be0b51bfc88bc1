//! What an error tells besides its message: headers, details for programs, links.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};

use super::Error;
use crate::google::status::Link;

impl Error {
    /// The headers that belong to the error in any dialect: `Allow`,
    /// `WWW-Authenticate`, and `Retry-After` in whole seconds. The seconds are rounded up, since a client
    /// that retries a moment early would be refused again.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Self::ApiKeyExpired { .. } | Self::ApiKeyInvalid | Self::ApiKeyMissing => {
                // `Basic` would make browsers ask for a password.
                let challenge = HeaderValue::from_static("Bearer realm=\"code-assist-proxy\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        if let Some(after) = self.retry_after() {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers
    }

    /// Details for programs, besides the reason.
    pub(crate) fn metadata(&self) -> Vec<(Cow<'static, str>, String)> {
        match self {
            Self::AccountIneligible { reasons, .. } if !reasons.is_empty() => {
                let codes: Vec<&str> = reasons.iter().map(|(code, _)| code.as_str()).collect();
                vec![(Cow::Borrowed("upstreamReasons"), codes.join(","))]
            }
            Self::BudgetExhausted(budget) => vec![
                (Cow::Borrowed("budget"), budget.budget.to_owned()),
                (Cow::Borrowed("limit"), budget.limit.clone()),
                (Cow::Borrowed("used"), budget.used.clone()),
                (Cow::Borrowed("resets_at"), budget.resets_at.rfc3339()),
            ],
            Self::CircuitOpen { model: Some(model), .. }
            | Self::ModelNotAllowed { model: Some(model) } => {
                vec![(Cow::Borrowed("model"), model.clone())]
            }
            Self::NeedsProject { what, upstream, others } => {
                not_offered(what, Some(upstream), others)
            }
            Self::NotOffered { what, upstream, others, provider, .. } => {
                let mut known = not_offered(what, upstream.as_ref(), others);
                let provider = provider.filter(|_| others.is_empty());
                known.extend(provider.map(|name| (Cow::Borrowed("offeredBy"), name.to_owned())));
                known
            }
            Self::ValidationRequired { link: Some(link), .. } => {
                vec![(Cow::Borrowed("validation_url"), link.clone())]
            }
            _ => Vec::new(),
        }
    }

    /// Details of Google's own for programs, a JSON array; empty if there are none.
    pub(crate) fn google_details(&self) -> &[u8] {
        match self {
            Self::CredentialsRejected { details, .. } | Self::KeyRefused { details, .. } => details,
            _ => &[],
        }
    }

    /// Links to pages that help.
    pub(crate) fn links(&self) -> Vec<Link> {
        match self {
            Self::AccountIneligible { .. } => vec![SET_UP_LICENCE, API_KEY],
            Self::ProjectRequired { .. } => vec![SET_UP_LICENCE],
            Self::ValidationRequired { link: Some(link), .. } => {
                vec![Link {
                    description: Cow::Borrowed("Verify your account"),
                    url: Cow::Owned(link.clone()),
                }]
            }
            Self::NotOffered { provider: Some("gemini-api"), .. } => vec![API_KEY],
            _ => Vec::new(),
        }
    }
}

fn not_offered(
    what: &str,
    upstream: Option<&String>,
    others: &[String],
) -> Vec<(Cow<'static, str>, String)> {
    let mut known = vec![(Cow::Borrowed("asked"), what.to_owned())];
    known.extend(upstream.map(|name| (Cow::Borrowed("upstream"), name.clone())));
    if !others.is_empty() {
        known.push((Cow::Borrowed("offeredBy"), others.join(",")));
    }
    known
}

const SET_UP_LICENCE: Link = Link {
    description: Cow::Borrowed("Set up Gemini Code Assist Standard or Enterprise"),
    url: Cow::Borrowed("https://cloud.google.com/gemini/docs/codeassist/set-up-gemini"),
};

const API_KEY: Link = Link {
    description: Cow::Borrowed("Get a Gemini API key"),
    url: Cow::Borrowed("https://aistudio.google.com/apikey"),
};
