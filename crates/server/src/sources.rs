//! The sources of settings, which are read at the start and again on SIGHUP.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use code_assist_core::settings::{Layer, Machine, Problem, Settings, Source, Warning};

use crate::cgroup;
use crate::cli::EmulatedProvider;
use crate::config::{ConfigFile, ConfigPath};
use crate::features;

/// Flags, environment and the TOML file. Only the file can have changed at a reload.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// The settings that were given as flags, by name.
    pub(crate) flags: HashMap<&'static str, String>,
    /// `serve --emulator`.
    pub(crate) emulated: Option<EmulatedProvider>,
}

impl Sources {
    /// Reads the settings, or returns all problems with them.
    pub(crate) fn read(&self) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
        self.read_with(&has_address)
    }

    /// Reads the settings as if `text` were the content of the file at `path`.
    pub(crate) fn read_text(
        &self,
        path: &Path,
        text: &str,
    ) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
        let file = ConfigFile::of_text(path, text, variable);
        // Whether this machine has the address of `HOST` is no matter of the file's content.
        self.layered_on(&file, |layers, file| self.settings(layers, file, &|_| true))
    }

    /// Where the TOML file is, or would be. `None` without a home folder.
    pub(crate) fn config_path(&self) -> Option<ConfigPath> {
        ConfigPath::find(self.config.as_deref(), variable)
    }

    fn read_with(
        &self,
        has_host: &dyn Fn(&str) -> bool,
    ) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
        self.layered(|layers, file| self.settings(layers, file, has_host))
    }

    fn settings(
        &self,
        layers: &[Layer<'_>],
        file: &ConfigFile,
        has_host: &dyn Fn(&str) -> bool,
    ) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
        let mut problems = file.problems.clone();
        let file_path = file.path.as_deref();
        let machine = Machine {
            file: file_path,
            has_host,
            is_on_network: false,
            has_path: Some(&|path| Path::new(path).exists()),
            key_tables: &file.key_tables,
            upstream_tables: &file.upstreams,
            emulated: self.emulated.map(EmulatedProvider::names),
        };
        match Settings::read_on(layers, &machine) {
            Ok((settings, more)) => {
                problems.extend(features::problem(&settings));
                if problems.is_empty() {
                    return Ok((settings, file.warnings.iter().cloned().chain(more).collect()));
                }
            }
            Err(more) => problems.extend(more),
        }
        Err(problems)
    }

    /// Reads the settings for a process that listens on `host`. The address in the file is ignored,
    /// and the new settings must be safe for `host`.
    pub(crate) fn read_again(&self, host: &str) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
        let mut pinned = self.clone();
        pinned.flags.insert("HOST", host.to_owned());
        // The process listens on it, and asking for its address again could block.
        pinned.read_with(&|_| true)
    }

    /// Calls `read` with all layers, the strongest first, and the file among them.
    pub(crate) fn layered<T>(&self, read: impl FnOnce(&[Layer<'_>], &ConfigFile) -> T) -> T {
        self.layered_on(&ConfigFile::read(self.config.as_deref(), variable), read)
    }

    fn layered_on<T>(
        &self,
        file: &ConfigFile,
        read: impl FnOnce(&[Layer<'_>], &ConfigFile) -> T,
    ) -> T {
        let layers = [
            Layer { source: Source::Flag, lookup: &|name| self.flags.get(name).cloned() },
            Layer { source: Source::Env, lookup: &variable },
            Layer { source: Source::File, lookup: &|name| file.look_up(name) },
            Layer { source: Source::Cgroup, lookup: &cgroup_default },
            Layer { source: Source::Default, lookup: &terminal_default },
        ];
        read(&layers, file)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn has_address(host: &str) -> bool {
    (host, 0).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some())
}

/// Defaults to a memory budget of half of the control group's memory limit, if that is less than the
/// budget's own default. The other half is for everything else, such as the response cache.
fn cgroup_default(name: &str) -> Option<String> {
    if name != "MEMORY_BUDGET_BYTES" {
        return None;
    }
    let half = cgroup::memory_limit()? / 2;
    (half < LARGEST_DEFAULT_BUDGET).then(|| format!("{}MiB", (half >> 20).max(1)))
}

/// Defaults to readable log lines on a terminal.
fn terminal_default(name: &str) -> Option<String> {
    (name == "LOG_FORMAT" && io::stdout().is_terminal()).then(|| "pretty".into())
}

/// The default of `MEMORY_BUDGET_BYTES` on a machine without a limit.
const LARGEST_DEFAULT_BUDGET: u64 = 1 << 30;
