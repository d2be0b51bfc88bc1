//! What is measured: our proxy, those that do less, one that does about the same, and nobody.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::BenchError;
use crate::load;
use crate::machine::{ProcessTree, said};
use crate::process::{ChildProcess, on_core};
use crate::request::{self, KEY, RequestFormat, ResponsePlan};
use crate::upstream::Ports;

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The driver speaks to upstream itself.
    Direct,
    /// The same over HTTP/2 with TLS, as a client speaks to Google.
    DirectTls,
    /// Our proxy, HTTP/2 with TLS to upstream, as it speaks to Google.
    Proxy,
    /// The same from a build that knows its work (`cargo xtask pgo`).
    ProxyPgo,
    /// Our proxy, HTTP/1.1 to upstream.
    ProxyHttp1,
    Nginx,
    Haproxy,
    Worker,
    Litellm,
}

impl Contender {
    pub(crate) const ALL: [Self; 9] = [
        Self::Direct,
        Self::DirectTls,
        Self::Proxy,
        Self::ProxyPgo,
        Self::ProxyHttp1,
        Self::Nginx,
        Self::Haproxy,
        Self::Worker,
        Self::Litellm,
    ];

    /// Its key in the figures.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectTls => "direct-secure",
            Self::Proxy => "ours",
            Self::ProxyPgo => "ours-pgo",
            Self::ProxyHttp1 => "ours-http1",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Worker => "worker",
            Self::Litellm => "litellm",
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "nothing in between",
            Self::DirectTls => "nothing in between, HTTP/2 + TLS",
            Self::Proxy => "**code-assist-proxy**, HTTP/2 + TLS to upstream",
            Self::ProxyPgo => "code-assist-proxy, the same, from `cargo xtask pgo`",
            Self::ProxyHttp1 => "code-assist-proxy, HTTP/1.1 to upstream",
            Self::Nginx => "nginx, plain HTTP/1.1",
            Self::Haproxy => "HAProxy, HTTP/2 + TLS to upstream",
            Self::Worker => "a JavaScript Worker that only forwards (workerd)",
            Self::Litellm => "LiteLLM, Gemini pass-through",
        }
    }

    /// Nobody: the driver and upstream alone.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectTls)
    }

    pub(crate) fn shape(self) -> RequestFormat {
        match self {
            Self::Proxy | Self::ProxyPgo | Self::ProxyHttp1 => RequestFormat::Gemini,
            Self::Litellm => RequestFormat::Litellm,
            Self::Direct | Self::DirectTls | Self::Haproxy | Self::Nginx | Self::Worker => {
                RequestFormat::Assist
            }
        }
    }

    /// Shares the core with no other subject, not even an idle one: its runtime has a life of its
    /// own.
    pub(crate) fn needs_idle_core(self) -> bool {
        matches!(self, Self::Litellm | Self::Worker)
    }

    /// As many streams as it is tried with.
    pub(crate) fn max_streams(self) -> u32 {
        match self {
            Self::Litellm => 100,
            Self::Worker => 1000,
            _ => 5000,
        }
    }
}

/// What is needed to start subjects.
#[derive(Debug)]
pub(crate) struct TestBed {
    /// Upstream, for as long as the rig lives.
    _upstream: ChildProcess,
    pub(crate) ports: Ports,
    /// For subjects.
    pub(crate) core: usize,
    /// For driver and upstream.
    pub(crate) load_core: usize,
    pub(crate) proxy: PathBuf,
    tools: Vec<(Contender, PathBuf)>,
    work: PathBuf,
    references: PathBuf,
}

/// Where the programs are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Programs {
    /// The proxy's binary, as it is released
    #[arg(long)]
    pub(crate) proxy: PathBuf,
    /// A folder for what the run writes
    #[arg(long)]
    pub(crate) work: PathBuf,
    /// This crate's folder `references`
    #[arg(long)]
    pub(crate) references: PathBuf,
    /// The proxy's binary from `cargo xtask pgo`; left out, it is left out
    #[arg(long)]
    pub(crate) profiled: Option<PathBuf>,
    /// Left out, nginx is left out
    #[arg(long)]
    pub(crate) nginx: Option<PathBuf>,
    /// Left out, HAProxy is left out
    #[arg(long)]
    pub(crate) haproxy: Option<PathBuf>,
    /// Left out, the Worker is left out
    #[arg(long)]
    pub(crate) workerd: Option<PathBuf>,
    /// Left out, LiteLLM is left out
    #[arg(long)]
    pub(crate) litellm: Option<PathBuf>,
}

