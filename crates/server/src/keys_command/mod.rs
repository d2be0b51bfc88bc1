//! `keys`: makes and lists the keys of `[[key]]` tables, and shows their usage.

mod arguments;
mod file;
mod list;
mod new;
mod table;
mod usage;
mod usage_table;

pub(crate) use arguments::{KeysArguments, KeysTask};
pub(crate) use table::new_key;

use crate::CommandError;
use crate::sources::Sources;

/// Runs one of the commands.
pub(crate) fn run(task: &KeysTask, sources: &Sources) -> Result<(), CommandError> {
    match task {
        KeysTask::New(new) => new::run(new, sources),
        KeysTask::List { json } => {
            let (settings, warnings) = sources.read().map_err(CommandError::Settings)?;
            warnings.iter().for_each(crate::warn);
            list::run(&settings, *json);
            Ok(())
        }
        KeysTask::Usage(arguments) => {
            let (settings, warnings) = sources.read().map_err(CommandError::Settings)?;
            warnings.iter().for_each(crate::warn);
            crate::runtime()?.block_on(usage::run(arguments, settings))
        }
    }
}
