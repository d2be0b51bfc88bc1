//! The table of attacks, and the page that is generated from it.

use std::fmt::Write as _;
use std::fs;

use code_assist_harness::{assert_generated, workspace};

/// Declares the attacks of a file.
///
/// A row below `both` or `native` is a function of its name in that file. It returns the proxies that it
/// attacked, which must still work. `both::NAME` runs against either build, `native::NAME` only against
/// the binary. A row below `proved` has its test elsewhere: `by` names a file and the test in it.
///
/// ```text
/// attacks! {
///     "Title of the section"
///     both {
///         name: "what is sent", "what holds";
///     }
///     native {
///         name: "what is sent", "what holds", because "why it does not hold for the Worker";
///     }
///     proved {
///         name: "what is sent", "what holds", by "crates/core/src/intake/mod.rs::name_of_the_test";
///     }
/// }
/// ```
macro_rules! attacks {
    (
        $title:literal
        both { $($name:ident: $sent:literal, $holds:literal;)* }
        native { $($own:ident: $own_sent:literal, $own_holds:literal, because $reason:literal;)* }
        proved { $($known:ident: $known_sent:literal, $known_holds:literal, by $test:literal;)* }
    ) => {
        mod both {
            $(
                #[test]
                fn $name() {
                    $crate::attacked::run(module_path!(), super::$name);
                }
            )*
        }

        mod native {
            $(
                #[test]
                fn $own() {
                    $crate::attacked::run(module_path!(), super::$own);
                }
            )*
        }

        pub(crate) const ATTACKS: $crate::table::Topic = $crate::table::Topic {
            title: $title,
            rows: &[
                $($crate::table::Row {
                    name: stringify!($name),
                    sent: $sent,
                    holds: $holds,
                    proof: $crate::table::Proof::Both,
                },)*
                $($crate::table::Row {
                    name: stringify!($own),
                    sent: $own_sent,
                    holds: $own_holds,
                    proof: $crate::table::Proof::Native($reason),
                },)*
                $($crate::table::Row {
                    name: stringify!($known),
                    sent: $known_sent,
                    holds: $known_holds,
                    proof: $crate::table::Proof::Elsewhere($test),
                },)*
            ],
        };
    };
}
pub(crate) use attacks;

/// The attacks of one file.
pub(crate) struct Topic {
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Row],
}

/// One attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) sent: &'static str,
    pub(crate) holds: &'static str,
    pub(crate) proof: Proof,
}

/// Where the test of a row is.
pub(crate) enum Proof {
    /// In this suite, for either build.
    Both,
    /// In this suite, for the binary only; the reason why.
    Native(&'static str),
    /// `PATH::TEST`.
    Elsewhere(&'static str),
}

#[test]
fn attacks_md_is_what_the_table_says() {
    assert_generated("docs/ATTACKS.md", &page(crate::TOPICS), "attacks attacks_md");
}

#[test]
fn every_test_that_proves_a_row_elsewhere_is_there() {
    for row in crate::TOPICS.iter().flat_map(|topic| topic.rows) {
        let Proof::Elsewhere(test) = row.proof else { continue };
        let (file, name) = test.split_once("::").expect("PATH::TEST");
        let text = fs::read_to_string(workspace().join(file)).unwrap_or_default();
        assert!(text.contains(&format!("fn {name}(")), "{}: there is no {test}", row.name);
    }
}

#[test]
fn each_attack_has_a_name_of_its_own() {
    let rows = crate::TOPICS.iter().flat_map(|topic| topic.rows);
    let mut names: Vec<&str> = rows.map(|row| row.name).collect();
    names.sort_unstable();
    let doubled = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(doubled, None);
}

fn page(topics: &[&Topic]) -> String {
    let all = || topics.iter().flat_map(|topic| topic.rows);
    let (count, both) =
        (all().count(), all().filter(|row| matches!(row.proof, Proof::Both)).count());
    let mut page =
        INTRODUCTION.replace("COUNT", &count.to_string()).replace("BOTH", &both.to_string());
    for topic in topics.iter().filter(|topic| !topic.rows.is_empty()) {
        let _ = write!(page, "\n## {}\n\n{HEADER}", topic.title);
        for Row { name, sent, holds, proof } in topic.rows {
            let proof = match proof {
                Proof::Both => "yes".to_owned(),
                Proof::Native(reason) => format!("no: {reason}"),
                Proof::Elsewhere(test) => elsewhere(test),
            };
            let _ = writeln!(page, "| `{name}` | {sent} | {holds} | {proof} |");
        }
    }
    page.push_str(CLOSING);
    page
}

/// A link to the test that proves a row.
fn elsewhere(test: &str) -> String {
    let (file, name) = test.split_once("::").expect("PATH::TEST");
    format!("proved by [`{name}`](../{file})")
}

const INTRODUCTION: &str = "\
<!-- Generated from crates/server/tests/attacks. Do not edit; update it with
     UPDATE_DOCS=1 cargo test -p code-assist-proxy --test attacks attacks_md -->
# Attacks

COUNT attacks, each run over real sockets against the real binary. The attacker reaches the port, with or
without a key, or is a web page, a caller with a key of its own, or an upstream that lies; what is
trusted, and how to report a hole, is in [SECURITY.md](../SECURITY.md). A row sends the bytes of the attack and
asserts what holds. After it, the proxy must still be healthy and answer an honest request, with no
request in flight, no new file descriptor and no more memory than a bound. BOTH of the attacks run against the
Cloudflare Worker too (`cargo xtask conformance`); the last column says why others do not, or which other
test proves the row. All rows, or one by its name:

```sh
cargo test -p code-assist-proxy --test attacks
cargo test -p code-assist-proxy --test attacks -- foreign_hosts
```

Faults that have no attacker are in [FAULTS.md](FAULTS.md).
";

const HEADER: &str = "| Row | Sent | What holds | Worker |\n|---|---|---|---|\n";

const CLOSING: &str = "
## Not in this table

- Random bytes: the fuzz targets in `fuzz/fuzz_targets` (`cargo xtask fuzz`).
- A clock that jumps: these tests cannot set the machine's clock. The tests of `crates/core/src/policy` and
  of `crates/testkit` do it with a scripted clock.
- Attacks against Cloudflare's own edge: its HTTP parser and its limits are not the proxy's.
";
