//! The list of models for clients that speak Anthropic's API (`docs/reference/dialects.md` 1.3).

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use crate::dialect::gemini::models::Model;
use crate::dialect::route::ModelsPage;
use crate::dialect::translate::json::push_string;
use crate::dialect::translate::models::created;

/// Writes one page of the models that write answers.
///
/// A page holds `limit` models, at most 1000; without a limit it holds 20. It begins after the model
/// `after_id`, or ends before the model `before_id`. With an id that the list does not have (any more) it
/// is empty, so that a client that asks for page after page comes to an end.
pub fn list(models: &[Model], page: &ModelsPage) -> Bytes {
    let generates = |model: &&Model| model.supported_generation_methods.contains(&GENERATE);
    let models: Vec<&Model> = models.iter().filter(generates).collect();
    let asked = models.get(asked(&models, page)).unwrap_or_default();
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).clamp(1, LONGEST_PAGE);
    let shown = if page.before.is_some() && page.after.is_none() {
        &asked[asked.len().saturating_sub(limit)..]
    } else {
        &asked[..asked.len().min(limit)]
    };

    let mut out = BytesMut::with_capacity(64 + 256 * shown.len());
    out.put_slice(br#"{"data":["#);
    for (at, model) in shown.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        push_model(model, &model.id, &mut out);
    }
    let has_more = if shown.len() < asked.len() { "true" } else { "false" };
    out.put_slice(br#"],"has_more":"#);
    out.put_slice(has_more.as_bytes());
    out.put_slice(br#","first_id":"#);
    push_id(shown.first(), &mut out);
    out.put_slice(br#","last_id":"#);
    push_id(shown.last(), &mut out);
    out.put_u8(b'}');
    out.freeze()
}

/// Writes one model, under the name that the client has for it.
pub fn one(model: &Model, name: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    push_model(model, name, &mut out);
    out.freeze()
}

/// The places of the models between the edges of a page.
fn asked(models: &[&Model], page: &ModelsPage) -> Range<usize> {
    let place = |id: &String| models.iter().position(|model| *model.id == **id);
    let start = page.after.as_ref().map_or(Some(0), |id| place(id).map(|at| at + 1));
    let end = page.before.as_ref().map_or(Some(models.len()), place);
    start.zip(end).map_or(0..0, |(start, end)| start..end)
}

fn push_model(model: &Model, name: &str, out: &mut BytesMut) {
    out.put_slice(br#"{"type":"model","id":"#);
    push_string(name, out);
    out.put_slice(br#","display_name":"#);
    push_string(&model.display_name, out);
    let created = Timestamp::from_second(created(&model.id)).unwrap_or_default();
    let rest = format!(
        r#","created_at":"{created}","max_input_tokens":{},"max_tokens":{},"lifecycle":"active","capabilities":null}}"#,
        model.input_token_limit, model.output_token_limit,
    );
    out.put_slice(rest.as_bytes());
}

fn push_id(model: Option<&&Model>, out: &mut BytesMut) {
    match model {
        Some(model) => push_string(&model.id, out),
        None => out.put_slice(b"null"),
    }
}

/// The method of models that write answers.
const GENERATE: &str = "generateContent";

/// The page sizes of Anthropic's API.
const DEFAULT_PAGE: usize = 20;
const LONGEST_PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn models_are_written_in_anthropics_shape() {
        let pro = Model {
            id: "gemini-2.5-pro".into(),
            display_name: "Gemini 2.5 Pro".into(),
            ..Model::DEFAULTS
        };
        let embeds = Model { supported_generation_methods: &["embedContent"], ..Model::DEFAULTS };
        let rest = concat!(
            r#""display_name":"Gemini 2.5 Pro","created_at":"2025-06-17T00:00:00Z","#,
            r#""max_input_tokens":1048576,"max_tokens":65536,"lifecycle":"active","capabilities":null}"#
        );
        assert_eq!(one(&pro, "pro"), format!(r#"{{"type":"model","id":"pro",{rest}"#));
        assert_eq!(
            list(&[pro, embeds], &ModelsPage::default()),
            format!(
                r#"{{"data":[{{"type":"model","id":"gemini-2.5-pro",{rest}],"has_more":false,"first_id":"gemini-2.5-pro","last_id":"gemini-2.5-pro"}}"#
            )
        );
        assert_eq!(
            list(&[], &ModelsPage::default()),
            r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#
        );
    }

    #[test]
    fn a_page_follows_limit_and_the_ids_at_its_edges() {
        let ids: Vec<String> = (0..25).map(|number| format!("m{number}")).collect();
        let model = |id: &String| Model { id: id.clone().into(), ..Model::DEFAULTS };
        let models: Vec<Model> = ids.iter().map(model).collect();
        for (limit, after, before, shown, has_more) in [
            (None, None, None, 0..20, true),
            (Some(1000), None, None, 0..25, false),
            (Some(9999), None, None, 0..25, false),
            (Some(0), None, None, 0..1, true),
            (Some(2), Some("m4"), None, 5..7, true),
            (None, Some("m4"), None, 5..25, false),
            (None, Some("m3"), None, 4..24, true),
            (Some(2), Some("m24"), None, 25..25, false),
            (Some(2), None, Some("m4"), 2..4, true),
            (Some(4), None, Some("m4"), 0..4, false),
            (None, None, Some("m0"), 0..0, false),
            (Some(2), Some("m1"), Some("m5"), 2..4, true),
            (Some(3), Some("m1"), Some("m5"), 2..5, false),
            (None, Some("m5"), Some("m1"), 0..0, false),
            (None, Some("x"), None, 0..0, false),
            (None, None, Some("x"), 0..0, false),
        ] {
            let text = |id: Option<&str>| id.map(str::to_owned);
            let page = ModelsPage { limit, after: text(after), before: text(before) };
            let body: Value = serde_json::from_slice(&list(&models, &page)).unwrap();
            let found =
                body["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap());
            assert_eq!(found.collect::<Vec<_>>(), ids[shown.clone()], "{page:?}");
            assert_eq!(body["has_more"], has_more, "{page:?}");
            assert_eq!(body["first_id"].as_str(), ids[shown.clone()].first().map(|id| &**id));
            assert_eq!(body["last_id"].as_str(), ids[shown].last().map(|id| &**id));
        }
    }
}