impl TestBed {
    /// Starts upstream.
    pub(crate) fn new(programs: &Programs, cores: &[usize]) -> Result<Self, BenchError> {
        fs::create_dir_all(&programs.work)?;
        let work = programs.work.canonicalize()?;
        let core = cores.first().copied().unwrap_or_default();
        let load_core = cores.last().copied().unwrap_or_default();
        let mut upstream = ChildProcess::with_output(
            on_core(load_core, &std::env::current_exe()?)
                .args(["upstream", "--authority"])
                .arg(work.join("authority.pem")),
        )?;
        let ports = serde_json::from_str(&upstream.line(START_LIMIT)?)?;
        let tools = [
            (Contender::ProxyPgo, &programs.profiled),
            (Contender::Nginx, &programs.nginx),
            (Contender::Haproxy, &programs.haproxy),
            (Contender::Worker, &programs.workerd),
            (Contender::Litellm, &programs.litellm),
        ];
        // Not `canonicalize`: a virtual environment knows itself by the name it is called.
        let tools = tools.into_iter().filter_map(|(contender, tool)| {
            Some((contender, std::path::absolute(tool.as_ref()?).ok()?))
        });
        Ok(Self {
            _upstream: upstream,
            ports,
            core,
            load_core,
            proxy: programs.proxy.canonicalize()?,
            tools: tools.collect(),
            work,
            references: programs.references.canonicalize()?,
        })
    }

