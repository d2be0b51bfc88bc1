//! Files that are generated from the table of settings.

use code_assist_core::settings::{reference, worker_example};
use code_assist_harness::assert_generated;

#[test]
fn config_md_is_what_the_table_says() {
    assert_generated("docs/CONFIG.md", &reference(), "cli config_md");
}

#[test]
fn dev_vars_example_has_every_setting_of_the_worker() {
    assert_generated("crates/worker/.dev.vars.example", &worker_example(), "cli dev_vars");
}
