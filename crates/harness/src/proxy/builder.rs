//! How a proxy is set up before it starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::binary::proxy_binary;
use super::build::ProxyBuild;
use super::process::Proxy;
use crate::emulator::GoogleEmulator;
use crate::upstream::ScriptedUpstream;

/// The settings, the home folder and the arguments of a proxy. Its environment holds nothing else.
#[derive(Debug)]
pub struct ProxyBuilder {
    build: ProxyBuild,
    home: Arc<TempDir>,
    env: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// The largest file that the proxy may write, in blocks of 512 bytes.
    file_size_limit: Option<u32>,
    /// How many files the proxy may have open.
    open_files_limit: Option<u32>,
}

impl ProxyBuilder {
    /// A proxy in front of the emulator, with credentials that work.
    pub fn for_emulator(google: &GoogleEmulator) -> Self {
        Self::without_upstream()
            .env("CODE_ASSIST_ENDPOINT", google.url())
            .env("OAUTH_TOKEN_URL", google.token_url())
            .env("OAUTH_TOKENINFO_URL", google.tokeninfo_url())
            .credentials(&google.credentials())
    }

    /// A proxy in front of a scripted upstream, with its token and its project given: upstream
    /// receives only what the test asks for.
    pub fn for_upstream(upstream: &ScriptedUpstream) -> Self {
        Self::without_upstream()
            .env("CODE_ASSIST_ENDPOINT", upstream.url())
            .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.given")
            .env("GEMINI_PROJECT_ID", "given-project")
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
    }

    /// A proxy without credentials, whose every Google address is a port that refuses connections.
    pub fn without_upstream() -> Self {
        let home = Arc::new(TempDir::new().expect("a temporary folder"));
        let nowhere = "http://127.0.0.1:9";
        let (build, env) = (ProxyBuild::under_test(), BTreeMap::new());
        Self {
            build,
            home,
            env,
            arguments: Vec::new(),
            file_size_limit: None,
            open_files_limit: None,
        }
        .env("CODE_ASSIST_ENDPOINT", nowhere)
        .env("OAUTH_TOKEN_URL", nowhere)
        .env("OAUTH_TOKENINFO_URL", nowhere)
        .env("KV_URL", "memory:")
        .env("PORT", "0")
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a variable of the environment.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// A second proxy in the same home folder, with one variable changed.
    #[must_use]
    pub fn same_home_with_env(&self, name: &str, value: impl Into<String>) -> Self {
        let mut env = self.env.clone();
        env.insert(name.to_owned(), value.into());
        let (home, arguments) = (Arc::clone(&self.home), self.arguments.clone());
        Self { home, env, arguments, ..*self }
    }

    /// Adds an argument after `serve`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Limits the size of files, in blocks of 512 bytes: writes fail as on a full disk.
    #[must_use]
    pub fn file_size_limit(mut self, blocks: u32) -> Self {
        self.file_size_limit = Some(blocks);
        self
    }

    /// Limits the number of open files from the start.
    #[must_use]
    pub fn open_files_limit(mut self, limit: u32) -> Self {
        self.open_files_limit = Some(limit);
        self
    }

    /// Gives Gemini CLI's credentials in the variable that both builds read.
    #[must_use]
    pub fn credentials(self, content: &str) -> Self {
        self.env("GCP_SERVICE_ACCOUNT", content)
    }

    /// Gives Gemini CLI's credentials in its file, and in no variable.
    #[must_use]
    pub fn credentials_file(self, content: &str) -> Self {
        self.write(".gemini/oauth_creds.json", content);
        self.without_env("GCP_SERVICE_ACCOUNT")
    }

    /// A path in the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file in the home folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(path, content).expect("a writable folder");
    }

    /// Starts the proxy and waits until it listens. Can be called again, for the same home folder.
    #[track_caller]
    pub fn start(&self) -> Proxy {
        let home = Arc::clone(&self.home);
        let mut proxy = match self.build {
            ProxyBuild::Native => Proxy::spawn(self.serve_command(), home),
            ProxyBuild::Worker => Proxy::host(&self.env, home),
        };
        proxy.await_address();
        proxy
    }

    /// Runs a proxy that cannot start, until it has exited.
    pub fn run_to_exit(&self) -> Output {
        let mut proxy = Proxy::spawn(self.serve_command(), Arc::clone(&self.home));
        let status = proxy.wait_for_exit(Duration::from_secs(20));
        let (stdout, stderr) = proxy.into_output();
        Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
    }

    /// A run of the binary with other arguments than `serve`, in the home folder and with nothing
    /// but `HOME` in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(proxy_binary());
        command.env_clear().env("HOME", self.home.path()).current_dir(self.home.path());
        command.args(arguments);
        command
    }

    /// The command of [`ProxyBuilder::start`], for a test that handles the process itself.
    pub fn serve_command(&self) -> Command {
        let file_size =
            self.file_size_limit.map(|blocks| format!("trap '' XFSZ; ulimit -f {blocks}; "));
        let open_files = self.open_files_limit.map(|limit| format!("ulimit -n {limit}; "));
        let limits: String = file_size.into_iter().chain(open_files).collect();
        let mut command = if limits.is_empty() {
            Command::new(proxy_binary())
        } else {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("{limits}exec \"$0\" \"$@\"")]).arg(proxy_binary());
            shell
        };
        command.arg("serve").args(&self.arguments);
        command.env_clear().env("HOME", self.home.path()).envs(&self.env);
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command
    }
}