    /// Those that there are programs for.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let has_program = |contender: &Contender| {
            contender.is_direct()
                || matches!(contender, Contender::ProxyHttp1 | Contender::Proxy)
                || self.tool(*contender).is_some()
        };
        Contender::ALL.into_iter().filter(has_program).collect()
    }

    /// The versions of the programs, for the report.
    pub(crate) fn versions(&self) -> Vec<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let mut versions = vec![first_line(said(&self.proxy.to_string_lossy(), &["--version"]))];
        let others = self.tools.iter().filter(|(contender, _)| *contender != Contender::ProxyPgo);
        for (contender, tool) in others {
            let tool = tool.to_string_lossy();
            versions.push(match contender {
                // nginx says it on standard error.
                Contender::Nginx => first_line(said("sh", &["-c", &format!("'{tool}' -v 2>&1")]))
                    .replace("nginx version: ", ""),
                Contender::Litellm => {
                    let pinned = fs::read_to_string(self.references.join("litellm.txt"));
                    pinned.unwrap_or_default().trim().to_owned()
                }
                Contender::Haproxy => {
                    first_line(said(&tool, &["-v"])).replace(" - https://haproxy.org/", "")
                }
                _ => first_line(said(&tool, &["--version"])),
            });
        }
        versions
    }

    /// Starts a subject and waits for its first answer.
    pub(crate) fn start(&self, contender: Contender) -> Result<Instance, BenchError> {
        self.start_with(contender, &[])
    }

    /// The same, with settings other than the defaults.
    pub(crate) fn start_with(
        &self,
        contender: Contender,
        settings: &[(&str, &str)],
    ) -> Result<Instance, BenchError> {
        let mut instance = self.launch(contender, settings)?;
        instance.wait_for_an_answer()?;
        // What starts late (helpers, pools) has started now.
        std::thread::sleep(Duration::from_millis(300));
        instance.processes = instance.running.as_ref().map(|running| ProcessTree::of(running.id()));
        Ok(instance)
    }

    /// Starts a subject and waits for nothing.
    pub(crate) fn launch(
        &self,
        contender: Contender,
        settings: &[(&str, &str)],
    ) -> Result<Instance, BenchError> {
        let port = match contender {
            Contender::Direct => self.ports.plain,
            Contender::DirectTls => self.ports.secure,
            _ => free_port()?,
        };
        let command = self.command(contender, port)?;
        let running = match command {
            None => None,
            Some(mut command) => {
                command.envs(settings.iter().copied());
                Some(ChildProcess::server(&mut command, &self.error_log(contender))?)
            }
        };
        let processes = running.as_ref().map(|running| ProcessTree::of(running.id()));
        Ok(Instance { contender, address: format!("127.0.0.1:{port}"), running, processes })
    }

    /// Forgets what the proxy has stored.
    pub(crate) fn remove_store(&self) {
        // It fails when there is none.
        let _ = fs::remove_file(self.work.join("kv.redb"));
    }

    /// The certificate that upstream shows.
    pub(crate) fn authority(&self) -> PathBuf {
        self.work.join("authority.pem")
    }

    /// A subject's standard error.
    pub(crate) fn error_log(&self, contender: Contender) -> PathBuf {
        self.work.join(format!("{}.log", contender.key()))
    }

    fn command(&self, contender: Contender, port: u16) -> Result<Option<Command>, BenchError> {
        let command = match contender {
            Contender::Direct | Contender::DirectTls => return Ok(None),
            Contender::ProxyHttp1 => self.proxy_command(
                &self.proxy,
                port,
                &format!("http://127.0.0.1:{}", self.ports.plain),
            ),
            Contender::Proxy | Contender::ProxyPgo => {
                let binary = self.tool(contender).unwrap_or(&self.proxy);
                self.proxy_command(
                    binary,
                    port,
                    &format!("https://127.0.0.1:{}", self.ports.secure),
                )
            }
            Contender::Nginx => {
                let config = self.fill_template("nginx.conf", port)?;
                let mut nginx = on_core(self.core, self.needed(contender)?);
                nginx.arg("-p").arg(&self.work).arg("-c").arg(config).args(["-e", "stderr"]);
                nginx
            }
            Contender::Haproxy => {
                let config = self.fill_template("haproxy.cfg", port)?;
                let mut haproxy = on_core(self.core, self.needed(contender)?);
                haproxy.arg("-db").arg("-f").arg(config);
                haproxy
            }
            Contender::Worker => {
                let script = self.references.join("worker/forward.mjs");
                fs::copy(script, self.work.join("forward.mjs"))?;
                let config = self.fill_template("worker/config.capnp", port)?;
                let mut workerd = on_core(self.core, self.needed(contender)?);
                workerd.arg("serve").arg(config);
                workerd
            }
            Contender::Litellm => {
                let mut litellm = on_core(self.core, self.needed(contender)?);
                litellm
                    .args(["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"])
                    .arg("--port")
                    .arg(port.to_string())
                    .current_dir(&self.work)
                    .env_clear()
                    .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                    .env("HOME", &self.work)
                    .env("LITELLM_MASTER_KEY", KEY)
                    .env("LITELLM_LOG", "ERROR")
                    .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
                    .env("GEMINI_API_BASE", format!("http://127.0.0.1:{}", self.ports.plain))
                    .env("GEMINI_API_KEY", KEY);
                litellm
            }
        };
        Ok(Some(command))
    }

    /// The proxy as a person would run it: every feature at its default, a store in a file, a
    /// credential with a refresh token. Nothing of this machine's accounts and settings.
    fn proxy_command(&self, binary: &Path, port: u16, endpoint: &str) -> Command {
        let oauth = format!("http://127.0.0.1:{}", self.ports.plain);
        let mut proxy = on_core(self.core, binary);
        proxy
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.work)
            .env("PORT", port.to_string())
            .env("KV_URL", format!("file:{}", self.work.join("kv.redb").display()))
            .env("CODE_ASSIST_ENDPOINT", endpoint)
            .env("OAUTH_TOKEN_URL", format!("{oauth}/token"))
            .env("OAUTH_TOKENINFO_URL", format!("{oauth}/tokeninfo"))
            .env("SSL_CERT_FILE", self.authority())
            .env("GCP_SERVICE_ACCOUNT", CREDENTIAL);
        proxy
    }

    /// A configuration with the places filled in.
    fn fill_template(&self, name: &str, port: u16) -> Result<PathBuf, BenchError> {
        let template = fs::read_to_string(self.references.join(name))?;
        let work = self.work.to_string_lossy();
        // As root, nginx would hand its worker to a user who may not enter our folder.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = template
            .replace("@WORK@", &work)
            .replace("@USER@", user)
            .replace("@PORT@", &port.to_string())
            .replace("@PLAIN@", &self.ports.plain.to_string())
            .replace("@SECURE@", &self.ports.secure.to_string())
            .replace("@AUTHORITY@", &self.authority().to_string_lossy());
        let file = Path::new(name).file_name().unwrap_or_default();
        let path = self.work.join(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn tool(&self, contender: Contender) -> Option<&Path> {
        self.tools.iter().find(|(of, _)| *of == contender).map(|(_, tool)| tool.as_path())
    }

    fn needed(&self, contender: Contender) -> Result<&Path, BenchError> {
        let tool = self.tool(contender);
        tool.ok_or_else(|| BenchError(format!("there is no program for {}", contender.key())))
    }
}

/// A subject that runs.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) contender: Contender,
    pub(crate) address: String,
    running: Option<ChildProcess>,
    /// `None` for nobody.
    pub(crate) processes: Option<ProcessTree>,
}

impl Instance {
    /// Stops it. True when it has ended by itself.
    pub(crate) fn stop(self) -> bool {
        self.running.is_none_or(ChildProcess::stop)
    }

    /// Asks until it is answered. Returns how long that took.
    pub(crate) fn wait_for_an_answer(&mut self) -> Result<Duration, BenchError> {
        let started = Instant::now();
        if self.contender.is_direct() {
            return Ok(started.elapsed());
        }
        let request =
            request::request(self.contender.shape(), ResponsePlan::ONE, 1024, &self.address);
        loop {
            let Err(why) = load::once(&self.address, &request) else {
                return Ok(started.elapsed());
            };
            let ended = self.running.as_mut().is_some_and(ChildProcess::has_ended);
            if ended || started.elapsed() > START_LIMIT {
                return Err(BenchError(format!("{} does not answer: {why}", self.contender.key())));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

const CREDENTIAL: &str =
    r#"{"refresh_token":"1//bench","client_id":"bench.example","client_secret":"bench"}"#;

/// LiteLLM takes its time.
const START_LIMIT: Duration = Duration::from_secs(90);
