//! What Unix has and other systems do not. There the rest of this program works all the same: packages for
//! Windows are made with it.

use std::io;
use std::path::Path;
use std::process::Command;

/// Sets a file's permissions. Systems without such permissions leave the file as it is.
#[cfg_attr(not(unix), expect(unused_variables, reason = "see above"))]
pub(crate) fn set_mode(file: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A file's permissions, if the system has such.
#[cfg_attr(not(unix), expect(unused_variables, reason = "see above"))]
pub(crate) fn mode(file: &Path) -> io::Result<Option<u32>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Ok(Some(std::fs::metadata(file)?.permissions().mode() & 0o7777))
    }
    #[cfg(not(unix))]
    Ok(None)
}

/// Makes a symbolic link to `to` at `at`.
#[cfg_attr(not(unix), expect(unused_variables, reason = "see above"))]
pub(crate) fn link(to: &Path, at: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(to, at);
    #[cfg(not(unix))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Replaces this process by `command`. Returns only if that fails.
#[cfg_attr(not(unix), expect(unused_variables, reason = "see above"))]
pub(crate) fn replace_by(command: &mut Command) -> io::Error {
    #[cfg(unix)]
    return std::os::unix::process::CommandExt::exec(command);
    #[cfg(not(unix))]
    io::ErrorKind::Unsupported.into()
}
