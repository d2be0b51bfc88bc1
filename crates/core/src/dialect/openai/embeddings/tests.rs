use EmbeddingsMethod::{BatchEmbedContents, Predict};

use super::*;
use crate::error::RefusalCode;

const GEMINI: &str = "gemini-embedding-001";

fn refused(body: &str) -> (RefusalCode, String) {
    match read(body.as_bytes()) {
        Err(Error::Refused(refusal)) => (refusal.code, refusal.path),
        other => panic!("{body}: {other:?}"),
    }
}

fn one_batch(length: usize) -> Vec<Range<usize>> {
    std::iter::once(0..length).collect()
}

fn many(count: usize) -> String {
    let texts: Vec<String> = (0..count).map(|number| format!("\"t{number}\"")).collect();
    format!(r#"{{"model":"m","input":[{}]}}"#, texts.join(","))
}

#[test]
fn three_inputs_in_base64_are_one_call_and_eight_bytes_each() {
    let body = br#"{"model":"gemini-embedding-001","input":["a","b\n\"c\"","\ud83d"],"encoding_format":"base64","dimensions":2}"#;
    let request = read(body).unwrap();
    let batches = request.batches(BatchEmbedContents);
    assert_eq!(batches, one_batch(3));
    assert_eq!(
        request.body(BatchEmbedContents, GEMINI, 0..3),
        concat!(
            r#"{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]},"outputDimensionality":2},"#,
            r#"{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"b\n\"c\""}]},"outputDimensionality":2},"#,
            r#"{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"\ud83d"}]},"outputDimensionality":2}]}"#
        )
    );
    let mut writer = EmbeddingsWriter::new(&request);
    let answer =
        br#"{"embeddings":[{"values":[1,-2.5]},{"values":[ 0.1 , 1e-3 ]},{"values":[0.0,-0.0]}]}"#;
    writer.answer(BatchEmbedContents, answer, 3).unwrap();
    let answer = writer.finish(&request.model);
    assert_eq!(
        answer,
        concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAIMA="},"#,
            r#"{"object":"embedding","index":1,"embedding":"zczMPW8Sgzo="},"#,
            r#"{"object":"embedding","index":2,"embedding":"AAAAAAAAAIA="}],"#,
            r#""model":"gemini-embedding-001","usage":{"prompt_tokens":0,"total_tokens":0}}"#
        )
    );
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    for (at, numbers) in [[1.0, -2.5], [0.1, 1e-3], [0.0, -0.0_f32]].into_iter().enumerate() {
        let bytes = STANDARD.decode(answer["data"][at]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes, numbers.map(f32::to_le_bytes).as_flattened());
    }
}

#[test]
fn without_base64_the_numbers_keep_upstreams_digits() {
    for encoding in ["", r#","encoding_format":"float""#, r#","encoding_format":null"#] {
        let body = format!(r#"{{"model":"google/m","input":"a","user":"u"{encoding}}}"#);
        let request = read(body.as_bytes()).unwrap();
        assert_eq!(request.batches(BatchEmbedContents), one_batch(1));
        assert_eq!(
            request.body(BatchEmbedContents, "m", 0..1),
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}}]}"#
        );
        let mut writer = EmbeddingsWriter::new(&request);
        let answer =
            b"{\n \"embeddings\": [\n {\n \"values\": [\n 0.013168523100,\n -1E-7\n ]\n }\n ]\n}";
        writer.answer(BatchEmbedContents, answer, 1).unwrap();
        assert_eq!(
            writer.finish(&request.model),
            concat!(
                r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.013168523100,-1E-7]}],"#,
                r#""model":"google/m","usage":{"prompt_tokens":0,"total_tokens":0}}"#
            )
        );
        assert!(request.dropped.is_empty());
    }
}

#[test]
fn vertex_ai_is_asked_to_predict_and_its_tokens_are_counted() {
    let body = br#"{"model":"text-embedding-005","input":["a","b"],"dimensions":256}"#;
    let request = read(body).unwrap();
    assert_eq!(
        request.body(Predict, "text-embedding-005", 0..2),
        r#"{"instances":[{"content":"a"},{"content":"b"}],"parameters":{"outputDimensionality":256}}"#
    );
    let plain = read(br#"{"model":"m","input":"a"}"#).unwrap();
    assert_eq!(plain.body(Predict, "m", 0..1), r#"{"instances":[{"content":"a"}]}"#);
    let mut writer = EmbeddingsWriter::new(&request);
    let answer = br#"{"predictions":[
        {"embeddings":{"values":[0.5],"statistics":{"token_count":3,"truncated":false}}},
        {"embeddings":{"statistics":{"token_count":4},"values":[0.25]}}],"metadata":{}}"#;
    writer.answer(Predict, answer, 2).unwrap();
    // Counts that cannot be read are none.
    for statistics in [r#"{"token_count":"?"}"#, "null", "[]"] {
        let answer = format!(
            r#"{{"predictions":[{{"embeddings":{{"values":[1],"statistics":{statistics}}}}}]}}"#
        );
        EmbeddingsWriter::new(&request).answer(Predict, answer.as_bytes(), 1).unwrap();
    }
    assert_eq!(
        writer.finish("x"),
        concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]},"#,
            r#"{"object":"embedding","index":1,"embedding":[0.25]}],"#,
            r#""model":"x","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        )
    );
}

