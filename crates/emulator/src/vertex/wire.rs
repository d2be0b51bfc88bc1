//! The bytes of an event as Google writes them: a space after each colon, none after a comma, and
//! the members in the order of the proto (docs/reference/upstreams.md 4.2 and 9).

use serde_json::Value;

/// A value on one line.
pub(crate) fn line(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| rank(name));
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(": ");
                write(member, out);
            }
            out.push('}');
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// The place of a member. Those that are not listed keep their order behind the others.
fn rank(name: &str) -> usize {
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

const ORDER: [&str; 19] = [
    "candidates",
    "promptFeedback",
    "role",
    "parts",
    "thought",
    "text",
    "functionCall",
    "thoughtSignature",
    "content",
    "finishReason",
    "usageMetadata",
    "promptTokenCount",
    "candidatesTokenCount",
    "totalTokenCount",
    "trafficType",
    "modality",
    "modelVersion",
    "createTime",
    "responseId",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_written_as_google_writes_it() {
        let value = json!({
            "responseId": "a", "usageMetadata": {"trafficType": "ON_DEMAND", "promptTokenCount": 5},
            "candidates": [{"finishReason": "STOP",
                            "content": {"parts": [{"text": "O\"K"}, {"text": ""}],
                                        "role": "model"}}],
        });
        assert_eq!(
            line(&value),
            "{\"candidates\": [{\"content\": {\"role\": \"model\",\"parts\": [{\"text\": \
             \"O\\\"K\"},{\"text\": \"\"}]},\"finishReason\": \"STOP\"}],\"usageMetadata\": \
             {\"promptTokenCount\": 5,\"trafficType\": \"ON_DEMAND\"},\"responseId\": \"a\"}"
        );
    }
}
