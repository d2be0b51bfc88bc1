//! The table of faults, and the page that is made from it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::bench::Bench;

/// Makes a test of each row, named like it, and the table of all. Those below `both` run for either
/// subject, as `both::NAME`; those below `native` only for the binary, as `native::NAME`.
macro_rules! faults {
    ($($title:literal in $room:ident {
        both {
            $($name:ident: $fault:literal, $client:literal, $upstream:literal;)*
        }
        native {
            $($own:ident: $own_fault:literal, $own_client:literal, $own_upstream:literal,
                because $reason:literal;)*
        }
    })*) => {
        mod both {
            $($(
                #[test]
                fn $name() {
                    $crate::table::run($crate::$room::$name);
                }
            )*)*
        }

        mod native {
            $($(
                #[test]
                fn $own() {
                    $crate::table::run($crate::$room::$own);
                }
            )*)*
        }

        const TABLE: &[$crate::table::Group] = &[$($crate::table::Group {
            title: $title,
            rows: &[
                $($crate::table::Row {
                    name: stringify!($name),
                    fault: $fault,
                    client: $client,
                    upstream: $upstream,
                    native: None,
                },)*
                $($crate::table::Row {
                    name: stringify!($own),
                    fault: $own_fault,
                    client: $own_client,
                    upstream: $own_upstream,
                    native: Some($reason),
                },)*
            ],
        },)*];
    };
}
pub(crate) use faults;

/// Runs a row, and looks at what it has left behind.
pub(crate) fn run(row: fn() -> Vec<Bench>) {
    for bench in row() {
        bench.leaks_nothing();
    }
}

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
    /// Why it says nothing of the Worker.
    pub(crate) native: Option<&'static str>,
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
    let rows = table.iter().flat_map(|group| group.rows);
    let native = rows.filter(|row| row.native.is_some()).count();
    let mut page = INTRODUCTION
        .replace("COUNT", &count.to_string())
        .replace("BOTH", &(count - native).to_string());
    for group in table {
        let _ = write!(page, "\n## {}\n\n{HEADER}", group.title);
        for row in group.rows {
            let Row { name, fault, client, upstream, native } = row;
            let worker = native.map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
            let _ = writeln!(page, "| `{name}` | {fault} | {client} | {upstream} | {worker} |");
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

BOTH of them run against the Cloudflare Worker too, under workerd (`cargo xtask conformance`), where
nobody looks at file descriptors; the last column says why the others do not.

All of them, or one by its name:

```sh
cargo test -p code-assist-proxy --test faults
cargo test -p code-assist-proxy --test faults -- reset_before_head
```

Unless a row says otherwise, `MAX_RETRY_ATTEMPTS` is 2: \"3 tries\" are all that are allowed.
";

const HEADER: &str =
    "| Row | UpstreamError | The client sees | Upstream sees | Worker |\n|---|---|---|---|---|\n";

const CLOSING: &str = "
## Not here

- A clock that jumps is not for a black box: machine time is not the tests' to set. `quota.rs` and
  `token.rs` in `crates/core/src/policy` and the lives in `crates/testkit/tests/life.rs` do it with
  a clock in hand.
- Random faults under mixed load: `cargo xtask soak --minutes N`.
- What a proxy does on signals: `crates/server/tests/serve/shutdown.rs`.
";
