//! Metrics, alert rules, dashboard and status page, checked with the tools that operators use:
//! Prometheus's `promtool` and a headless Chromium.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clients;
use crate::counts::Counts;
use crate::http;
use crate::process;
use crate::proxy::Proxy;
use crate::report::{Failure, Report, verdict};
use crate::setup::Need;
use crate::tools;
use crate::workspace::{cargo, read, root, target, utf8, write};

/// What the system has to have for [`run`].
pub(crate) const NEEDS: &[Need] = &[Need::Promtool, Need::Chromium, Need::Node];

/// Starts four proxies, sends requests, and checks what they report.
pub(crate) fn run(report: &mut Report) {
    let Some(node) = report.step("Node", tools::node) else { return };
    let scripts = report.step("npm packages", || clients::npm_packages(&node));
    let built = report.step("build of the binary", || {
        process::run(cargo("build").args(["--bin", "code-assist-proxy"]))
    });
    if scripts.is_none() || built.is_none() {
        return;
    }
    let started =
        report.step("serve --emulator, open, with keys and with several upstreams", Proxies::start);
    let Some(proxies) = started else { return };
    report.tests("promtool", |counts| promtool(&proxies, counts));
    report.tests("status page", |counts| status_page(&node, &proxies, counts));
    report.step("stop of the proxies", || proxies.stop());
}

/// The proxies that are looked at.
struct Proxies {
    open: Proxy,
    /// With a key of `PROXY_API_KEYS`.
    keyed: Proxy,
    /// With several upstreams, and without the panel of the status page.
    several: Proxy,
    /// With `[[key]]` tables.
    team: Proxy,
}

impl Proxies {
    fn start() -> Result<Self, Failure> {
        let with_file = |name, content: &str| {
            let file = write_work(name, content)?;
            Proxy::start(binary().arg("--config").arg(file).args(["serve", "--emulator"]))
        };
        Ok(Self {
            open: Proxy::start(binary().args(["serve", "--emulator"]))?,
            // In files, since no flag takes a secret.
            keyed: with_file("keys.toml", &format!("proxy_api_keys = \"page:{KEY}\"\n"))?,
            several: Proxy::start_with(
                binary().args(["serve", "--emulator=all"]),
                &[("STATUS_PAGE_TRY", "false")],
            )?,
            team: with_file("team.toml", TEAM)?,
        })
    }

    fn stop(self) -> Result<(), Failure> {
        [self.open, self.keyed, self.several, self.team].into_iter().try_for_each(Proxy::stop)
    }
}

fn promtool(proxies: &Proxies, counts: &mut Counts) -> Result<(), Failure> {
    traffic(&proxies.open)?;
    let folder = root().join("monitoring");
    let rules = folder.join("alerts.yml");
    let tests = folder.join("alerts_test.yml");
    let tests_at_30s = folder.join("alerts_30s_test.yml");
    let queries = dashboard_queries(&folder.join("dashboard.json"))?;
    let metrics = http::get(&proxies.open.url, "/metrics")?;
    let of_keys = http::get(&proxies.team.url, "/metrics?key=page-test-key-of-ada")?;
    let checks = [
        ("check rules alerts.yml", vec!["check", "rules", utf8(&rules)?], ""),
        ("test rules alerts_test.yml", vec!["test", "rules", utf8(&tests)?], ""),
        ("test rules alerts_30s_test.yml", vec!["test", "rules", utf8(&tests_at_30s)?], ""),
        ("the dashboard's queries", vec!["check", "rules", utf8(&queries)?], ""),
        ("check metrics < GET /metrics", vec!["check", "metrics"], &metrics.body),
        ("check metrics with keys", vec!["check", "metrics"], &of_keys.body),
    ];
    let outcomes = checks.map(|(title, arguments, input)| {
        (title.to_owned(), piped(Command::new("promtool").args(arguments), input))
    });
    verdict(counts, outcomes)
}

/// Sends a few requests, so that the metrics have values.
fn traffic(proxy: &Proxy) -> Result<(), Failure> {
    let prompt = r#"{"contents":[{"parts":[{"text":"pomegranate"}]}]}"#;
    for (path, body) in [
        ("/v1beta/models/gemini-2.5-flash:generateContent", prompt),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", prompt),
        ("/v1beta/models/gemini-2.5-flash:countTokens", prompt),
        ("/v1beta/models/imaginary-1:generateContent", prompt),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "{"),
    ] {
        http::post(&proxy.url, path, body)?;
    }
    Ok(())
}

/// Writes every query of the dashboard as a recording rule, for promtool to parse. A JSON string is
/// also a YAML string.
fn dashboard_queries(dashboard: &Path) -> Result<PathBuf, Failure> {
    let json = read(dashboard)?;
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let queries = json.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": "));
    for (number, query) in queries.enumerate() {
        let query = query.trim_end_matches(',').replace("$__rate_interval", "5m");
        let _ = writeln!(rules, "  - record: dashboard:query:{number}\n    expr: {query}");
    }
    write_work("dashboard-queries.yml", &rules)
}

fn status_page(
    node: &Path,
    Proxies { open, keyed, several, team }: &Proxies,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut test = Command::new(node.join("node"));
    test.args(["--test", "--test-force-exit", "--test-reporter=tap", "--test-concurrency=1"]);
    test.args(["page/page.test.mjs", "page/team.test.mjs"]);
    clients::isolate(&mut test)
        .env("PROXY_URL", &open.url)
        .env("EMULATOR_URL", &open.emulator)
        .env("KEYED_URL", &keyed.url)
        .env("KEY", KEY)
        .env("SEVERAL_URL", &several.url)
        .env("WITHOUT_TRY_URL", &several.url)
        .env("TEAM_URL", &team.url)
        .env("TEAM_EMULATOR", &team.emulator)
        .env("ADA", "page-test-key-of-ada")
        .env("BOB", "page-test-key-of-bob");
    for name in ["SHOTS", "SECONDS"] {
        if let Some(value) = std::env::var_os(name) {
            test.env(name, value);
        }
    }
    process::test(&mut test, PAGE_LIMIT, counts)
}

fn binary() -> Command {
    Command::new(target().join("debug/code-assist-proxy"))
}

fn write_work(name: &str, content: &str) -> Result<PathBuf, Failure> {
    let path = clients::work().join(name);
    write(&path, content)?;
    Ok(path)
}

/// Runs `command` with `input`. Its output is in the failure.
fn piped(command: &mut Command, input: &str) -> Result<(), Failure> {
    let failed = |why: std::io::Error| Failure::new(format!("promtool: {why}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // promtool reads all of its input before it prints. A subcommand without input may have ended
        // already, and then this write fails.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::new(String::from_utf8_lossy(&said).into_owned()))
}

const KEY: &str = "page-test-key";

const TEAM: &str = r#"
[[key]]
id = "ada"
key = "page-test-key-of-ada"
admin = true
tokens_per_day = 2_000_000

[[key]]
id = "bob"
key = "page-test-key-of-bob"
cost_per_month = 50.0

[[price]]
model = "*"
input = 1.25
output = 10.0
"#;

/// Browsers start slowly on a busy machine.
const PAGE_LIMIT: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboards_queries_are_all_found() {
        let dashboard = root().join("monitoring/dashboard.json");
        let rules = read(&dashboard_queries(&dashboard).unwrap()).unwrap();
        let panels = read(&dashboard).unwrap().matches("\"expr\"").count();
        assert!(panels > 30);
        assert_eq!(rules.matches("  expr: \"").count(), panels);
        assert!(!rules.contains("$__"));
    }
}
