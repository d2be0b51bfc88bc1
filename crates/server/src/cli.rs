//! The command line: the commands, and one flag for each setting of the settings table.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{
    Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use clap_complete::Shell;
use code_assist_core::settings::{Kind, SETTINGS, SettingSpec};

use crate::keys_command::KeysArguments;

/// The parsed command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) task: Task,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// The values of flags by the names of their settings. Secrets have no flags.
    pub(crate) flags: HashMap<&'static str, String>,
}

impl Invocation {
    /// Reads the process's arguments. Help exits with 0, and a mistake with 2.
    pub(crate) fn read() -> Self {
        let matches = command().get_matches();
        Self::from_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let cli = Cli::from_arg_matches(matches)?;
        let mut flags = HashMap::new();
        // Flags may stand before or after the command. Those after it win.
        let mut level = Some(matches);
        while let Some(at) = level {
            for spec in SETTINGS {
                if !at.try_contains_id(spec.name).unwrap_or(false) {
                    continue;
                }
                let Some(_) = spec.flag() else {
                    return Err(command().error(ErrorKind::UnknownArgument, no_flag(spec)));
                };
                if let Some(value) = at.get_one::<String>(spec.name) {
                    flags.insert(spec.name, value.clone());
                }
            }
            level = at.subcommand().map(|(_, deeper)| deeper);
        }
        let task = cli.task.unwrap_or(Task::Serve(Serve { emulator: None }));
        Ok(Self { task, config: cli.config, flags })
    }
}

/// Builds the whole command line, which completions are generated from too.
pub(crate) fn command() -> Command {
    with_settings(Cli::command())
}

#[derive(Debug, Parser)]
#[command(name = "code-assist-proxy", version, max_term_width = 100)]
/// A transparent proxy in front of Google's Gemini models: Gemini API, Vertex AI, Code Assist
///
/// Point any Gemini client at it, and it uses your account: an API key (GEMINI_API_KEY), a project of
/// Google Cloud (VERTEX_PROJECT), or the sign-in of the Gemini CLI. Without a command it serves.
#[command(after_help = FOOT, after_long_help = LONG_FOOT)]
struct Cli {
    /// TOML file with settings [default: ~/.config/code-assist-proxy/config.toml, if there]
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Run the proxy (the default)
    ///
    /// Prints the address, upstreams and credentials, the key-value store and a curl line to paste.
    /// Starts, and says what is missing, even when Google is out of reach; refuses to start on
    /// settings that are invalid or unsafe. SIGINT or SIGTERM lets streams finish, a second one
    /// does not. SIGHUP reads keys, allowed hosts and origins, model aliases and log
    /// level again from the file.
    #[command(after_help = SERVE_FOOT, after_long_help = SERVE_FOOT)]
    Serve(Serve),
    /// Find out whether the proxy would work, step by step
    ///
    /// Settings, key-value store, and for each upstream in use credentials, token, project, location
    /// and one count of tokens or the quota: one line a step with ok, warn or fail and what to do about
    /// it. Talks to Google with your credentials. Usable means that every upstream in use is.
    #[command(after_help = CHECK_FOOT, after_long_help = CHECK_FOOT)]
    Check(Check),
    /// Ask a running proxy whether it is ready to serve requests
    ///
    /// For the health checks of container engines. Asks /ready at HOST and PORT, which needs no key,
    /// and prints the answer.
    #[command(after_help = HEALTH_FOOT, after_long_help = HEALTH_FOOT)]
    Health {
        /// What to ask instead: a path such as /live, or a URL that begins with http://
        #[arg(value_name = "PATH|URL")]
        url: Option<String>,
    },
    /// Print the settings that are in force and where each came from
    ///
    /// One a line, secrets as ***. Warnings and problems go to standard error; problems end with
    /// exit code 2.
    #[command(after_help = CONFIG_FOOT, after_long_help = CONFIG_FOOT)]
    Config,
    /// List the models that each upstream in use has
    #[command(after_help = MODELS_FOOT, after_long_help = MODELS_FOOT)]
    Models,
    /// Back up, restore, list or clear the key-value store
    ///
    /// The store holds tokens and the project. A running proxy owns its file: stop it first.
    Kv(Kv),
    /// Make and list the keys that clients present
    ///
    /// A key has a `[[key]]` table in the TOML file, with what its holder may do. The key itself is stored
    /// nowhere: the table has its digest.
    Keys(KeysArguments),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_FOOT, after_long_help = COMPLETIONS_FOOT)]
    Completions {
        /// The shell to print it for
        shell: Shell,
    },
    /// Write the manual pages of all commands into a folder
    #[command(after_help = MAN_FOOT, after_long_help = MAN_FOOT)]
    Man {
        /// Where to write; made if it is not there
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Use the bundled emulator of Google as upstream, with throw-away credentials
    ///
    /// The whole product on a machine without a Google account and without a network. The emulator plays
    /// Code Assist, unless another provider is named, or all of them.
    #[arg(
        long,
        value_enum,
        value_name = "PROVIDER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "code-assist"
    )]
    pub(crate) emulator: Option<EmulatedProvider>,
}

