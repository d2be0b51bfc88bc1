use serde_json::value::RawValue;

use super::*;

const CODE_ASSIST: ProviderKind = ProviderKind::CodeAssist;
const GEMINI_API: ProviderKind = ProviderKind::GeminiApi;
const VERTEX: ProviderKind = ProviderKind::Vertex;

/// Runs `read` with a JSON string, and shows what it has found, or the code of the refusal.
fn shown(
    written: &str,
    read: impl for<'a> FnOnce(JsonText<'a>, Path<'_>) -> Result<Media<'a>, Error>,
) -> String {
    let raw = RawValue::from_string(written.to_owned()).unwrap();
    let text = JsonText::of(&raw).unwrap();
    match read(text, &|| "here".to_owned()) {
        Ok(Media::Inline { mime, data, resolution: None }) => format!("{mime} {data}"),
        Ok(Media::Inline { mime, data, resolution: Some(level) }) => {
            format!("{mime} {data} {level}")
        }
        Ok(Media::File { mime, uri }) => format!("{mime} at {uri}"),
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.path, "here");
            assert!(!refusal.message.is_empty());
            format!("{:?}", refusal.code)
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn at(url: &str, provider: ProviderKind, model: &str) -> String {
    let written = serde_json::to_string(url).unwrap();
    shown(&written, |url, path| from_url(url, None, &Target::new(model, provider), path))
}

/// The same for a JSON string as it is written.
fn data_url_of(written: &str) -> String {
    let target = Target::new("gemini-2.5-flash", CODE_ASSIST);
    shown(written, |url, path| from_url(url, None, &target, path))
}

const REFUSED: &str = "UnsupportedValue";
const WRONG: &str = "InvalidValue";

#[test]
fn each_url_is_passed_on_only_where_google_reads_it() {
    const FILE: &str = "https://generativelanguage.googleapis.com/v1beta/files/abc";
    const VIDEO: &str = "https://www.youtube.com/watch?v=x.png";
    const IMAGE: &str = "https://example.com/a.PNG?size=1.gif#b.pdf";
    for (url, mime, offered) in [
        ("gs://bucket/a.pdf", "application/pdf", [true, true, true]),
        ("gs://bucket/a", "image/jpeg", [true, true, true]),
        (FILE, "image/jpeg", [true, false, false]),
        (VIDEO, "video/mp4", [true, true, true]),
        ("https://youtu.be/x", "video/mp4", [true, true, true]),
        ("HTTPS://M.YouTube.com./watch?v=x", "video/mp4", [true, true, true]),
        (IMAGE, "image/png", [true, true, false]),
        ("https://example.com", "image/jpeg", [true, true, false]),
        ("https://example.com:8443/a.webm", "video/webm", [true, true, false]),
        // What looks like YouTube is any other host.
        ("https://notyoutube.com/x", "image/jpeg", [true, true, false]),
        ("https://youtube.com.example.org/x", "image/jpeg", [true, true, false]),
    ] {
        for (provider, is_offered) in [GEMINI_API, VERTEX, CODE_ASSIST].into_iter().zip(offered) {
            let expected = match is_offered {
                true => format!("{mime} at {url}"),
                false => REFUSED.to_owned(),
            };
            assert_eq!(at(url, provider, "gemini-2.5-pro"), expected, "{url} at {provider:?}");
        }
    }
}

#[test]
fn the_gemini_api_fetches_urls_from_gemini_2_5_on() {
    const URL: &str = "https://example.com/a.gif";
    let passed_on = format!("image/gif at {URL}");
    for (model, expected) in [
        ("gemini-1.5-pro", REFUSED),
        ("gemini-2.0-flash", REFUSED),
        ("gemini-2.5-flash-lite", &passed_on),
        ("gemini-3.6-flash", &passed_on),
        ("gemini-flash-latest", &passed_on),
    ] {
        assert_eq!(at(URL, GEMINI_API, model), expected, "{model}");
        assert_eq!(at(URL, VERTEX, model), passed_on, "{model}");
        assert_eq!(at(URL, CODE_ASSIST, model), REFUSED, "{model}");
    }
}

#[test]
fn a_url_that_may_lead_into_a_network_is_refused_everywhere() {
    for url in [
        "http://example.com/a.png",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "example.com/a.png",
        "//example.com/a.png",
        "https://localhost/a.png",
        "https://metadata/a.png",
        "https://127.0.0.1/a.png",
        "https://127.1/a.png",
        "https://0x7f.0x1/a.png",
        "https://2130706433/a.png",
        "https://[::1]/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://127.0.0.1./a.png",
        "https://user@example.com/a.png",
        "https://example.com\\@localhost/a.png",
        "https://example%2ecom/a.png",
        "https:///a.png",
        "https:example.com/a.png",
        "",
    ] {
        for provider in [GEMINI_API, VERTEX, CODE_ASSIST] {
            assert_eq!(at(url, provider, "gemini-2.5-pro"), REFUSED, "{url} at {provider:?}");
        }
    }
}

#[test]
fn a_data_url_is_spliced() {
    for (written, expected) in [
        (r#""data:image/png;base64,iVBO+/=""#, "image/png iVBO+/="),
        (r#""DATA:image/jpg;charset=x;BASE64,AA==""#, "image/jpeg AA=="),
        (r#""data:IMAGE/JPG;base64,AA==""#, "image/jpeg AA=="),
        (r#""data:image/svg+xml;base64,AA-_""#, "image/svg+xml AA-_"),
        // What JSON and URLs escape, and line breaks, do not belong to the data.
        (r#""data:image\/png;base64,A\/\u0041=\n""#, "image/png A/A="),
        (r#""data:image/png;base64,A%2FA%3D A""#, "image/png A/A=A"),
        // Without base64 the data is percent-encoded.
        (r#""data:text/plain,a%20b""#, "text/plain YSBi"),
        (r#""data:,%ff""#, "text/plain /w=="),
        (r#""data:;base64,""#, "text/plain "),
        (r#""data:image/png;base64""#, WRONG),
        (r#""data:png;base64,AA==""#, WRONG),
        (r#""data:image/\"png;base64,AA==""#, WRONG),
        (r#""data:image/png;base64,A\"B""#, WRONG),
        (r#""data:image/png;base64,A%22B""#, WRONG),
        (r#""data:image/png;base64,A\ud800""#, WRONG),
    ] {
        assert_eq!(data_url_of(written), expected, "{written}");
    }
}

#[test]
fn the_detail_of_an_image_is_sent_from_gemini_3_on() {
    let look = |detail, model| {
        let target = Target::new(model, CODE_ASSIST);
        shown(r#""data:image/png;base64,AA==""#, |url, path| from_url(url, detail, &target, path))
    };
    for (detail, level) in [
        (Some("low"), " MEDIA_RESOLUTION_LOW"),
        (Some("medium"), " MEDIA_RESOLUTION_MEDIUM"),
        (Some("high"), " MEDIA_RESOLUTION_HIGH"),
        (Some("auto"), ""),
        (Some("original"), ""),
        (None, ""),
    ] {
        let expected = format!("image/png AA=={level}");
        assert_eq!(look(detail, "gemini-3-flash-preview"), expected, "{detail:?}");
        assert_eq!(look(detail, "gemini-2.5-flash"), "image/png AA==", "{detail:?}");
    }
}

#[test]
fn a_recording_has_the_type_of_its_format() {
    let of = |format, data: &str| shown(data, |data, path| audio(data, format, path));
    for (format, data, expected) in [
        (Some("wav"), r#""AA==""#, "audio/wav AA=="),
        (Some("MP3"), r#""AA==""#, "audio/mp3 AA=="),
        (Some("pcm16"), r#""AA==""#, "audio/pcm16 AA=="),
        (Some("w v"), r#""AA==""#, WRONG),
        (Some("wav"), r#""A\tA==""#, "audio/wav AA=="),
        (Some("wav"), r#""A\\A""#, WRONG),
        (None, r#""AA==""#, WRONG),
    ] {
        assert_eq!(of(format, data), expected, "{format:?} {data}");
    }
}

#[test]
fn the_type_of_a_file_is_written_or_shown_by_its_name() {
    let of = |name, data: &str| shown(data, |data, path| file(data, name, path));
    for (name, data, expected) in [
        (Some("a.pdf"), r#""AA==""#, "application/pdf AA=="),
        (Some("a.tar.TXT"), r#""AA==""#, "text/plain AA=="),
        (Some("pdf"), r#""AA==""#, REFUSED),
        (Some("a.exe"), r#""AA==""#, REFUSED),
        (None, r#""AA==""#, REFUSED),
        (None, r#""data:application/pdf;base64,AA==""#, "application/pdf AA=="),
        (Some("a.png"), r#""data:application/pdf;base64,AA==""#, "application/pdf AA=="),
        (Some("a.pdf"), r#""data:application/octet-stream;base64,AA==""#, "application/pdf AA=="),
        (
            Some("a.x"),
            r#""data:application/octet-stream;base64,AA==""#,
            "application/octet-stream AA==",
        ),
    ] {
        assert_eq!(of(name, data), expected, "{name:?} {data}");
    }
}

#[test]
fn the_id_of_a_file_must_be_a_uri_that_google_reads() {
    let of = |id: &str, provider| {
        let target = Target::new("gemini-2.5-flash", provider);
        shown(&format!(r#""{id}""#), |id, path| from_file_id(id, &target, path))
    };
    assert_eq!(of("file-abc123", GEMINI_API), REFUSED);
    assert_eq!(of("files/abc", GEMINI_API), REFUSED);
    assert_eq!(of("gs://bucket/a.mp3", VERTEX), "audio/mp3 at gs://bucket/a.mp3");
    const FILE: &str = "https://generativelanguage.googleapis.com/v1beta/files/abc";
    assert_eq!(of(FILE, GEMINI_API), format!("image/jpeg at {FILE}"));
    assert_eq!(of(FILE, VERTEX), REFUSED);
    assert_eq!(of(FILE, CODE_ASSIST), REFUSED);
}
