//! The table of faults, and the page that is generated from it.

use std::fmt::Write as _;

use code_assist_harness::{TestProxy, assert_generated};

/// Makes a test of each row, with its name, and the table of all rows. Rows below `both` run against
/// either build, as `both::NAME`; rows below `native` only against the binary, as `native::NAME`.
macro_rules! faults {
    ($($title:literal in $module:ident {
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
                    $crate::table::run($crate::$module::$name);
                }
            )*)*
        }

        mod native {
            $($(
                #[test]
                fn $own() {
                    $crate::table::run($crate::$module::$own);
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

/// Runs a row, and asserts that it leaks nothing.
pub(crate) fn run(row: fn() -> Vec<TestProxy>) {
    for proxy in row() {
        proxy.assert_no_leaks();
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
    /// Why the row does not hold for the Worker.
    pub(crate) native: Option<&'static str>,
}

#[test]
fn faults_md_is_what_the_table_says() {
    assert_generated("docs/FAULTS.md", &page(crate::TABLE), "faults faults_md");
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
<!-- Generated from crates/server/tests/faults/main.rs. Do not edit; update it with
     UPDATE_DOCS=1 cargo test -p code-assist-proxy --test faults faults_md -->
# Faults

COUNT faults, each run over real sockets against the real binary. A row asserts what the client sees, what
upstream sees, and that no request and no file descriptor is left over. BOTH of them run against the
Cloudflare Worker too (`cargo xtask conformance`), without the check of file descriptors; the last
column says why the others do not. All rows, or one by its name:

```sh
cargo test -p code-assist-proxy --test faults
cargo test -p code-assist-proxy --test faults -- reset_before_head
```

Unless a row has another value, `MAX_RETRY_ATTEMPTS` is 2: \"3 tries\" are the maximum.
";

const HEADER: &str =
    "| Row | Fault | The client sees | Upstream sees | Worker |\n|---|---|---|---|---|\n";

const CLOSING: &str = "
## Not in this table

- Clocks that jump: these tests cannot set the machine's clock. The tests of `crates/core/src/policy` and
  of `crates/testkit` do it with a scripted clock.
- Random faults under mixed load: `cargo xtask soak --minutes N`.
- Signals: `crates/server/tests/serve/shutdown.rs`.
";
