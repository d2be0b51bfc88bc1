//! The oldest glibc that a program starts with.

use std::path::Path;
use std::process::Command;

use crate::process::captured;
use crate::report::Failure;

/// Reads it from the versions of the symbols that the program imports, with `objdump` of the binutils.
pub(crate) fn oldest(program: &Path) -> Result<(u32, u32), Failure> {
    let symbols = captured(Command::new("objdump").arg("-T").arg(program))?;
    newest_symbol(&symbols).ok_or_else(|| {
        Failure::new(format!(
            "{} imports no symbol of glibc: is it linked statically?",
            program.display()
        ))
    })
}

/// The highest of the versions `GLIBC_2.34`. `GLIBC_PRIVATE` and the versions of other libraries have
/// other forms.
fn newest_symbol(symbols: &str) -> Option<(u32, u32)> {
    let version = |rest: &str| {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
        let mut numbers = rest[..end].split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    symbols.split("GLIBC_").skip(1).filter_map(version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides() {
        let symbols = "0000 DF *UND* 0000 (GLIBC_2.9) epoll_create1\n\
                       0000 DF *UND* 0000 (GLIBC_2.34) dlsym\n\
                       0000 DF *UND* 0000 (GLIBC_2.2.5) malloc\n\
                       0000 DF *UND* 0000 (GLIBC_PRIVATE) other\n\
                       0000 DF *UND* 0000 (GCC_4.2.0) _Unwind_GetIP\n";
        assert_eq!(newest_symbol(symbols), Some((2, 34)));
        assert_eq!(newest_symbol("0000 DF *UND* 0000 (GCC_3.0) _Unwind_Resume\n"), None);
    }
}
