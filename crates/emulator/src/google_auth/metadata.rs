//! The metadata server of Google's machines.

use serde_json::json;

use crate::google_auth::files::SERVICE_ACCOUNT;
use crate::google_auth::granted::CLOUD_PLATFORM;
use crate::google_auth::{has_flavor, text};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;

/// Answers a path below `/computeMetadata/v1/`.
pub(super) fn answer(path: &str, request: &ApiRequest<'_>, state: &mut State) -> Reply {
    let reply = checked(path, request, state);
    if state.google_auth.metadata_flavor {
        return reply.header("metadata-flavor", "Google").header("server", "Metadata Server");
    }
    reply
}

fn checked(path: &str, request: &ApiRequest<'_>, state: &mut State) -> Reply {
    if !has_flavor(request.headers) {
        return text(403, "Missing Metadata-Flavor:Google header.\n");
    }
    if request.headers.contains_key("via") {
        return refusal("via");
    }
    if state.google_auth.metadata_starting {
        return text(503, "The metadata server is starting.\n");
    }
    match path {
        "" => text(200, "computeMetadata/\n"),
        "project/project-id" => text(200, state.google_auth.metadata_project.clone()),
        "universe/universe-domain" => match &state.google_auth.universe {
            Some(domain) => text(200, domain.clone()),
            None => not_found(),
        },
        _ => match path.strip_prefix("instance/service-accounts/default/") {
            Some(rest) if state.google_auth.metadata_account => account(rest, request, state),
            _ => not_found(),
        },
    }
}

/// What the server knows about the machine's account.
fn account(path: &str, request: &ApiRequest<'_>, state: &mut State) -> Reply {
    match path {
        "email" => text(200, SERVICE_ACCOUNT),
        "scopes" => text(200, format!("{CLOUD_PLATFORM}\n")),
        "" => Reply::ok(&json!({
            "aliases": ["default"],
            "email": SERVICE_ACCOUNT,
            "scopes": [CLOUD_PLATFORM],
        })),
        "token" => {
            if let Some(scopes) = request.query("scopes")
                && scopes.split(',').all(|scope| scope != CLOUD_PLATFORM)
            {
                return text(400, "The scope of the machine is cloud-platform.\n");
            }
            let lifetime = state.token_lifetime();
            let (token, seconds) = state.granted.of_machine(lifetime);
            Reply::ok(&json!({
                "access_token": token,
                "expires_in": seconds,
                "token_type": "Bearer",
            }))
        }
        _ => not_found(),
    }
}

/// The server refuses a request that came through a proxy, or that has a credential.
pub(super) fn refusal(name: &str) -> Reply {
    text(403, format!("Forbidden header: {name}\n"))
}

fn not_found() -> Reply {
    text(404, "Not Found\n")
}
