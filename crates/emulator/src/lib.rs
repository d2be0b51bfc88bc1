//! A strict stand-in for Google's OAuth endpoints, Code Assist, the Gemini API and Vertex AI, for
//! trials, tests and benchmarks.
//!
//! One port plays `oauth2.googleapis.com` (`/token`, `/tokeninfo`, `/revoke`), the userinfo
//! endpoint (`/oauth2/v2/userinfo`) and those of the providers that [`Played`] names:
//! `cloudcode-pa.googleapis.com`, `generativelanguage.googleapis.com`, `aiplatform.googleapis.com`. It
//! speaks HTTP/1.1 and cleartext HTTP/2. It refuses what the real services refuse and answers in their
//! form. Nothing leaves the machine.
//!
//! Google's credential services come with Vertex AI: the exchange of a service account's JWT, the
//! metadata server, STS and IAM credentials. [`service_account_json`] and its
//! siblings make credential files for it.
//!
//! ```no_run
//! # async fn trial() -> std::io::Result<()> {
//! let google = code_assist_emulator::start(code_assist_emulator::Options::default()).await?;
//! println!("CODE_ASSIST_ENDPOINT={}", google.url());
//! println!("{}", google.credentials());
//! google.stop();
//! # Ok(())
//! # }
//! ```
//!
//! Tests control it over HTTP, under `/__emulator/`:
//!
//! | Request | Does |
//! |---|---|
//! | `POST /__emulator/script` | adds a rule, or a list of rules, each of which changes some of the next answers |
//! | `GET`, `DELETE /__emulator/script` | lists, deletes the rules that are not used up |
//! | `GET`, `DELETE /__emulator/log` | lists, deletes the received requests |
//! | `GET /__emulator/counts` | the number of requests by RPC |
//! | `GET`, `POST /__emulator/state` | shows, changes the account, its tokens and the models |
//! | `GET`, `POST /__emulator/logins` | shows, adds, changes further logins of Code Assist |
//! | `GET`, `POST /__emulator/gemini-api` | shows, changes the keys, models and files of the Gemini API |
//! | `GET`, `POST /__emulator/vertex` | shows, changes the project of Vertex AI and its models |
//! | `GET`, `POST /__emulator/google-auth` | shows, changes how the credential services answer |
//!
//! `docs/EMULATOR.md` in the repository describes every field of a rule and of the state.

#![forbid(unsafe_code)]

mod backend;
mod code_assist;
mod control;
mod emulator;
mod gemini_api;
mod google_auth;
mod log;
mod logins;
mod model;
mod oauth;
mod patch;
mod proto;
mod reply;
mod request;
mod route;
mod script;
mod server;
mod state;
mod status;
mod vertex;

pub use emulator::{Emulator, Options, Played, UnknownProviderError, start};
pub use gemini_api::{API_KEY as GEMINI_API_KEY, STANDARD_API_KEY as GEMINI_STANDARD_API_KEY};
pub use google_auth::{
    AWS_ACCESS_KEY_ID, AWS_REGION, AWS_SECRET_ACCESS_KEY, IdentityPool, SERVICE_ACCOUNT,
    SUBJECT_TOKEN, SubjectSource, TARGET_ACCOUNT, authorized_user_json, external_account_json,
    external_authorized_user_json, impersonated_json, service_account_json, subject_token_json,
};
pub use oauth::ACCESS_TOKEN;
pub use state::PROJECT;
pub use vertex::{
    ACCESS_TOKEN as VERTEX_ACCESS_TOKEN, API_KEY as VERTEX_API_KEY, LOCATION as VERTEX_LOCATION,
    PROJECT as VERTEX_PROJECT,
};
