//! What people watch the proxy with, checked with the tools they use: Prometheus's own `promtool` on
//! a running proxy's metrics, on the alert rules and on the dashboard's queries, and the status page
//! in a headless Chromium.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clients;
use crate::http;
use crate::machine::{self, Need, cargo, ensure};
use crate::process::{self, tee};
use crate::proxy::Proxy;
use crate::report::{Failure, Report};
use crate::tally::{Runner, Tally};
use crate::test::judged;

/// Starts two proxies (one asks for a key), sends requests, checks what they tell.
pub(crate) fn run(report: &mut Report) {
    let tools = report.step("promtool, Chromium and Node", || {
        ensure(&[Need::Promtool, Need::Chromium, Need::Node])?;
        machine::node(&clients::work())
    });
    let Some(node) = tools else { return };
    let scripts = report.step("npm packages", || clients::npm_packages(&node));
    let built = report.step("build of the binary", || {
        process::run(cargo("build").args(["--bin", "code-assist-proxy"]))
    });
    if scripts.is_none() || built.is_none() {
        return;
    }
    let started = report.step("serve --emulator, open and with a key", || {
        let open = Proxy::start(binary().args(["serve", "--emulator"]))?;
        let keyed =
            Proxy::start(binary().arg("--config").arg(keys()?).args(["serve", "--emulator"]))?;
        Ok((open, keyed))
    });
    let Some((open, keyed)) = started else { return };
    report.suite("promtool", || promtool(&open));
    report.suite("status page", || status_page(&node, &open, &keyed));
    report.step("stop of the proxies", || {
        open.stop()?;
        keyed.stop()
    });
}

fn promtool(proxy: &Proxy) -> Result<Tally, Failure> {
    traffic(proxy)?;
    let folder = crate::root().join("monitoring");
    let rules = folder.join("alerts.yml");
    let tests = folder.join("alerts_test.yml");
    let queries = dashboard_queries(&folder.join("dashboard.json"))?;
    let metrics = http::get(&proxy.url, "/metrics")?;
    let mut tally = Tally::default();
    for (says, arguments, input) in [
        ("check rules alerts.yml", vec!["check", "rules", text(&rules)?], String::new()),
        ("test rules alerts_test.yml", vec!["test", "rules", text(&tests)?], String::new()),
        ("the dashboard's queries", vec!["check", "rules", text(&queries)?], String::new()),
        ("check metrics < GET /metrics", vec!["check", "metrics"], metrics.body),
    ] {
        let outcome = piped(Command::new("promtool").args(arguments), &input);
        tally += Tally::one(outcome.is_ok());
        match outcome {
            Ok(()) => println!("    ok      {says}"),
            Err(why) => println!("    FAILED  {says}\n{why}"),
        }
    }
    Ok(tally)
}

/// A few requests, so that there is something to count.
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

/// Every query of the dashboard as a recording rule, for promtool to parse. A JSON string is also
/// one of YAML.
fn dashboard_queries(dashboard: &Path) -> Result<PathBuf, Failure> {
    let json = fs::read_to_string(dashboard)
        .map_err(|why| Failure::new(format!("{}: {why}", dashboard.display())))?;
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let queries = json.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": "));
    for (number, query) in queries.enumerate() {
        let query = query.trim_end_matches(',').replace("$__rate_interval", "5m");
        let _ = writeln!(rules, "  - record: dashboard:query:{number}\n    expr: {query}");
    }
    write_work("dashboard-queries.yml", &rules)
}

fn status_page(node: &Path, open: &Proxy, keyed: &Proxy) -> Result<Tally, Failure> {
    let mut test = Command::new(node.join("node"));
    test.args(["--test", "--test-force-exit", "--test-reporter=tap", "page/page.test.mjs"])
        .current_dir(clients::folder())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", clients::work())
        .env("LANG", "C.UTF-8")
        .env("PROXY_URL", &open.url)
        .env("EMULATOR_URL", &open.emulator)
        .env("KEYED_URL", &keyed.url)
        .env("KEY", KEY);
    for name in ["SHOTS", "SECONDS"] {
        if let Some(value) = std::env::var_os(name) {
            test.env(name, value);
        }
    }
    let (output, status) = tee(&mut test, PAGE_LIMIT)?;
    judged(Runner::Node.count(&output), status.success(), "the status page's test")
}

fn binary() -> Command {
    Command::new(crate::target().join("debug/code-assist-proxy"))
}

/// A settings file with a key: secrets have no flags.
fn keys() -> Result<PathBuf, Failure> {
    write_work("keys.toml", &format!("proxy_api_keys = \"page:{KEY}\"\n"))
}

fn write_work(name: &str, content: &str) -> Result<PathBuf, Failure> {
    let folder = clients::work();
    let path = folder.join(name);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, content))
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", path.display())))?;
    Ok(path)
}

/// Runs `command` with `input`; what it said is in the failure.
fn piped(command: &mut Command, input: &str) -> Result<(), Failure> {
    let failed = |why: std::io::Error| Failure::new(format!("promtool: {why}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // promtool reads all of it before it says a word; what needs no input may have ended by now.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure::new(String::from_utf8_lossy(&said).into_owned()))
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::new(format!("{} is not UTF-8", path.display())))
}

const KEY: &str = "page-test-key";

/// Browsers start slowly on a busy machine.
const PAGE_LIMIT: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboards_queries_are_all_found() {
        let dashboard = crate::root().join("monitoring/dashboard.json");
        let rules = fs::read_to_string(dashboard_queries(&dashboard).unwrap()).unwrap();
        let panels = fs::read_to_string(dashboard).unwrap().matches("\"expr\"").count();
        assert!(panels > 30);
        assert_eq!(rules.matches("  expr: \"").count(), panels);
        assert!(!rules.contains("$__"));
    }
}
