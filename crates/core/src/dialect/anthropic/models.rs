//! The list of models for clients that speak Anthropic's API (`docs/reference/dialects.md` 1.3).

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use crate::dialect::route::ModelsPage;
use crate::dialect::translate::json::push_string;
use crate::dialect::translate::models::{DialectModel, created};
use crate::error::{Error, Refusal, RefusalCode};

/// Writes one page of the models that write answers.
///
/// A page holds `limit` models, at most 1000; without a limit it holds 20. It begins after the model
/// `after_id`, or ends before the model `before_id`.
pub fn list(models: &[DialectModel<'_>], page: &ModelsPage) -> Result<Bytes, Error> {
    let models: Vec<&DialectModel<'_>> = models.iter().filter(|model| model.generates).collect();
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).clamp(1, LONGEST_PAGE);
    let start =
        page.after.as_ref().map_or(Ok(0), |id| place(&models, id, "after_id").map(|at| at + 1))?;
    let end =
        page.before.as_ref().map_or(Ok(models.len()), |id| place(&models, id, "before_id"))?;
    let asked = models.get(start..end).unwrap_or_default();
    let is_backwards = page.before.is_some() && page.after.is_none();
    let shown = if is_backwards {
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
        push_model(model, &mut out);
    }
    let has_more = if shown.len() < asked.len() { "true" } else { "false" };
    out.put_slice(br#"],"has_more":"#);
    out.put_slice(has_more.as_bytes());
    out.put_slice(br#","first_id":"#);
    push_id(shown.first(), &mut out);
    out.put_slice(br#","last_id":"#);
    push_id(shown.last(), &mut out);
    out.put_u8(b'}');
    Ok(out.freeze())
}

/// Writes one model.
pub fn one(model: &DialectModel<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    push_model(model, &mut out);
    out.freeze()
}

/// Where the model of a page's edge is in the list.
fn place(models: &[&DialectModel<'_>], id: &str, parameter: &str) -> Result<usize, Error> {
    models.iter().position(|model| model.id == id).ok_or_else(|| {
        let message =
            "This is no id of the list. Use first_id or last_id of a page, or leave it out.";
        Refusal::error(RefusalCode::InvalidValue, parameter, message)
    })
}

fn push_model(model: &DialectModel<'_>, out: &mut BytesMut) {
    out.put_slice(br#"{"type":"model","id":"#);
    push_string(&model.id, out);
    out.put_slice(br#","display_name":"#);
    push_string(&model.display_name, out);
    let created = Timestamp::from_second(created(&model.id)).unwrap_or_default();
    let number = |limit: Option<u64>| limit.map_or_else(|| "null".to_owned(), |it| it.to_string());
    let rest = format!(
        r#","created_at":"{created}","max_input_tokens":{},"max_tokens":{},"lifecycle":"active","capabilities":null}}"#,
        number(model.input_token_limit),
        number(model.output_token_limit),
    );
    out.put_slice(rest.as_bytes());
}

fn push_id(model: Option<&&DialectModel<'_>>, out: &mut BytesMut) {
    match model {
        Some(model) => push_string(&model.id, out),
        None => out.put_slice(b"null"),
    }
}

/// The page sizes of Anthropic's API.
const DEFAULT_PAGE: usize = 20;
const LONGEST_PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dialect::gemini::models::Model;

    fn model(id: &str) -> DialectModel<'_> {
        DialectModel {
            id: id.into(),
            display_name: id.into(),
            input_token_limit: None,
            output_token_limit: None,
            generates: true,
        }
    }

    #[test]
    fn models_are_written_in_anthropics_shape() {
        let pro = Model {
            id: "gemini-2.5-pro".into(),
            display_name: "Gemini 2.5 Pro".into(),
            ..Model::DEFAULTS
        };
        let embeds = Model { supported_generation_methods: &["embedContent"], ..Model::DEFAULTS };
        let models = [DialectModel::from(&pro), DialectModel::from(&embeds)];
        let first = concat!(
            r#"{"type":"model","id":"gemini-2.5-pro","display_name":"Gemini 2.5 Pro","#,
            r#""created_at":"2025-06-17T00:00:00Z","max_input_tokens":1048576,"max_tokens":65536,"#,
            r#""lifecycle":"active","capabilities":null}"#
        );
        assert_eq!(one(&models[0]), first);
        assert_eq!(
            list(&models, &ModelsPage::default()).unwrap(),
            format!(
                r#"{{"data":[{first}],"has_more":false,"first_id":"gemini-2.5-pro","last_id":"gemini-2.5-pro"}}"#
            )
        );
        assert_eq!(
            list(&[], &ModelsPage::default()).unwrap(),
            r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#
        );
        assert!(std::str::from_utf8(&one(&model("x"))).unwrap().contains(
            r#""created_at":"2025-01-01T00:00:00Z","max_input_tokens":null,"max_tokens":null,"#
        ));
    }

    #[test]
    fn a_page_follows_limit_and_the_ids_at_its_edges() {
        let ids: Vec<String> = (0..25).map(|number| format!("m{number}")).collect();
        let models: Vec<DialectModel<'_>> = ids.iter().map(|id| model(id)).collect();
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
        ] {
            let text = |id: Option<&str>| id.map(str::to_owned);
            let page = ModelsPage { limit, after: text(after), before: text(before) };
            let body: Value = serde_json::from_slice(&list(&models, &page).unwrap()).unwrap();
            let found =
                body["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap());
            assert_eq!(found.collect::<Vec<_>>(), ids[shown.clone()], "{page:?}");
            assert_eq!(body["has_more"], has_more, "{page:?}");
            assert_eq!(body["first_id"].as_str(), ids[shown.clone()].first().map(|id| &**id));
            assert_eq!(body["last_id"].as_str(), ids[shown].last().map(|id| &**id));
        }
        for (after, before, path) in [(Some("x"), None, "after_id"), (None, Some("x"), "before_id")]
        {
            let text = |id: Option<&str>| id.map(str::to_owned);
            let page = ModelsPage { limit: None, after: text(after), before: text(before) };
            let Err(Error::Refused(refusal)) = list(&models, &page) else { panic!("{page:?}") };
            assert_eq!((refusal.code, &*refusal.path), (RefusalCode::InvalidValue, path));
        }
    }
}
