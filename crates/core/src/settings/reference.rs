//! `docs/CONFIG.md` and the Worker's `.dev.vars.example`, written from the table.

use std::fmt::Write as _;

use super::keys::{KEY_FIELDS, PRICE_FIELDS, TableField};
use super::spec::{Group, Secrecy, SettingSpec};
use super::table::SETTINGS;
use super::worker::{is_for_worker, worker_default};

/// The reference of all settings in Markdown.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for group in Group::ALL {
        page.push_str("\n## ");
        page.push_str(group.title());
        page.push_str("\n\n| Name | Default | Accepts | Meaning |\n|---|---|---|---|\n");
        for spec in SETTINGS.iter().filter(|spec| spec.group == *group) {
            // Writing to a string cannot fail.
            let _ = row(&mut page, spec);
        }
    }
    page.push_str(TABLES);
    page.push_str(KEY_TABLES);
    fields(&mut page, "[[key]]", KEY_FIELDS);
    fields(&mut page, "[[price]]", PRICE_FIELDS);
    page.push_str(KEY_RULES);
    page
}

fn fields(page: &mut String, table: &str, fields: &[TableField]) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n| Key of `{table}` | Accepts | Meaning |\n|---|---|---|");
    for TableField { name, kind, doc, is_needed } in fields {
        let needed = if *is_needed { " Needed." } else { "" };
        let _ =
            writeln!(page, "| `{name}` | {} | {}{needed} |", cell(&kind.to_string()), cell(doc));
    }
}

/// The Worker's example of variables and secrets: every setting that a Worker has, commented out,
/// with its default.
pub fn worker_example() -> String {
    let mut page = String::from(WORKER_INTRODUCTION);
    for group in Group::ALL {
        let specs: Vec<&SettingSpec> =
            SETTINGS.iter().filter(|spec| spec.group == *group && is_for_worker(spec)).collect();
        if specs.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n## {}", group.title());
        for spec in specs {
            let secret = if spec.secrecy == Secrecy::Open { "" } else { " A secret." };
            let _ = writeln!(page, "#\n## {}{secret}", spec.doc);
            for name in spec.names() {
                let default = worker_default(spec.name).unwrap_or(spec.default);
                let _ = writeln!(page, "# {name}={default}");
            }
        }
    }
    page
}

