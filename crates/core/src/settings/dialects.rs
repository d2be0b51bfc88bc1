//! The settings of dialects, as rows of the table.

use super::spec::{GIBIBYTE, Group, Kind, MINUTE_MS, SettingSpec, setting};

pub(super) const DIALECTS: SettingSpec = setting(
    Group::Dialects,
    "DIALECTS",
    "gemini,openai,anthropic",
    Kind::Text("names out of gemini, openai, anthropic, separated by commas"),
    "What clients may speak. The paths of the others do not exist.",
);

pub(super) const EARLY_HEARTBEAT_MS: SettingSpec = setting(
    Group::Dialects,
    "EARLY_HEARTBEAT_MS",
    "0",
    Kind::Whole { min: 0, max: 10 * MINUTE_MS },
    "In a stream for an OpenAI or Anthropic client: the head and a first heartbeat are sent after this \
     time without an event. An error after that comes as an event of a 200. 0 turns it off.",
);

pub(super) const SIGNATURE_CACHE_BYTES: SettingSpec = setting(
    Group::Dialects,
    "SIGNATURE_CACHE_BYTES",
    "16MiB",
    Kind::Bytes { min: 0, max: 4 * GIBIBYTE },
    "Memory for the thought signatures that OpenAI and Anthropic clients do not bring back; 0 turns \
     it off.",
);
