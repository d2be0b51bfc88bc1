//! Calls and instructions in a profile of callgrind, in the format of
//! <https://valgrind.org/docs/manual/cl-format.html>.

use std::collections::BTreeMap;
use std::path::Path;

use crate::report::Failure;

/// What was counted while a load was sent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Instructions of the program and of the C library.
    pub(super) instructions: u64,
    pub(super) allocations: u64,
    pub(super) clock_reads: u64,
    pub(super) copies: u64,
}

impl Profile {
    /// `fn=(1) NAME` names a function the first time and `fn=(1)` later; `cfn=` is the function that is
    /// called by the `calls=COUNT` after it. The line after `calls=` has the costs of the callee.
    pub(super) fn parse(text: &str, program: &Path) -> Result<Self, Failure> {
        let program = program.to_string_lossy();
        let (mut functions, mut objects) = (BTreeMap::new(), BTreeMap::new());
        let mut profile = Self::default();
        let (mut callee, mut is_counted, mut is_inclusive) = (Kind::Other, false, false);
        for line in text.lines() {
            if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
                let kind = named(&mut functions, function, Kind::of);
                if line.starts_with("cfn=") {
                    callee = kind;
                }
            } else if let Some(object) =
                line.strip_prefix("cob=").or_else(|| line.strip_prefix("ob="))
            {
                let is_own = |name: &str| name == program || name.contains("/libc");
                let is_own = named(&mut objects, object, is_own);
                if line.starts_with("ob=") {
                    is_counted = is_own;
                }
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let calls = calls.split(' ').next().and_then(|calls| calls.parse::<u64>().ok());
                let calls = calls.ok_or_else(|| Failure::new(format!("callgrind: `{line}`")))?;
                match callee {
                    Kind::Allocation => profile.allocations += calls,
                    Kind::ClockRead => profile.clock_reads += calls,
                    Kind::Copy => profile.copies += calls,
                    Kind::Other => {}
                }
                is_inclusive = true;
            } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
                if is_counted && !is_inclusive {
                    profile.instructions += cost.unwrap_or(0);
                }
                is_inclusive = false;
            }
        }
        Ok(profile)
    }
}

/// What a call of a function counts as.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Allocation,
    ClockRead,
    Copy,
    Other,
}

impl Kind {
    fn of(function: &str) -> Self {
        // A call within a call of the same function has a number: `malloc'2`.
        match function.split('\'').next().unwrap_or_default() {
            "malloc" | "calloc" | "realloc" | "posix_memalign" | "aligned_alloc" => {
                Self::Allocation
            }
            name if name.starts_with("clock_gettime") => Self::ClockRead,
            // The C library has one for each kind of processor: `__memcpy_avx_unaligned_erms`.
            name if name.starts_with("__memcpy_")
                || name.starts_with("__memmove_")
                || matches!(name, "memcpy" | "memmove") =>
            {
                Self::Copy
            }
            _ => Self::Other,
        }
    }
}

/// What `name_or_number` stands for.
fn named<T: Copy>(
    known: &mut BTreeMap<String, T>,
    name_or_number: &str,
    make: impl Fn(&str) -> T,
) -> T {
    let (number, name) = name_or_number.split_once(' ').unwrap_or((name_or_number, name_or_number));
    match known.get(number) {
        Some(found) => *found,
        None => {
            let made = make(name);
            known.insert(number.to_owned(), made);
            made
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_what_is_called_and_instructions_once() {
        let text = "events: Ir\nob=(1) /t/release/proxy\nfl=(1) a.rs\nfn=(1) main\n10 5\n+1 7\n\
                    cob=(2) /lib/libc.so.6\ncfn=(2) malloc\ncalls=3 20\n* 900\n\
                    cfn=(3) clock_gettime@@GLIBC_2.17\ncalls=2 20\n* 4\n-2 1\n\
                    ob=(2)\nfn=(2)\n20 900\ncfn=(4) __memcpy_avx_unaligned\ncalls=1 9\n* 3\n\
                    ob=(3) /lib/ld-linux.so\nfn=(5) _dl_runtime_resolve\n1 50\n\
                    ob=(1)\nfn=(6) malloc_usable_size\n4 100\ncfn=(2)\ncalls=4 20\n* 9\n\
                    cfn=(7) realloc'2\ncalls=1 20\n* 9\ntotals: 1013\n";
        let expected = Profile { instructions: 1013, allocations: 8, clock_reads: 2, copies: 1 };
        assert_eq!(Profile::parse(text, Path::new("/t/release/proxy")).unwrap(), expected);
        assert!(Profile::parse("calls=many 1\n", Path::new("x")).is_err());
    }
}
