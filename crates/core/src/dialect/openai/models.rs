//! The list of models for clients that speak OpenAI's API (`docs/reference/dialects.md` 1.3).

use bytes::{BufMut, Bytes, BytesMut};

use crate::dialect::gemini::models::Model;
use crate::dialect::translate::json::push_string;
use crate::dialect::translate::models::created;

/// Writes the list. OpenAI's has no pages.
pub fn list(models: &[Model]) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + 96 * models.len());
    out.put_slice(br#"{"object":"list","data":["#);
    for (at, model) in models.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        push_model(model, &model.id, &mut out);
    }
    out.put_slice(b"]}");
    out.freeze()
}

/// Writes one model, under the name that the client has for it.
pub fn one(model: &Model, name: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    push_model(model, name, &mut out);
    out.freeze()
}

fn push_model(model: &Model, name: &str, out: &mut BytesMut) {
    out.put_slice(br#"{"id":"#);
    push_string(name, out);
    let rest =
        format!(r#","object":"model","created":{},"owned_by":"google"}}"#, created(&model.id));
    out.put_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_written_in_openais_shape() {
        let model = |id: &'static str| Model { id: id.into(), ..Model::DEFAULTS };
        let models = [model("gemini-2.5-pro"), model("odd\"name")];
        let first =
            r#"{"id":"gemini-2.5-pro","object":"model","created":1750118400,"owned_by":"google"}"#;
        let second =
            r#"{"id":"odd\"name","object":"model","created":1735689600,"owned_by":"google"}"#;
        assert_eq!(list(&models), format!(r#"{{"object":"list","data":[{first},{second}]}}"#));
        assert_eq!(list(&[]), r#"{"object":"list","data":[]}"#);
        assert_eq!(one(&models[0], "gemini-2.5-pro"), first);
        assert_eq!(
            one(&models[0], "google/gemini-2.5-pro"),
            r#"{"id":"google/gemini-2.5-pro","object":"model","created":1750118400,"owned_by":"google"}"#
        );
    }
}
