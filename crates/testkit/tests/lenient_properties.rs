//! Properties of the lenient reading of JSON, over generated texts.

use bytes::Bytes;
use code_assist_core::internals::json::lenient;
use code_assist_testkit::lenient_json::check_normalize;
use proptest::prelude::*;
use proptest::sample::select;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lenient_text_is_rewritten_to_the_strict_text_of_the_same_value(text in lenient_document()) {
        let LenientText { given, strict } = text;
        let normalized = lenient::normalize(&Bytes::from(given.clone()), strict.len()).unwrap();
        prop_assert_eq!(&normalized.text, strict.as_bytes(), "{:?}", given);
        prop_assert_eq!(normalized.found.is_empty(), given == strict);
        check_normalize(given.as_bytes());
    }

    #[test]
    fn any_text_is_rewritten_as_a_second_reader_reads_it(text in prop_oneof![
        prop::collection::vec(select(&b"{}[]\",:'\\\\$_an1u \n\x00\x0b\x0c\xef\xbb\xbf\xc3\xa9"[..]), 0..24),
        lenient_document().prop_map(|text| text.given.into_bytes()),
        (lenient_document(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut text = text.given.into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            text
        }),
    ]) {
        check_normalize(&text);
    }
}

/// A text with leniencies, and the strict text that it becomes.
#[derive(Debug, Clone, Default)]
struct LenientText {
    given: String,
    strict: String,
}

impl LenientText {
    fn push(&mut self, given: &str, strict: &str) {
        self.given.push_str(given);
        self.strict.push_str(strict);
    }

    fn append(&mut self, other: &Self) {
        self.push(&other.given, &other.strict);
    }
}

/// One value with leniencies, alone or as a client's body.
fn lenient_document() -> impl Strategy<Value = LenientText> {
    let body = (lenient_blank(), lenient_value()).prop_map(|(blank, value)| {
        let mut body = LenientText::default();
        body.push("{contents", "{\"contents\"");
        body.append(&blank);
        body.push(":", ":");
        body.append(&value);
        body.push("}", "}");
        body
    });
    (any::<bool>(), lenient_blank(), prop_oneof![lenient_value(), body]).prop_map(
        |(mark, blank, value)| {
            let mut document = LenientText::default();
            document.push(if mark { "\u{feff}" } else { "" }, "");
            document.append(&blank);
            document.append(&value);
            document.append(&blank);
            document
        },
    )
}

fn lenient_value() -> impl Strategy<Value = LenientText> {
    let same = |text: String| LenientText { given: text.clone(), strict: text };
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,6})?([eE][+-]?[0-9])?".prop_map(same),
        select(vec!["null", "true", "false"]).prop_map(move |word| same(word.to_owned())),
        lenient_string(),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let item = (lenient_blank(), inner.clone(), lenient_blank());
        let member = (lenient_blank(), lenient_key(), lenient_blank(), inner);
        prop_oneof![
            (prop::collection::vec(item, 0..4), lenient_blank()).prop_map(|(items, trailing)| {
                let items = items.into_iter().map(|(before, mut item, after)| {
                    item.append(&after);
                    (before, item)
                });
                lenient_list("[", &items.collect::<Vec<_>>(), "]", &trailing)
            }),
            (prop::collection::vec(member, 0..4), lenient_blank()).prop_map(
                |(members, trailing)| {
                    let members = members.into_iter().map(|(before, mut member, colon, value)| {
                        member.append(&colon);
                        member.push(":", ":");
                        member.append(&colon);
                        member.append(&value);
                        (before, member)
                    });
                    lenient_list("{", &members.collect::<Vec<_>>(), "}", &trailing)
                }
            ),
        ]
    })
}

/// A list with a comma too many, if there is a blank to put behind it.
fn lenient_list(
    open: &str,
    items: &[(LenientText, LenientText)],
    close: &str,
    trailing: &LenientText,
) -> LenientText {
    let mut list = LenientText::default();
    list.push(open, open);
    let some = !items.is_empty();
    for (number, (before, item)) in items.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        list.push(comma, comma);
        list.append(before);
        list.append(item);
    }
    if some && !trailing.given.is_empty() {
        list.push(",", "");
    }
    list.append(trailing);
    list.push(close, close);
    list
}

fn lenient_key() -> impl Strategy<Value = LenientText> {
    let bare = "[a-zA-Z_$][a-zA-Z0-9_$]{0,6}"
        .prop_filter("a reserved word", |key| !["null", "true", "false"].contains(&&**key));
    prop_oneof![
        lenient_string(),
        bare.prop_map(|key| LenientText { strict: format!("\"{key}\""), given: key }),
    ]
}

/// A string in quotes of either kind.
fn lenient_string() -> impl Strategy<Value = LenientText> {
    let piece = prop_oneof![
        "[ !#-&(-\\[\\]-~]{0,6}".prop_map(|text| (text.clone(), text)),
        select(vec![
            ("\\n", "\\n"),
            ("\\\\", "\\\\"),
            ("\\\"", "\\\""),
            ("\\u00e9", "\\u00e9"),
            ("\\ud83d", "\\ud83d"),
            ("é😀", "é😀"),
            ("\n", "\\n"),
            ("\r", "\\r"),
            ("\t", "\\t"),
            ("\u{0}", "\\u0000"),
            ("\u{1f}", "\\u001f"),
            ("\\'", "'"),
            ("\\v", "\\u000b"),
            ("\\x", "x"),
            ("\\é", "é"),
            ("\\\n", "\\n"),
        ])
        .prop_map(|(given, strict)| (given.to_owned(), strict.to_owned())),
    ];
    (any::<bool>(), prop::collection::vec((piece, any::<bool>()), 0..4)).prop_map(
        |(single, pieces)| {
            let (quote, other) = if single { ("'", ("\"", "\\\"")) } else { ("\"", ("'", "'")) };
            let mut text = LenientText::default();
            text.push(quote, "\"");
            for ((given, strict), quoted) in pieces {
                text.push(&given, &strict);
                if quoted {
                    text.push(other.0, other.1);
                }
            }
            text.push(quote, "\"");
            text
        },
    )
}

fn lenient_blank() -> impl Strategy<Value = LenientText> + Clone {
    let blanks = vec![
        ("", ""),
        ("", ""),
        ("", ""),
        (" ", " "),
        ("\r\n\t", "\r\n\t"),
        ("\u{b}", " "),
        ("\u{c}\n", " \n"),
    ];
    select(blanks)
        .prop_map(|(given, strict)| LenientText { given: given.into(), strict: strict.into() })
}
