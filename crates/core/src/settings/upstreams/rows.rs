//! The settings of upstreams, as rows of the table.

use crate::settings::spec::{Group, Kind, SettingSpec, setting};

pub(in crate::settings) const UPSTREAMS: SettingSpec = setting(
    Group::Upstreams,
    "UPSTREAMS",
    "auto",
    Kind::Text(
        "`auto`, or names separated by commas, each once: `code-assist`, `gemini-api`, `vertex`, and \
         those of `[[upstream]]` tables",
    ),
    "The accounts in use, in order of preference. `auto`: the `[[upstream]]` tables; without any, the \
     first of the three that has a credential.",
);

pub(in crate::settings) const FAILOVER: SettingSpec = setting(
    Group::Upstreams,
    "FAILOVER",
    "off",
    Kind::Text(
        "`off`, `on`, or some of `account`, `quota`, `capacity`, `unreachable`, `not-found`, `billing`, \
         separated by commas",
    ),
    "For which failures the next of `UPSTREAMS` is tried. `on` is all but `billing`, for which `on,billing` \
     asks too: another account pays then.",
);

pub(in crate::settings) const FAILOVER_MODELS: SettingSpec = setting(
    Group::Upstreams,
    "FAILOVER_MODELS",
    "",
    Kind::Text("`model@upstream=name` separated by commas, each `model@upstream` once"),
    "What a model is called at the upstream that stands in. Without an entry the same name is tried.",
);

pub(in crate::settings) const FAILOVER_SIGNATURES: SettingSpec = setting(
    Group::Upstreams,
    "FAILOVER_SIGNATURES",
    "keep",
    Kind::Choice(&["keep", "placeholder"]),
    "Thought signatures are good at their own provider only. `keep`: a body that holds some stays with its \
     upstream. `placeholder`: the upstream that stands in gets Google's placeholder instead, and a header \
     says so.",
);

pub(in crate::settings) const PUBLIC_URL: SettingSpec = setting(
    Group::Upstreams,
    "PUBLIC_URL",
    "",
    Kind::Text("an http(s) base URL without query or login"),
    "The proxy's address as clients see it, for the upload URLs in Google's answers. Default: from the \
     request's `Host`.",
);

pub(in crate::settings) const ALLOW_AUTH_TOKENS: SettingSpec = setting(
    Group::Upstreams,
    "ALLOW_AUTH_TOKENS",
    "false",
    Kind::Switch,
    "Let clients make ephemeral tokens of the Gemini API, with which they call Google without the proxy.",
);

pub(in crate::settings) const GEMINI_API_KEY: SettingSpec = setting(
    Group::GeminiApi,
    "GEMINI_API_KEY",
    "",
    Kind::Text("an API key, in visible ASCII"),
    "The operator's key for the public Gemini API; makes the upstream `gemini-api`.",
)
.alias(&["GOOGLE_API_KEY"])
.secret();

pub(in crate::settings) const GEMINI_API_ENDPOINT: SettingSpec = setting(
    Group::GeminiApi,
    "GEMINI_API_ENDPOINT",
    "https://generativelanguage.googleapis.com",
    Kind::Text("an http(s) base URL without query or login"),
    "Base URL of the Gemini API.",
);

pub(in crate::settings) const VERTEX_PROJECT: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_PROJECT",
    "",
    Kind::Text("the id or number of a Google Cloud project"),
    "The project that is used and billed; makes the upstream `vertex`. With \
     `GOOGLE_GENAI_USE_VERTEXAI=true`, `GOOGLE_CLOUD_PROJECT` counts too.",
);

pub(in crate::settings) const VERTEX_LOCATION: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_LOCATION",
    "global",
    Kind::Text("a location of Google Cloud, such as `global`, `eu` or `us-central1`"),
    "Where requests are processed. Which models there are depends on it.",
)
.alias(&["GOOGLE_CLOUD_LOCATION"]);

pub(in crate::settings) const VERTEX_CREDENTIALS: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_CREDENTIALS",
    "",
    Kind::Text("a JSON object, plain or in base64, or the path of a file that holds one"),
    "Google credentials: `authorized_user`, `service_account`, `external_account` or \
     `impersonated_service_account`. Default: the file of `gcloud auth application-default login`, else \
     the metadata server.",
)
.alias(&["GOOGLE_APPLICATION_CREDENTIALS"])
.secret();

pub(in crate::settings) const VERTEX_API_KEY: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_API_KEY",
    "",
    Kind::Text("an API key, in visible ASCII"),
    "A key of Vertex AI's express mode. It is used only without `VERTEX_PROJECT`, and has no location.",
)
.secret();

pub(in crate::settings) const VERTEX_ENDPOINT: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_ENDPOINT",
    "",
    Kind::Text("an http(s) base URL without query or login"),
    "Base URL of Vertex AI. Default: that of the location.",
);

pub(in crate::settings) const VERTEX_API_VERSION: SettingSpec = setting(
    Group::Vertex,
    "VERTEX_API_VERSION",
    "v1beta1",
    Kind::Text("letters, digits, `_`, `.`, `-`"),
    "The version in Vertex AI's paths. Clients in Vertex mode choose their own.",
);

pub(in crate::settings) const GOOGLE_GENAI_USE_VERTEXAI: SettingSpec = setting(
    Group::Vertex,
    "GOOGLE_GENAI_USE_VERTEXAI",
    "false",
    Kind::Switch,
    "The variable of Google's libraries: `GOOGLE_CLOUD_PROJECT` is then the project of Vertex AI, where \
     `VERTEX_PROJECT` is unset.",
);

pub(in crate::settings) const GOOGLE_CLOUD_QUOTA_PROJECT: SettingSpec = setting(
    Group::Vertex,
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "",
    Kind::Text("the id or number of a Google Cloud project"),
    "The project whose quota counts, in place of the credentials' own `quota_project_id`.",
);

pub(in crate::settings) const GCE_METADATA_HOST: SettingSpec = setting(
    Group::Vertex,
    "GCE_METADATA_HOST",
    "metadata.google.internal",
    Kind::Text("a host name or address, with or without `:port`"),
    "The metadata server, which is asked without TLS and without an outgoing proxy.",
);

pub(in crate::settings) const NO_GCE_CHECK: SettingSpec =
    setting(Group::Vertex, "NO_GCE_CHECK", "false", Kind::Switch, "Never ask the metadata server.");