/// The providers that the bundled emulator plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EmulatedProvider {
    CodeAssist,
    GeminiApi,
    Vertex,
    All,
}

impl EmulatedProvider {
    /// The names of the providers.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::CodeAssist => &["code-assist"],
            Self::GeminiApi => &["gemini-api"],
            Self::Vertex => &["vertex"],
            Self::All => &["code-assist", "gemini-api", "vertex"],
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(subcommand)]
    pub(crate) task: KvTask,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvTask {
    /// Write every entry as JSON to FILE (mode 0600) or standard output
    ///
    /// The form is that of Workers KV bulk files: an array of objects with "key", "value",
    /// "expiration" (seconds since 1970) and, for values that are not text, "base64": true. It
    /// holds tokens: keep it as you would keep a password.
    #[command(after_help = EXPORT_FOOT, after_long_help = EXPORT_FOOT)]
    Export {
        /// Where to write; replaced in one step if it exists [default: standard output]
        file: Option<PathBuf>,
    },
    /// Read entries from FILE, in the form that export writes
    ///
    /// All of the file is checked before anything is written, and all of it is written or nothing.
    /// Entries that are not in the file stay. Entries that have expired are left out.
    Import {
        /// What to read; `-` is standard input
        file: PathBuf,
    },
    /// Show keys, sizes and what is left of their time to live, never values
    List,
    /// Remove every entry
    ///
    /// The next start refreshes the token and discovers the project again. What keys have used stays.
    Clear {
        /// Remove what keys have used too, so that their budgets begin anew
        #[arg(long)]
        usage: bool,
    },
}

/// Adds the flags of all settings to a command and its subcommands. Only the top level and `serve`
/// list them in their help.
fn with_settings(command: Command) -> Command {
    let shown = ["code-assist-proxy", "serve"].contains(&command.get_name());
    // `keys new` has flags of the same names, which are the key's.
    let own: HashSet<String> =
        command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    let settings = SETTINGS.iter().map(|spec| flag(spec, shown));
    let settings = settings.filter(|flag| flag.get_long().is_none_or(|long| !own.contains(long)));
    let command = settings.fold(command, Command::arg);
    let command = if command.get_after_help().is_some() || command.has_subcommands() {
        command
    } else {
        command.after_help(SETTINGS_FOOT)
    };
    command.mut_subcommands(with_settings)
}

fn flag(spec: &'static SettingSpec, shown: bool) -> Arg {
    let Some(long) = spec.flag() else {
        // A hidden flag, so that its use can be refused with the reason.
        let long = spec.name.to_lowercase().replace('_', "-");
        return Arg::new(spec.name).long(long).num_args(0..=1).hide(true);
    };
    let everyday = ["HOST", "PORT", "KV_URL", "LOG_LEVEL"].contains(&spec.name);
    let arg = Arg::new(spec.name)
        .long(long)
        .help(help(spec))
        .help_heading(spec.group.title())
        .hide(!shown)
        .hide_short_help(!everyday)
        .allow_hyphen_values(true);
    match spec.kind {
        Kind::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Choice(words) => arg.value_name(words.join("|")),
        Kind::Bytes { .. } => arg.value_name("BYTES"),
        Kind::Decimal { .. } | Kind::Whole { .. } => arg.value_name("N"),
        Kind::Text(_) => arg.value_name("TEXT"),
    }
}

fn help(spec: &SettingSpec) -> String {
    let mut help = spec.doc.replace('`', "");
    match spec.default {
        "" => help += " [default: unset",
        default => help += &format!(" [default: {default}"),
    }
    help + &format!("; env: {}]", spec.name)
}

fn no_flag(spec: &SettingSpec) -> String {
    format!(
        "{} is a secret and has no flag, since every user of this machine can see flags (`ps`); \
         set it in the environment or in the TOML file",
        spec.name
    )
}

