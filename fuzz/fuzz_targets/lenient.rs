//! A text is rewritten as strict JSON of the same value or refused, and no body gets out of the envelope
//! by being rewritten.
#![no_main]

use code_assist_testkit::lenient_json::check_normalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check_normalize(data));