#[test]
fn many_texts_are_split_and_their_order_is_kept() {
    for (count, method, batches) in [
        (100, BatchEmbedContents, one_batch(100)),
        (101, BatchEmbedContents, vec![0..100, 100..101]),
        (250, BatchEmbedContents, vec![0..100, 100..200, 200..250]),
        (250, Predict, one_batch(250)),
        (251, Predict, vec![0..250, 250..251]),
    ] {
        let body = many(count);
        let request = read(body.as_bytes()).unwrap();
        assert_eq!(request.batches(method), batches, "{count} {method:?}");
    }
    let body = many(102);
    let request = read(body.as_bytes()).unwrap();
    assert_eq!(
        request.body(Predict, "m", 100..102),
        r#"{"instances":[{"content":"t100"},{"content":"t101"}]}"#
    );
    let mut writer = EmbeddingsWriter::new(&request);
    let first = format!(r#"{{"embeddings":[{}]}}"#, vec![r#"{"values":[1]}"#; 100].join(","));
    writer.answer(BatchEmbedContents, first.as_bytes(), 100).unwrap();
    let rest =
        br#"{"embeddings":[{"values":[2]},{"values":[3]}],"usageMetadata":{"promptTokenCount":5}}"#;
    writer.answer(BatchEmbedContents, rest, 2).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&writer.finish("m")).unwrap();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 102);
    for (at, entry) in data.iter().enumerate() {
        assert_eq!(entry["index"], at);
    }
    assert_eq!((&data[99]["embedding"][0], &data[101]["embedding"][0]), (&1.into(), &3.into()));
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
}

#[test]
fn a_provider_has_one_method_for_embeddings_or_none() {
    for (provider, verb) in [
        (ProviderKind::CodeAssist, None),
        (ProviderKind::GeminiApi, Some("batchEmbedContents")),
        (ProviderKind::Vertex, Some("predict")),
    ] {
        assert_eq!(EmbeddingsMethod::of(provider).map(EmbeddingsMethod::verb), verb);
    }
}

#[test]
fn fields_without_a_form_are_named() {
    let body = br#"{"model":"m","input":"a","zeta":1,"alpha":{},"none":null}"#;
    assert_eq!(read(body).unwrap().dropped, ["alpha", "zeta"]);
}

#[test]
fn what_cannot_be_embedded_is_refused_with_its_path() {
    use RefusalCode::{InvalidValue, UnsupportedValue};
    for (body, code, path) in [
        (r#"{"input":"a"}"#, InvalidValue, "model"),
        (r#"{"model":1,"input":"a"}"#, InvalidValue, "model"),
        (r#"{"model":"","input":"a"}"#, InvalidValue, "model"),
        (r#"{"model":"m"}"#, InvalidValue, "input"),
        (r#"{"model":"m","input":null}"#, InvalidValue, "input"),
        (r#"{"model":"m","input":{}}"#, InvalidValue, "input"),
        (r#"{"model":"m","input":7}"#, InvalidValue, "input"),
        (r#"{"model":"m","input":[]}"#, InvalidValue, "input"),
        (r#"{"model":"m","input":[1,2]}"#, UnsupportedValue, "input[0]"),
        (r#"{"model":"m","input":[[1,2]]}"#, UnsupportedValue, "input[0]"),
        (r#"{"model":"m","input":["a",{}]}"#, UnsupportedValue, "input[1]"),
        (
            r#"{"model":"m","input":"a","encoding_format":"int8"}"#,
            UnsupportedValue,
            "encoding_format",
        ),
        (r#"{"model":"m","input":"a","dimensions":0}"#, InvalidValue, "dimensions"),
        (r#"{"model":"m","input":"a","dimensions":1.5}"#, InvalidValue, "dimensions"),
        (r#"{"model":"m","input":"a","dimensions":"2"}"#, InvalidValue, "dimensions"),
    ] {
        assert_eq!(refused(body), (code, path.to_owned()), "{body}");
    }
    assert!(read(many(MOST_INPUTS).as_bytes()).is_ok());
    assert_eq!(refused(&many(MOST_INPUTS + 1)), (InvalidValue, "input".to_owned()));
    assert!(matches!(read(b"["), Err(Error::MalformedJson { .. })));
}

#[test]
fn an_answer_that_does_not_fit_is_malformed() {
    for body in
        [r#"{"model":"m","input":"a"}"#, r#"{"model":"m","input":"a","encoding_format":"base64"}"#]
    {
        for answer in [
            r#"{"embeddings":[]}"#,
            r#"{"embeddings":[{"values":[1]},{"values":[2]}]}"#,
            "{}",
            "[",
            r#"{"embeddings":[{}]}"#,
            r#"{"embeddings":[{"values":null}]}"#,
            r#"{"embeddings":[{"values":[]}]}"#,
            r#"{"embeddings":[{"values":[1,"x"]}]}"#,
            r#"{"embeddings":[{"values":[1,[2]]}]}"#,
            r#"{"embeddings":[{"values":[null]}]}"#,
            r#"{"embeddings":[{"values":{"a":1}}]}"#,
        ] {
            let mut writer = EmbeddingsWriter::new(&read(body.as_bytes()).unwrap());
            let found = writer.answer(BatchEmbedContents, answer.as_bytes(), 1);
            assert!(matches!(found, Err(Error::UpstreamMalformed { .. })), "{answer}: {found:?}");
        }
        let mut writer = EmbeddingsWriter::new(&read(body.as_bytes()).unwrap());
        let found = writer.answer(Predict, br#"{"predictions":[{"values":[1]}]}"#, 1);
        assert!(matches!(found, Err(Error::UpstreamMalformed { .. })), "{found:?}");
    }
}
