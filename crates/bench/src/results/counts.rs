//! What `cargo xtask costs` has counted of a request in the whole binary.

use std::fs;
use std::path::Path;

use super::samples::Samples;
use crate::BenchError;
use crate::testbed::Contender;

/// Adds the counts of crates/costs/binary.txt to the samples.
pub(crate) fn read(file: &Path, samples: &mut Samples) -> Result<(), BenchError> {
    let text = fs::read_to_string(file)?;
    let (clock_reads, allocations) = counts(&text)
        .ok_or_else(|| BenchError(format!("{} has no line of `{LOAD}`", file.display())))?;
    let proxy = Contender::Proxy.key();
    samples.put(0, proxy, "clock_reads", clock_reads);
    samples.put(0, proxy, "allocations", allocations);
    Ok(())
}

/// The first two columns: clock reads and allocations of a request.
fn counts(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("load ")?.strip_prefix(LOAD))?;
    let mut columns = line.split_ascii_whitespace().map(str::parse);
    Some((columns.next()?.ok()?, columns.next()?.ok()?))
}

/// The load that is most like the one that is measured here.
const LOAD: &str = "unary ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_request_are_read() {
        let text =
            "# load   clock reads allocations\nload unary_64 5 24 9 1\nload unary 6.20 25.00 9 1\n";
        assert_eq!(counts(text), Some((6.2, 25.0)));
        assert_eq!(counts("load other 1 2\nload unary x 2"), None);
    }
}