const FOOT: &str = "\
Settings come from flags, environment variables of the same name (--max-event-bytes is
MAX_EVENT_BYTES), a TOML file, and defaults, in that order. --help lists every one of them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const LONG_FOOT: &str = "\
Settings come from flags, environment variables of the same name (--max-event-bytes is
MAX_EVENT_BYTES), a TOML file (max_event_bytes = 1000), and defaults, in that order. Secrets have no
flags, because `ps` shows them: set PROXY_API_KEYS, PROXY_KEYS_JSON, GCP_SERVICE_ACCOUNT,
GOOGLE_CLOUD_ACCESS_TOKEN, OAUTH_CLIENT_SECRET, GEMINI_API_KEY, VERTEX_CREDENTIALS, VERTEX_API_KEY,
KV_ENCRYPTION_KEY and OTEL_EXPORTER_OTLP_HEADERS in the environment or in the file, and a KV_URL that
holds a password too. docs/CONFIG.md has all of it.

Examples:
  code-assist-proxy serve --emulator     the whole product without an account
  code-assist-proxy check                will it work with mine?
  code-assist-proxy                      serve on 127.0.0.1:8787
  code-assist-proxy config               what is set, and by what

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const SERVE_FOOT: &str = "\
Examples:
  code-assist-proxy serve --emulator --port 0
  code-assist-proxy serve --emulator=gemini-api     also: vertex, all
  code-assist-proxy serve --port 9000 --log-level debug
  PROXY_API_KEYS=ada:$KEY code-assist-proxy serve --host 0.0.0.0

Secrets have no flags, because `ps` shows them: set PROXY_API_KEYS, PROXY_KEYS_JSON,
GCP_SERVICE_ACCOUNT, GOOGLE_CLOUD_ACCESS_TOKEN, OAUTH_CLIENT_SECRET, GEMINI_API_KEY, VERTEX_CREDENTIALS,
VERTEX_API_KEY, OTEL_EXPORTER_OTLP_HEADERS and KV_ENCRYPTION_KEY in the environment or in the TOML file.

Exit codes: 0 after a signal, 1 could not listen, 2 bad usage or settings.";

const CHECK_FOOT: &str = "\
Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 usable, 1 not usable, 2 bad usage or settings.";

const HEALTH_FOOT: &str = "\
Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ready, 1 not ready or no answer, 2 bad usage or settings.";

const CONFIG_FOOT: &str = "\
Examples:
  code-assist-proxy config | grep -v '# from default'
  code-assist-proxy config --port 9000

Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 2 bad usage or settings.";

const MODELS_FOOT: &str = "\
Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const EXPORT_FOOT: &str = "\
Examples:
  code-assist-proxy kv export backup.json
  code-assist-proxy kv export --kv-url file:/var/lib/proxy/kv.redb > backup.json

Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

const COMPLETIONS_FOOT: &str = "\
Examples:
  code-assist-proxy completions bash > ~/.local/share/bash-completion/completions/code-assist-proxy
  code-assist-proxy completions zsh > ~/.zfunc/_code-assist-proxy";

const MAN_FOOT: &str = "\
Example:
  code-assist-proxy man ~/.local/share/man/man1 && man code-assist-proxy-serve";

const SETTINGS_FOOT: &str = "\
Every setting is a flag here too; `code-assist-proxy serve --help` lists them.

Exit codes: 0 ok, 1 failure, 2 bad usage or settings.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command_and_those_after_win() {
        let read = |line: &str| {
            let matches = command().try_get_matches_from(line.split(' ')).unwrap();
            Invocation::from_matches(&matches).unwrap()
        };
        let invocation = read("x --port 1 --host ::1 kv --kv-url memory: list --port 2");
        assert!(matches!(invocation.task, Task::Kv(Kv { task: KvTask::List })));
        assert_eq!(invocation.flags["PORT"], "2");
        assert_eq!(invocation.flags["HOST"], "::1");
        assert_eq!(invocation.flags["KV_URL"], "memory:");

        let invocation = read("x --allow-unauthenticated serve --emulator");
        assert!(matches!(
            invocation.task,
            Task::Serve(Serve { emulator: Some(EmulatedProvider::CodeAssist) })
        ));
        assert_eq!(invocation.flags["ALLOW_UNAUTHENTICATED"], "true");
        assert_eq!(read("x --validate-tokens-before-use=no").flags.len(), 1);
        assert!(read("x").flags.is_empty());
    }

    #[test]
    fn every_setting_except_secrets_has_a_flag() {
        for spec in SETTINGS {
            let long = format!("--{}", spec.name.to_lowercase().replace('_', "-"));
            let matches =
                command().try_get_matches_from(["x", "check", &format!("{long}=hush")]).unwrap();
            match (spec.flag(), Invocation::from_matches(&matches)) {
                (Some(_), Ok(invocation)) => assert_eq!(invocation.flags[spec.name], "hush"),
                (None, Err(error)) => {
                    let message = error.to_string();
                    assert!(message.contains("is a secret and has no flag"), "{message}");
                    assert!(!message.contains("hush"), "{message}");
                }
                (flag, read) => panic!("{}: {flag:?} {read:?}", spec.name),
            }
        }
    }
}
