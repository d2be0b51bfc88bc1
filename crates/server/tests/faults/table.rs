//! The table of faults, and the page that is made from it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Makes a test of each row, named like it, and the table of all.
macro_rules! faults {
    ($($title:literal in $room:ident {
        $($name:ident: $fault:literal, $client:literal, $upstream:literal;)*
    })*) => {
        $($(
            #[test]
            fn $name() {
                let benches: Vec<$crate::bench::Bench> = $crate::$room::$name();
                for bench in benches {
                    bench.leaks_nothing();
                }
            }
        )*)*

        const TABLE: &[$crate::table::Group] = &[$($crate::table::Group {
            title: $title,
            rows: &[$($crate::table::Row {
                name: stringify!($name),
                fault: $fault,
                client: $client,
                upstream: $upstream,
            },)*],
        },)*];
    };
}
pub(crate) use faults;

/// Rows under one heading.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Row],
}

/// One fault.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) client: &'static str,
    pub(crate) upstream: &'static str,
}

#[test]
fn faults_md_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/FAULTS.md");
    let page = page(crate::TABLE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/FAULTS.md is stale: UPDATE_DOCS=1 cargo test -p code-assist-proxy --test faults faults_md"
    );
}

#[test]
fn there_are_more_than_forty_faults() {
    assert!(crate::TABLE.iter().map(|group| group.rows.len()).sum::<usize>() > 40);
}

fn page(table: &[Group]) -> String {
    let count: usize = table.iter().map(|group| group.rows.len()).sum();
    let mut page = INTRODUCTION.replace("COUNT", &count.to_string());
    for group in table {
        let _ = write!(page, "\n## {}\n\n{HEADER}", group.title);
        for row in group.rows {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                row.name, row.fault, row.client, row.upstream
            );
        }
    }
    page.push_str(CLOSING);
    page
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/server/tests/faults/main.rs. Do not edit; write it anew with
     UPDATE_DOCS=1 cargo test -p code-assist-proxy --test faults faults_md -->
# Faults

COUNT things that go wrong, each run over real sockets against the real binary, in front of the
emulator or of an upstream whose every byte the row writes. A row asserts what the client saw, what
upstream saw, and that nothing is left behind: after it, nothing is in flight or in line, and no
file descriptor is open that was not open before.

All of them, or one by its name:

```sh
cargo test -p code-assist-proxy --test faults
cargo test -p code-assist-proxy --test faults -- reset_before_head
```

Unless a row says otherwise, `MAX_RETRY_ATTEMPTS` is 2: \"3 tries\" are all that are allowed.
";

const HEADER: &str = "| Row | Fault | The client sees | Upstream sees |\n|---|---|---|---|\n";

const CLOSING: &str = "
## Not here

- A clock that jumps is not for a black box: machine time is not the tests' to set. `quota.rs` and
  `token.rs` in `crates/core/src/policy` and the lives in `crates/testkit/tests/life.rs` do it with
  a clock in hand.
- Random faults under mixed load: `cargo xtask soak --minutes N`.
- What a proxy does on signals: `crates/server/tests/serve/shutdown.rs`.
";
