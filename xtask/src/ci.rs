//! Everything that CI checks.

use crate::report::Report;
use crate::setup::Need;
use crate::{agents, costs, deny, dist, fuzz, lint, smoke, soak, test};

/// What the system has to have for [`run`].
pub(crate) fn needs() -> Vec<Need> {
    [test::NEEDS, agents::NEEDS, lint::NEEDS, costs::NEEDS, fuzz::NEEDS, &dist::needs()].concat()
}

/// Builds first and checks then. A build keeps only one processor busy for much of its time, so two
/// lists of builds run side by side; no two of them write to the same folder. Tests that measure time
/// run alone.
pub(crate) fn run(report: &mut Report) {
    let ((smoke, costs, deny), (built, agents, fuzz)) = report.side_by_side(
        |report| {
            let built = (smoke::build(report), costs::build(report), deny::tool(report));
            test::build_rust_tests(report);
            built
        },
        |report| {
            let built = test::build_worker_and_clients(report);
            (built, agents::install(report), fuzz::build(report))
        },
    );
    if smoke.is_some() {
        smoke::check(report);
        dist::ci(report);
    }
    test::check(report, built);
    if let Some(agents) = agents {
        agents.run(report);
    }
    // Alone too: other work delays requests, and then fewer of them share a reading of the clock.
    if smoke.is_some() && costs.is_some() {
        costs::check(report);
    }
    report.side_by_side(lint::run, |report| {
        if let Some(deny) = deny {
            deny::check(report, &deny);
        }
        if let Some(fuzz) = fuzz {
            fuzz::check(report, &fuzz, &fuzz::Options::default());
        }
    });
    soak::run(report, &soak::Options::default());
}
