//! The signatures of the model's parts.

use std::sync::Arc;

use super::*;
use crate::caller::Caller;
use crate::dialect::translate::target::SignatureRecall;
use crate::policy::call_signatures::CallSignatures;

/// The texts and names of the model's parts with their signatures.
fn signed(pieces: Vec<Piece<'_>>, target: &Target) -> Vec<String> {
    let contents: serde_json::Value = serde_json::from_str(&contents_of(pieces, target)).unwrap();
    let model = contents.as_array().unwrap().iter().filter(|content| content["role"] == "model");
    let part = |part: &serde_json::Value| {
        let name =
            part["functionCall"]["name"].as_str().or_else(|| part["text"].as_str()).unwrap_or("?");
        let signature = part["thoughtSignature"].as_str().unwrap_or("-");
        format!("{name} {signature}")
    };
    model.flat_map(|content| content["parts"].as_array().unwrap().iter().map(part)).collect()
}

fn carried(text: &'static str) -> Piece<'static> {
    Piece::Signature(text.into())
}

const SKIP: &str = "skip_thought_signature_validator";

#[test]
fn the_first_call_of_a_content_gets_a_placeholder_on_gemini_3_golden_7() {
    let pieces = || {
        vec![
            user(r#""x""#),
            model(r#""t""#),
            call("a", "f"),
            call("b", "g"),
            result("a", r#""1""#),
            result("b", r#""2""#),
            call("c", "h"),
        ]
    };
    assert_eq!(
        signed(pieces(), &target(PRO_3)),
        ["t -", &format!("f {SKIP}"), "g -", &format!("h {SKIP}")]
    );
    assert_eq!(signed(pieces(), &target(PRO_25)), ["t -", "f -", "g -", "h -"]);
    assert_eq!(signed(pieces(), &target("something")), ["t -", "f -", "g -", "h -"]);
}

#[test]
fn a_signature_on_a_part_stays_there_on_every_model() {
    let pieces = || {
        vec![
            Piece::ModelText { text: text(r#""t""#), signature: Some("T\"".into()) },
            call("a", "f"),
            signed_call("b", "g", Some("S")),
            Piece::ModelText { text: text(r#""""#), signature: Some("E".into()) },
            Piece::ModelText { text: text(r#""""#), signature: Some("".into()) },
        ]
    };
    assert_eq!(signed(pieces(), &target(PRO_3)), ["t T\"", &format!("f {SKIP}"), "g S", " E"]);
    assert_eq!(signed(pieces(), &target(PRO_25)), ["t T\"", "f -", "g S", " E"]);
}

#[test]
fn a_carried_signature_goes_to_the_next_part_of_its_kind() {
    for (pieces, expected) in [
        (vec![carried("gs1.c.f.S"), call("a", "f"), call("b", "g")], vec!["f S", "g -"]),
        (vec![carried("gs1.c.f.S"), model(r#""t""#), call("a", "f")], vec!["t -", "f S"]),
        (vec![carried("gs1.c.t.T"), call("a", "f"), model(r#""t""#)], vec!["f -", "t T"]),
        (vec![carried("gs1.c.-."), model(r#""t""#), call("a", "f")], vec!["t -", "f -"]),
        (vec![call("a", "f"), carried("gs1.c.f.S"), call("b", "g")], vec!["f -", "g S"]),
        // A client has collected them before the calls.
        (
            vec![carried("gs1.c.f.S"), carried("gs1.c.f.R"), call("a", "f"), call("b", "g")],
            vec!["f S", "g R"],
        ),
        // The part's own one is the same or better.
        (
            vec![carried("gs1.c.f.R"), signed_call("a", "f", Some("S")), call("b", "g")],
            vec!["f S", "g -"],
        ),
        // An empty text is no part.
        (vec![carried("gs1.c.t.T"), model(r#""""#), model(r#""t""#)], vec!["t T"]),
        // The content ends before such a part.
        (
            vec![model(r#""t""#), carried("gs1.c.f.S"), user(r#""x""#), call("a", "f")],
            vec!["t -", "f -"],
        ),
        (
            vec![call("a", "f"), carried("gs1.c.f.S"), result("a", r#""1""#), call("b", "g")],
            vec!["f -", "g -"],
        ),
        (
            vec![call("a", "f"), carried("gs1.c.f.S"), Piece::EndOfModel, call("b", "g")],
            vec!["f -", "g -"],
        ),
        // It begins with the signature.
        (
            vec![call("a", "f"), result("a", r#""1""#), carried("gs1.c.f.S"), call("b", "g")],
            vec!["f -", "g S"],
        ),
        (
            vec![call("a", "f"), Piece::EndOfModel, carried("gs1.c.f.S"), call("b", "g")],
            vec!["f -", "g S"],
        ),
        (vec![carried("gs1.c.f.S"), Piece::EndOfModel, call("b", "g")], vec!["g S"]),
        // Another service's, or none.
        (vec![carried("EqQBCkYIBx"), call("a", "f")], vec!["f -"]),
        (vec![carried("gs1.c.f."), call("a", "f")], vec!["f -"]),
    ] {
        let shown = format!("{pieces:?}");
        assert_eq!(signed(pieces, &target(PRO_25)), expected, "{shown}");
    }
}

#[test]
fn a_carried_signature_satisfies_gemini_3() {
    let pieces = vec![carried("gs1.c.f.S"), call("a", "f"), call("b", "g")];
    assert_eq!(signed(pieces, &target(PRO_3)), ["f S", "g -"]);
}

#[test]
fn signatures_of_another_provider_are_left_out_and_told() {
    for (text, foreign) in [
        ("gs1.g.f.S", Some(ProviderKind::GeminiApi)),
        ("gs1.v.t.S", Some(ProviderKind::Vertex)),
        ("gs1.v.-.", Some(ProviderKind::Vertex)),
        ("gs1.x.f.S", None),
        ("gs1.c.f.S", None),
        ("other", None),
    ] {
        let pieces = vec![carried(text), call("a", "f")];
        let draft = DraftRequest { pieces, ..Default::default() };
        let written = write(draft, &target(PRO_3)).unwrap();
        assert_eq!(written.foreign, foreign, "{text}");
        let is_own = text == "gs1.c.f.S";
        assert_eq!(body(&written).contains(SKIP), !is_own, "{text}");
    }
    let pieces =
        vec![carried("gs1.g.f.S"), carried("gs1.v.f.S"), carried("gs1.x.f.S"), call("a", "f")];
    let written = write(DraftRequest { pieces, ..Default::default() }, &target(PRO_3)).unwrap();
    assert_eq!(written.foreign, Some(ProviderKind::Vertex));
}

#[test]
fn a_remembered_signature_comes_before_the_placeholder() {
    let memory = Arc::new(CallSignatures::new(1 << 20));
    let signatures = SignatureRecall::new(memory, Caller::default());
    signatures.remember("a", "M");
    signatures.remember("b", "N");
    let recalling = |model| Target { signatures: signatures.clone(), ..target(model) };
    let pieces = || {
        vec![
            call("a", "f"),
            call("b", "g"),
            result("a", r#""1""#),
            result("b", r#""1""#),
            carried("gs1.c.f.S"),
            call("b", "g"),
            result("b", r#""1""#),
            call("c", "h"),
        ]
    };
    assert_eq!(signed(pieces(), &recalling(PRO_3)), ["f M", "g -", "g S", &format!("h {SKIP}")]);
    assert_eq!(signed(pieces(), &recalling(PRO_25)), ["f -", "g -", "g S", "h -"]);
}

#[test]
fn without_signatures_only_placeholders_are_left_golden_33() {
    let memory = Arc::new(CallSignatures::new(1 << 20));
    let signatures = SignatureRecall::new(memory, Caller::default());
    signatures.remember("a", "M");
    let without = |model| Target {
        signatures: signatures.clone(),
        without_signatures: true,
        ..target(model)
    };
    let pieces = || {
        vec![
            Piece::ModelText { text: text(r#""t""#), signature: Some("T".into()) },
            Piece::ModelText { text: text(r#""""#), signature: Some("E".into()) },
            call("a", "f"),
            carried("gs1.c.f.S"),
            signed_call("b", "g", Some("R")),
        ]
    };
    assert_eq!(signed(pieces(), &without(PRO_3)), ["t -", &format!("f {SKIP}"), "g -"]);
    assert_eq!(signed(pieces(), &without(PRO_25)), ["t -", "f -", "g -"]);
}
