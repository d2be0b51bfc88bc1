use bytes::Bytes;

use super::lenient::{self, NormalizeError};
use super::{Cursor, JsonError, Splice, ValueKind};

#[test]
fn every_kind_of_value_is_accepted() {
    for text in [
        "{}",
        "[]",
        "\"\"",
        "0",
        "-0",
        "10",
        "-1.50e+07",
        "1E-2",
        "0.0",
        "true",
        "false",
        "null",
        " \t\r\n[ 1 , {\"a\" : [ ] , \"b\":{ }} ]\n",
        "\"\\u00e9\\n\\/\\\\\\\"\"",
        "\"\u{7f}é\u{2028}\"",
        "\"\\ud800\"", // a lone surrogate is passed on
    ] {
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn a_text_that_is_not_json_is_refused_with_its_place() {
    for (text, what, line, column) in [
        ("", "expected a value", 1, 1),
        ("{}, \"project\": \"x\"", "trailing characters", 1, 3),
        ("{}{}", "trailing characters", 1, 3),
        ("{\n  \"a\": 1,\n}", "expected a key", 3, 1),
        ("[1,]", "expected a value", 1, 4),
        ("[1 2]", "expected `,` or `]`", 1, 4),
        ("[1}", "expected `,` or `]`", 1, 3),
        ("{\"a\":1]", "expected `,` or `}`", 1, 7),
        ("{\"a\" 1}", "expected `:`", 1, 6),
        ("{a:1}", "expected a key", 1, 2),
        ("{\"a\":1 \"b\"}", "expected `,` or `}`", 1, 8),
        ("01", "trailing characters", 1, 2),
        ("1.", "invalid number", 1, 3),
        (".5", "expected a value", 1, 1),
        ("+1", "expected a value", 1, 1),
        ("-", "invalid number", 1, 2),
        ("1e", "invalid number", 1, 3),
        ("nul", "expected a value", 1, 1),
        ("NaN", "expected a value", 1, 1),
        ("truex", "trailing characters", 1, 5),
        ("'a'", "expected a value", 1, 1),
        ("\"a", "unterminated string", 1, 3),
        ("\"a\\", "invalid escape", 1, 3),
        ("\"\\x\"", "invalid escape", 1, 2),
        ("\"\\u12g4\"", "invalid escape", 1, 2),
        ("[\"a\nb\"]", "control character in a string", 1, 4),
        ("\"\u{0}\"", "control character in a string", 1, 2),
        ("\u{feff}{}", "byte order mark", 1, 1),
        ("{} // x", "trailing characters", 1, 4),
        ("[", "expected a value", 1, 2),
        ("{", "expected a key", 1, 2),
        ("\u{a0}{}", "expected a value", 1, 1),
    ] {
        let malformed = check(text.as_bytes()).unwrap_err();
        assert_eq!(malformed, JsonError::new(what, line, column), "{text:?}");
    }
    let malformed = check(b"[\n\"\xff\"]").unwrap_err();
    assert_eq!(malformed, JsonError::new("invalid UTF-8", 2, 2));
}

#[test]
fn utf_8_is_checked_at_every_offset() {
    for len in 0..200 {
        let before = "é".repeat(len % 7) + &"x".repeat(len);
        for after in ["", "x", "ü", &"y".repeat(90), &"漢字".repeat(40)] {
            let good = format!("\"{before}😀{after}\"").into_bytes();
            assert_eq!(check(&good), Ok(()), "{len} {after}");
            assert!(!Cursor::new(&good).unwrap().is_ascii());
            let offset = 1 + before.len();
            let ends = [&b"\xff"[..], b"\x80", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf"];
            for bad in ends {
                let text = [&good[..offset], bad, after.as_bytes()].concat();
                let wrong = std::str::from_utf8(&text).unwrap_err().valid_up_to();
                let malformed = check(&text).unwrap_err();
                assert_eq!(malformed, JsonError::new("invalid UTF-8", 1, wrong + 1));
            }
        }
        assert!(Cursor::new("x".repeat(len).as_bytes()).unwrap().is_ascii());
    }
}

#[test]
fn a_string_of_every_length_ends_at_its_quote() {
    for len in 0..300 {
        let plain = "\u{7f}é!#[] ".repeat(len).chars().take(len).collect::<String>();
        let after = " ü\"\\\n".repeat(len);
        for end in ["\"", "\\n\"", "\\\"\""] {
            let string = format!("\"{plain}{end}");
            let text = format!("{string}{after}");
            assert_eq!(Cursor::new(text.as_bytes()).unwrap().skip(), Ok(0..string.len()), "{text}");
        }
        for (end, what) in [
            ("\u{1f}", "control character in a string"),
            ("\u{0}", "control character in a string"),
            ("", "unterminated string"),
        ] {
            let text = format!("\"{plain}{end}");
            let malformed = check(text.as_bytes()).unwrap_err();
            let column = 1 + plain.len() + 1;
            assert_eq!(malformed, JsonError::new(what, 1, column), "{text:?}");
        }
    }
}

#[test]
fn a_walk_by_hand_is_as_strict_as_skip() {
    fn walk(cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        match cursor.kind()? {
            ValueKind::Object => {
                let mut inside = cursor.object()?;
                while cursor.key(&mut inside)?.is_some() {
                    walk(cursor)?;
                }
            }
            ValueKind::Array => {
                let mut inside = cursor.array()?;
                while cursor.item(&mut inside)? {
                    walk(cursor)?;
                }
            }
            ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::Null => {
                cursor.skip()?;
            }
        }
        Ok(())
    }
    for text in [
        "{}",
        "[]",
        "{\"a\":[1,{\"b\":null}],\"c\":{}}",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\":1,}",
        "[1 2]",
        "[1}",
        "{\"a\":1]",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":}",
        "[",
        "{",
        "[1",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1\"b\":2}",
        "[1,",
    ] {
        let mut cursor = Cursor::new(text.as_bytes()).unwrap();
        let walked = walk(&mut cursor).and_then(|()| cursor.end());
        assert_eq!(walked, check(text.as_bytes()), "{text}");
    }
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(check(nested(512).as_bytes()), Ok(()));
    for too_deep in [nested(513), "[".repeat(1_000_000)] {
        let malformed = check(too_deep.as_bytes()).unwrap_err();
        assert_eq!(malformed, JsonError::new("nested too deeply", 1, 513));
    }
    let mixed = "{\"a\":[".repeat(256) + "1" + &"]}".repeat(256);
    assert_eq!(check(mixed.as_bytes()), Ok(()));
}

#[test]
fn a_key_with_escapes_is_decoded() {
    let mut cursor = Cursor::new(br#"{ "r\u006fle" : 1, "\ud800" :2 }"#).unwrap();
    let mut inside = cursor.object().unwrap();
    let key = cursor.key(&mut inside).unwrap().unwrap();
    assert_eq!((&*key.value, key.span), (&b"role"[..], 2..13));
    assert_eq!(cursor.skip().unwrap(), 16..17);
    assert_eq!(&*cursor.key(&mut inside).unwrap().unwrap().value, b"\\ud800");
    cursor.skip().unwrap();
    assert_eq!(cursor.key(&mut inside), Ok(None));
    assert_eq!(cursor.end(), Ok(()));
    assert_eq!(cursor.blanks(), 6);
}

#[test]
fn a_splice_slices_what_is_long_and_copies_what_is_short() {
    let text = Bytes::from("a".repeat(1000) + "bcd" + &"e".repeat(1000));
    let mut splice = Splice::default();
    splice.remove(1001..1002);
    splice.replace(1001..1001, "X");
    splice.replace(0..0, "<");
    splice.replace(2003..2003, ">");
    let payload = splice.pieces(&text, 0..text.len());
    let pieces: Vec<_> = payload.pieces().cloned().collect();
    assert_eq!(pieces.len(), 5);
    assert_eq!(pieces[0], "<");
    assert_eq!(pieces[1].as_ptr(), text.as_ptr());
    assert_eq!(pieces[2], "X");
    assert_eq!(pieces[3].as_ptr(), text[1002..].as_ptr());
    assert_eq!(pieces[4], ">");
    assert_eq!(splice.pieces(&text, 1000..1003).to_bytes(), "bXd");
    assert_eq!(splice.pieces(&text, 1000..1001).to_bytes(), "bX");
}

/// Checks that `text` is exactly one JSON value.
fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(text)?;
    cursor.skip()?;
    cursor.end()
}

#[test]
fn what_googles_parser_takes_is_rewritten_and_named() {
    for (given, written, names) in [
        ("\u{feff}{}", "{}", "byte-order-mark"),
        ("{\"a\":[1 ,2 , ] ,\n}", "{\"a\":[1 ,2  ] \n}", "trailing-commas"),
        ("[[],[],]", "[[],[]]", "trailing-commas"),
        ("{'a':'b\"c\\'d\\\"'}", r#"{"a":"b\"c'd\""}"#, "single-quotes, escapes"),
        (r#"["it's",'']"#, r#"["it's",""]"#, "single-quotes"),
        (
            "{a:1,_b2 :{$c\n:null},nullable:true,trueish:0}",
            "{\"a\":1,\"_b2\" :{\"$c\"\n:null},\"nullable\":true,\"trueish\":0}",
            "bare-keys",
        ),
        ("{\"a\nb\":\"\r\n\t\"}", r#"{"a\nb":"\r\n\t"}"#, "control-characters"),
        (
            "'\u{0}\u{8}\u{b}\u{c}\u{1f} \u{7f}\u{85}é'",
            "\"\\u0000\\u0008\\u000b\\u000c\\u001f \u{7f}\u{85}é\"",
            "single-quotes, control-characters",
        ),
        ("\u{b}[1,\u{c}]\u{c}\r\n", " [1 ] \r\n", "trailing-commas, control-characters"),
        (r#""\'\v\x41\U0041\0\é\a""#, r#""'\u000bx41U00410éa""#, "escapes"),
        ("\"\\\n\\\u{1}\"", r#""\n\u0001""#, "control-characters, escapes"),
        (
            "\u{feff}{'a':[\"\t\",],b:\"\\'\"}",
            r#"{"a":["\t"],"b":"'"}"#,
            "byte-order-mark, trailing-commas, single-quotes, bare-keys, control-characters, escapes",
        ),
    ] {
        let given = Bytes::from(given);
        let normalized = lenient::normalize(&given, 1000).unwrap();
        assert_eq!(normalized.text, written, "{given:?}");
        assert_eq!(normalized.found.to_string(), names, "{given:?}");
        assert_eq!(check(&normalized.text), Ok(()), "{given:?}");
    }
}

#[test]
fn what_is_strict_beside_a_leniency_is_copied_byte_for_byte() {
    let strict = r#" { "n":[0.10,12345678901234567890,-0E+5], "s":"\u00e9\/\"\\\ud83d \ud800é😀'",
        "n" : {"n":null,"n":true} "#;
    let given = Bytes::from(format!("{strict},}}\n"));
    let normalized = lenient::normalize(&given, 1000).unwrap();
    assert_eq!(normalized.text, format!("{strict}}}\n"));
}

#[test]
fn a_strict_text_is_not_copied() {
    let given = Bytes::from("\t{\"a'\" : [1, {}, []], \"b\":\"\\u000a\"}\n");
    let normalized = lenient::normalize(&given, 0).unwrap();
    assert!(normalized.found.is_empty());
    assert_eq!(normalized.text.as_ptr(), given.as_ptr());
}

#[test]
fn what_googles_parser_refuses_is_refused() {
    for text in [
        "",
        "\u{feff}",
        "\u{feff}\u{feff}{}",
        " \u{feff}{}",
        "{,}",
        "[,]",
        "[1,,]",
        "{\"a\":1,,}",
        "[,1]",
        "[1,}",
        "{\"a\":1,]",
        "{\"a\",}",
        "{\"a\":,}",
        "{\"a\":1},",
        "[1],",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "['a' 'b']",
        "{a b:1}",
        "{a-b:1}",
        "{1a:1}",
        "{é:1}",
        "{true:1}",
        "{false:1}",
        "{null:1}",
        "{:1}",
        "{a}",
        "[a]",
        "a",
        "{a:b}",
        "undefined",
        "NaN",
        "[True]",
        "{\"a\":+1}",
        "[01]",
        "[1.]",
        "[.5]",
        "[0x1]",
        "{} // x",
        "/* x */{}",
        "{# x\n}",
        "{'a':1} {}",
        "{'a':1}}",
        "{'a':1}, 'project':'x'",
        "{'a':1",
        "{'a':[1,",
        "'a",
        "'a\"",
        "\"a'",
        "'a\\",
        "'a\\'",
        "'\\u12g4'",
        "'\\u12'",
        "`a`",
    ] {
        let given = Bytes::from(text);
        let refused = lenient::normalize(&given, 1000);
        assert!(matches!(refused, Err(NormalizeError::Malformed(_))), "{text:?}: {refused:?}");
    }
    let given = Bytes::from_static(b"['\xff']");
    assert!(lenient::normalize(&given, 1000).is_err());
}

#[test]
fn the_strict_form_has_a_bound() {
    let given = Bytes::from("['\u{1}\u{2}']");
    let written = r#"["\u0001\u0002"]"#;
    assert_eq!(lenient::normalize(&given, written.len()).unwrap().text, written);
    let refused = lenient::normalize(&given, written.len() - 1);
    assert_eq!(refused, Err(NormalizeError::TooLarge));
    // A text that no parser takes is malformed, however long it is.
    let malformed = lenient::normalize(&Bytes::from("['\u{1}\u{2}'"), 0);
    assert!(matches!(malformed, Err(NormalizeError::Malformed(_))));
}

#[test]
fn a_lenient_text_is_as_deep_as_a_strict_one() {
    for (depth, accepted) in [(512, true), (513, false)] {
        let arrays = format!("{}{}", "[".repeat(depth), ",]".repeat(depth));
        let arrays = arrays.replacen("[,", "[", 1);
        let objects = format!("{}1{}", "{a:".repeat(depth), ",}".repeat(depth));
        for text in [arrays, objects] {
            assert_eq!(lenient::normalize(&text.into(), 10_000).is_ok(), accepted, "{depth}");
        }
    }
}
