//! The usage and the budgets of the scripted platform keep what real stores keep.

use code_assist_core::Platform;
use code_assist_testkit::contract::{budget_contract, usage_contract};
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;

use crate::Fleet;

#[test]
fn the_scripted_platform_fulfils_the_contracts_of_usage_and_of_budgets() {
    let script = ScriptedPlatform::new(google());
    let fleet = Fleet::of(1, &script);
    let a = script.another_process();
    fleet.run(usage_contract(
        &a,
        ScriptedPlatform::add_usage,
        ScriptedPlatform::usage,
        ScriptedPlatform::remove_usage,
    ));
    let script = ScriptedPlatform::new(google());
    let fleet = Fleet::of(1, &script);
    let (a, b) = (script.another_process(), script.another_process());
    fleet.run(budget_contract(
        (&a, &b),
        async |how_long| a.advance(how_long),
        ScriptedPlatform::reserve,
        ScriptedPlatform::add_usage,
    ));
}
