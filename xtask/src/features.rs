//! The server crate with its optional parts left out: each combination must build without warnings.

use crate::process::run as shown;
use crate::report::Report;
use crate::workspace::cargo;

/// Lints every combination but the default one, which `lint` covers. Then runs the tests of the error
/// messages of the smallest build.
pub(crate) fn run(report: &mut Report) {
    for features in COMBINATIONS {
        let title = if features.is_empty() { "no features" } else { features };
        report.step(&format!("clippy -p {SERVER}, {title}"), || {
            // First as it is published: development dependencies can turn on what it forgot to ask for.
            for targets in [&[][..], &["--all-targets"]] {
                let mut clippy = cargo("clippy");
                clippy.args(["-p", SERVER, "--no-default-features", "--features", features]);
                shown(clippy.args(targets).args(["--", "-D", "warnings"]))?;
            }
            Ok(())
        });
    }
    report.step(&format!("error messages of {SERVER} without features"), || {
        shown(cargo("test").args(["-p", SERVER, "--no-default-features", "--test", "features"]))
    });
}

const SERVER: &str = "code-assist-proxy";

/// Of `emulator`, `otel` and `redis`: each alone.
const COMBINATIONS: [&str; 4] = ["", "emulator", "otel", "redis"];
