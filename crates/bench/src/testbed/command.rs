//! How each contender is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contender, TestBed, free_port};
use crate::BenchError;
use crate::process::on_core;
use crate::request::KEY;

impl TestBed {
    /// The command that starts a contender, `None` for a direct client.
    pub(super) fn command(
        &self,
        contender: Contender,
        port: u16,
    ) -> Result<Option<Command>, BenchError> {
        let plain = format!("http://127.0.0.1:{}", self.ports.plain);
        let secure = format!("https://127.0.0.1:{}", self.ports.tls);
        let command = match contender {
            Contender::Direct | Contender::DirectTls => return Ok(None),
            Contender::ProxyHttp1 => self.proxy_command(contender, port, &plain),
            Contender::Proxy
            | Contender::ProxyPgo
            | Contender::ProxyBeside
            | Contender::ProxyOpenaiChat
            | Contender::ProxyOpenaiResponses
            | Contender::ProxyAnthropic => self.proxy_command(contender, port, &secure),
            Contender::ProxyGeminiApi => {
                let mut proxy = self.proxy_command(contender, port, &secure);
                proxy
                    .env("UPSTREAMS", "gemini-api")
                    .env("GEMINI_API_ENDPOINT", secure)
                    .env("GEMINI_API_KEY", KEY);
                proxy
            }
            Contender::ProxyVertex => {
                let mut proxy = self.proxy_command(contender, port, &secure);
                proxy
                    .env("UPSTREAMS", "vertex")
                    .env("VERTEX_ENDPOINT", secure)
                    .env("VERTEX_PROJECT", "bench-project")
                    .env("VERTEX_CREDENTIALS", GOOGLE_CLOUD_CREDENTIALS);
                proxy
            }
            Contender::Forwarder => {
                let mut forwarder = on_core(self.core, &std::env::current_exe()?);
                forwarder.args(["forward", "--port", &port.to_string()]);
                forwarder.args(["--to", &format!("127.0.0.1:{}", self.ports.tls)]);
                forwarder.arg("--authority").arg(self.authority());
                forwarder
            }
            Contender::Nginx => {
                let config = self.fill_template("nginx.conf", port)?;
                let mut nginx = on_core(self.core, self.needed_tool(contender)?);
                nginx.arg("-p").arg(&self.work).arg("-c").arg(config).args(["-e", "stderr"]);
                nginx
            }
            Contender::Haproxy => {
                let config = self.fill_template("haproxy.cfg", port)?;
                let mut haproxy = on_core(self.core, self.needed_tool(contender)?);
                haproxy.arg("-db").arg("-f").arg(config);
                haproxy
            }
            Contender::Envoy => {
                let config = self.fill_template("envoy.yaml", port)?;
                let mut envoy = on_core(self.core, self.needed_tool(contender)?);
                envoy.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
                envoy.arg("--config-path").arg(config);
                envoy
            }
            Contender::VllmRouter => {
                let config = self.fill_template("vllm-router.py", port)?;
                let mut router = on_core(self.core, self.needed_tool(contender)?);
                router.arg(config).env("SSL_CERT_FILE", self.authority());
                router
            }
        };
        Ok(Some(command))
    }

    /// The proxy as an operator runs it: every feature at its default, a store in a file, and
    /// credentials with a refresh token. This machine's own accounts and settings are not used.
    fn proxy_command(&self, contender: Contender, port: u16, endpoint: &str) -> Command {
        let binary = self.tool(contender).unwrap_or(&self.proxy);
        let oauth = format!("http://127.0.0.1:{}", self.ports.plain);
        let mut proxy = on_core(self.core, binary);
        proxy
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.work)
            .env("PORT", port.to_string())
            .env("KV_URL", format!("file:{}", self.store(contender).display()))
            .env("CODE_ASSIST_ENDPOINT", endpoint)
            .env("OAUTH_TOKEN_URL", format!("{oauth}/token"))
            .env("OAUTH_TOKENINFO_URL", format!("{oauth}/tokeninfo"))
            .env("SSL_CERT_FILE", self.authority())
            .env("GCP_SERVICE_ACCOUNT", CREDENTIALS);
        proxy
    }

    /// Writes a configuration of `references`, with its `@NAMES@` replaced, into the work folder.
    fn fill_template(&self, name: &str, port: u16) -> Result<PathBuf, BenchError> {
        let template = fs::read_to_string(self.references.join(name))?;
        let work = self.work.to_string_lossy();
        // As root, nginx runs its worker as a user who may not enter the work folder.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = template
            .replace("@WORK@", &work)
            .replace("@USER@", user)
            .replace("@PORT@", &port.to_string())
            .replace("@METRICS@", &free_port()?.to_string())
            .replace("@PLAIN@", &self.ports.plain.to_string())
            .replace("@TLS@", &self.ports.tls.to_string())
            .replace("@AUTHORITY@", &self.authority().to_string_lossy());
        let file = Path::new(name).file_name().unwrap_or_default();
        let path = self.work.join(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn needed_tool(&self, contender: Contender) -> Result<&Path, BenchError> {
        let tool = self.tool(contender);
        tool.ok_or_else(|| BenchError(format!("there is no program for {}", contender.key())))
    }
}

const CREDENTIALS: &str =
    r#"{"refresh_token":"1//bench","client_id":"bench.example","client_secret":"bench"}"#;

const GOOGLE_CLOUD_CREDENTIALS: &str = r#"{"type":"authorized_user","refresh_token":"1//bench","client_id":"bench.example","client_secret":"bench"}"#;