fn row(page: &mut String, spec: &SettingSpec) -> std::fmt::Result {
    write!(page, "| `{}`", spec.name)?;
    for (index, alias) in spec.aliases.iter().enumerate() {
        write!(page, "{}`{alias}`", if index == 0 { " or " } else { ", " })?;
    }
    match spec.default {
        "" => write!(page, " | unset")?,
        default => write!(page, " | `{default}`")?,
    }
    write!(page, " | {} | {}", cell(&spec.kind.to_string()), cell(spec.doc))?;
    match spec.secrecy {
        Secrecy::Open => {}
        Secrecy::Login => write!(page, " A login in the URL is never shown.")?,
        Secrecy::Secret => write!(page, " Secret: never shown, and no flag.")?,
    }
    writeln!(page, " |")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/core/src/settings/table.rs. Do not edit; regenerate it with
     UPDATE_DOCS=1 cargo test -p code-assist-proxy --test cli config_md -->
# Settings

Every setting has one name. `MAX_EVENT_BYTES` is set, strongest first, by

1. the flag `--max-event-bytes 1000000`,
2. the environment variable `MAX_EVENT_BYTES=1000000`,
3. the line `max_event_bytes = 1000000` in the TOML file,
4. its default.

The TOML file is the one that `--config PATH` names, else `CODE_ASSIST_PROXY_CONFIG`, else
`${XDG_CONFIG_HOME:-~/.config}/code-assist-proxy/config.toml` if it is there. Its keys are the names
in lower case; values are strings, numbers or booleans, or lists of strings for settings that are
separated by commas. Unknown keys are refused. Several accounts of one provider are written as
[`[[upstream]]` tables](#tables-of-upstreams), keys with limits as
[`[[key]]` tables](#tables-of-keys-and-prices).

- Empty counts as unset. White space around a value is dropped.
- Names after \"or\" are aliases: they work when the first name is unset in the same source.
- Secrets have no flag, because every user of the machine can see flags in `ps`.
- All bad values are reported at once, and the proxy does not start.
- `code-assist-proxy config` prints every value in force and where it comes from.

[config.schema.json](config.schema.json) is the JSON schema of the file. Editors with a language server for
TOML (Taplo, Even Better TOML) complete and check the file if its first line is

```toml
#:schema https://raw.githubusercontent.com/code-assist-proxy/code-assist-proxy/main/docs/config.schema.json
```

or the same with the path of a copy. `check-jsonschema --schemafile config.schema.json config.toml` checks it
in a pipeline. [config.example.toml](config.example.toml) has every table.
";

const TABLES: &str = "
## Tables of upstreams

An upstream is one account at one provider. The settings above make at most one of each provider, with the
provider's name. The TOML file may have more, or others, as tables. They stand at its end, below all other
lines:

```toml
upstreams = [\"team\", \"eu\"]        # in order of preference; default: all tables, in their order

[[upstream]]
name = \"team\"                     # a-z, 0-9, `-`, `_`: in headers, log lines and metrics
provider = \"gemini-api\"
api_key_file = \"/run/secrets/key\"
models = [\"gemini-2.5-*\"]         # the only ones that it serves; `*` stands for any text

[[upstream]]
name = \"eu\"
provider = \"vertex\"
project = \"my-project\"
location = \"eu\"
credentials = \"/etc/code-assist-proxy/service-account.json\"
model_map = { gemini-flash-latest = \"gemini-2.5-flash\" }
```

| Key | `code-assist` | `gemini-api` | `vertex` |
|---|---|---|---|
| `name`, `provider` | needed | needed | needed |
| `endpoint` | as `CODE_ASSIST_ENDPOINT` | as `GEMINI_API_ENDPOINT` | as `VERTEX_ENDPOINT` |
| `api_key`, or `api_key_file` with its path | | needed | as `VERTEX_API_KEY` |
| `credentials` | needed: the path of an `oauth_creds.json`, or its JSON | | as `VERTEX_CREDENTIALS` |
| `project` | as `GEMINI_PROJECT_ID` | | needed unless there is an API key |
| `location`, `api_version` | | | as `VERTEX_LOCATION`, `VERTEX_API_VERSION` |
| `models`, `model_map` | optional | optional | optional |

- A table takes nothing from flags and environment, unless it has the name of its provider: a table
  `gemini-api` without a key has the key of `GEMINI_API_KEY`, so that the secret need not be in the file.
  If both say something, and not the same, the proxy does not start. `GOOGLE_CLOUD_QUOTA_PROJECT` and the
  metadata server's settings hold for all tables.
- With tables, `UPSTREAMS=auto` means the tables. An upstream of the settings above is then used only
  if `UPSTREAMS` names it.
- Settings of upstreams, tables and key files are read at the start: a change needs a restart.
- A Worker has no `[[upstream]]` tables.
";

const KEY_TABLES: &str = "
## Tables of keys and prices

`PROXY_API_KEYS` are keys without limits. A `[[key]]` table is a key with a holder, and with what the holder may
do ([ACCESS.md](ACCESS.md#keys-with-tables)):

```toml
[[key]]
id = \"ada\"
hash = \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"
models = [\"gemini-2.5-*\"]
tokens_per_day = 2000000
cost_per_month = 50.0
expires = 2027-01-31T00:00:00Z

[[price]]                          # per million tokens, in a currency of your own
model = \"gemini-2.5-*\"
input = 1.25
cached = 0.31
output = 10.0
```
";

const KEY_RULES: &str = "
- `code-assist-proxy keys new ID` makes a key and prints it once, with the table to paste.
- A table has `hash` or `key`, not both. A key is set once, in tables and `PROXY_API_KEYS` together.
- `cost_per_month` needs a `[[price]]` table whose `model` covers each entry of `models`, or `*` without them.
- Tables are read again at a [reload](OPERATING.md#reload). Requests in flight go on as they began.
- For containers and Workers the same tables can be a secret, `PROXY_KEYS_JSON`:
  `{\"key\":[{\"id\":\"ada\",\"hash\":\"sha256:…\",\"expires\":\"2027-01-31T00:00:00Z\"}],\"price\":[]}`.
";

const WORKER_INTRODUCTION: &str = "\
## Generated from crates/core/src/settings/table.rs. Do not edit; regenerate it with
## UPDATE_DOCS=1 cargo test -p code-assist-proxy --test cli dev_vars
##
## Settings of the Worker for `wrangler dev`: copy this file to .dev.vars (which git ignores) and
## remove the # from the settings that you set. `cargo xtask worker dev` needs no file: it takes the
## same names from the environment. For deployment, secrets are set with `npx wrangler secret put
## NAME`, and other settings in [vars] of wrangler.toml.
";
