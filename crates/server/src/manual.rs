//! The manual pages, from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use crate::cli;

/// Writes a page for each command into a folder, which is made if it is not there.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = cli::command().disable_help_subcommand(true);
    // Gives the subcommands their full names.
    command.build();
    write_pages(command, folder)
}

fn write_pages(command: Command, folder: &Path) -> io::Result<()> {
    for deeper in command.get_subcommands() {
        write_pages(deeper.clone(), folder)?;
    }
    Man::new(plain(command)).source(VERSION).manual("User Commands").generate_to(folder)?;
    Ok(())
}

/// The command as a page shows it. The synopsis is the short one of `--help`, since a page would list
/// each of the more than a hundred options there, and what the short help leaves out has its text.
fn plain(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command.override_usage(usage).mut_args(|arg| arg.hide_short_help(false))
}

const VERSION: &str = concat!("code-assist-proxy ", env!("CARGO_PKG_VERSION"));
