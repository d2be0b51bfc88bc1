//! How long the store keeps what keys have used.

use std::time::Duration;

use code_assist_core::{Charge, Day, Platform, ProcessId, UsageBatch, UsageRow};
use serde_json::json;

use crate::{Fixture, table};

#[test]
fn usage_is_removed_after_its_retention_once_an_hour() {
    let more = [("UPSTREAMS", "code-assist"), ("USAGE_RETENTION_DAYS", "32")];
    let fixture = Fixture::with(&more, &[table("ada", json!({}))], |_| None);
    let script = &fixture.script;
    let today = Day::of(script.wall_clock());
    let used = |number, before: u32| UsageBatch {
        process: ProcessId(7),
        number,
        rows: vec![UsageRow {
            key: "ada".into(),
            model: "m".into(),
            day: today.before(before),
            requests: 1,
            charge: Charge::default(),
        }],
        reserved: Vec::new(),
    };
    let tick = || script.run(&fixture.proxy, fixture.proxy.tick(script));
    for (number, before) in [(1, 31), (2, 32), (3, 33), (4, 400)] {
        script.run(&fixture.proxy, script.add_usage(&used(number, before))).unwrap();
    }
    // The fixture has called it once.
    tick();
    assert_eq!(script.stored_usage("ada").len(), 4);
    script.advance(Duration::from_secs(3600));
    tick();
    let kept: Vec<Day> = script.stored_usage("ada").iter().map(|row| row.day).collect();
    assert_eq!(kept, [today.before(32), today.before(31)]);
}
