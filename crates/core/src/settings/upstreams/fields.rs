//! The keys of `[[upstream]]` tables, for the schema of the file.

use crate::settings::{FieldKind, TableField};

/// The keys of an `[[upstream]]` table.
pub const UPSTREAM_FIELDS: &[TableField] = &[
    TableField {
        name: "name",
        kind: FieldKind::Form(
            "at most 32 of a-z, 0-9, `-` and `_`, the first no sign",
            "^[a-z0-9][a-z0-9_-]{0,31}$",
        ),
        doc: "The name in `UPSTREAMS`, headers, log lines and metrics.",
        is_needed: true,
    },
    TableField {
        name: "provider",
        kind: FieldKind::Choice(&["code-assist", "gemini-api", "vertex"]),
        doc: "The kind of API.",
        is_needed: true,
    },
    optional(
        "endpoint",
        "one http(s) base URL, or several of Code Assist, separated by commas",
        "As `CODE_ASSIST_ENDPOINT`, `GEMINI_API_ENDPOINT` or `VERTEX_ENDPOINT`.",
    ),
    optional(
        "api_key",
        "an API key",
        "The API key of the Gemini API, or of express mode at Vertex AI.",
    ),
    optional("api_key_file", "the path of a file with an API key", "In place of `api_key`."),
    optional(
        "credentials",
        "the path of a file with credentials, or its JSON",
        "An `oauth_creds.json` of Code Assist, or as `VERTEX_CREDENTIALS`.",
    ),
    optional(
        "project",
        "a project id, or at Vertex AI its number too",
        "As `GEMINI_PROJECT_ID` or `VERTEX_PROJECT`.",
    ),
    optional("location", "a location of Vertex AI", "As `VERTEX_LOCATION`."),
    optional("api_version", "letters, digits, `_`, `.`, `-`", "As `VERTEX_API_VERSION`."),
    TableField {
        name: "models",
        kind: FieldKind::List("model names, where `*` stands for any text"),
        doc: "The only models that the upstream serves. Default: all.",
        is_needed: false,
    },
    TableField {
        name: "model_map",
        kind: FieldKind::Map("names of models at this upstream, by the names that are asked for"),
        doc: "Other names for models at this upstream.",
        is_needed: false,
    },
];

const fn optional(name: &'static str, form: &'static str, doc: &'static str) -> TableField {
    TableField { name, kind: FieldKind::Text(form), doc, is_needed: false }
}
