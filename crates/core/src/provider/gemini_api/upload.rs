//! URLs of uploads (`docs/reference/upstreams.md` 5.3). Google's answer to the start of an upload names a URL
//! at its own host. The client gets the proxy's host in it, and a signature: the steps that follow may come
//! without a key, and only a URL that the proxy has issued lets them in.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, Method};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::provider::forward;

/// Signs the URLs of one upstream's uploads. The key comes from the upstream's own, so that every process and
/// every isolate with the same settings accepts what another one has issued, also after a restart.
pub(crate) struct UploadSigner {
    key: [u8; 32],
}

impl std::fmt::Debug for UploadSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadSigner")
    }
}

impl UploadSigner {
    /// A signer for the upstream with this key.
    pub(crate) fn new(api_key: &SecretString) -> Self {
        let digest = Sha256::new().chain_update(b"upload urls\0");
        Self { key: digest.chain_update(api_key.expose_secret()).finalize().into() }
    }

    /// Google's URL as a client of the proxy gets it. `base` is the URL at which the client reaches the proxy,
    /// and `prefix` the path of the endpoint. `None` for a URL that is not one of an upload.
    pub(crate) fn issue(&self, url: &str, base: &str, prefix: &str) -> Option<String> {
        let url: Uri = url.parse().ok()?;
        let (path, query) = (below(url.path(), prefix), url.query()?);
        let id = upload_id(query)?;
        if !is_upload(path) {
            return None;
        }
        let signature = self.sign(path, query, &id);
        let query = query_at_google(query);
        Some(format!("{base}{path}{query}&{SIGNATURE}={signature}"))
    }

    /// True for the path and query of a URL that was issued.
    pub(crate) fn has_issued(&self, path: &str, query: &str) -> bool {
        let mut signatures = query.split('&').filter_map(|pair| pair.strip_prefix("proxy_upload="));
        let (Some(signature), None) = (signatures.next(), signatures.next()) else { return false };
        let (Some(signature), Some(id)) = (unhex(signature), upload_id(query)) else {
            return false;
        };
        // `verify_slice` compares in constant time.
        is_upload(path) && self.mac(path, query, &id).verify_slice(&signature).is_ok()
    }

    fn sign(&self, path: &str, query: &str, id: &str) -> String {
        let bytes = self.mac(path, query, id).finalize().into_bytes();
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// All parameters are signed, in any order: another one could change what the request does.
    fn mac(&self, path: &str, query: &str, id: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        let mac = mac.chain_update(path).chain_update(b"\0").chain_update(id);
        let query = query_at_google(query);
        let mut pairs: Vec<&str> = query.trim_start_matches('?').split('&').collect();
        pairs.sort_unstable();
        pairs.iter().fold(mac, |mac, pair| mac.chain_update(b"\0").chain_update(pair))
    }
}

/// The query as Google gets it: without credentials and without the signature.
pub(crate) fn query_at_google(query: &str) -> String {
    forward::query_without(query, |name| name == SIGNATURE || forward::is_dropped(name))
}

/// True for a step that goes on with an upload, and begins none.
pub(crate) fn is_later_step(method: &Method, headers: &HeaderMap) -> bool {
    let values = headers.get_all(COMMAND).iter();
    let mut commands = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_later = |command: &[u8]| {
        let command = command.trim_ascii();
        LATER_COMMANDS.iter().any(|later| command.eq_ignore_ascii_case(later.as_bytes()))
    };
    let sends = *method == Method::POST || *method == Method::PUT;
    sends
        && headers.contains_key(COMMAND)
        && !headers.contains_key(PROTOCOL)
        && commands.all(is_later)
}

/// A URL at the upstream's own host as a client of the proxy gets it; `None` for another host.
pub(crate) fn at_proxy(
    url: &str,
    (authority, prefix): (&Authority, &str),
    base: &str,
) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    if url.authority().is_some() && url.authority() != Some(authority) {
        return None;
    }
    let path = below(url.path(), prefix);
    Some(format!("{base}{path}{}", url.query().map(query_at_google).unwrap_or_default()))
}

/// The path below the endpoint's own.
fn below<'a>(path: &'a str, prefix: &str) -> &'a str {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

fn is_upload(path: &str) -> bool {
    path.starts_with("/upload/") && PathAndQuery::try_from(path).is_ok()
}

/// The only `upload_id` of a query, decoded.
fn upload_id(query: &str) -> Option<String> {
    let mut ids = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "upload_id");
    let (id, more) = (ids.next(), ids.next());
    more.is_none().then_some(())?;
    id.map(|(_, id)| id.into_owned()).filter(|id| !id.is_empty())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    is_hex.then(|| (0..32).map(|at| byte(2 * at)).collect())?
}

/// What a step of an upload does.
const COMMAND: HeaderName = HeaderName::from_static("x-goog-upload-command");

/// The first step's choice.
const PROTOCOL: HeaderName = HeaderName::from_static("x-goog-upload-protocol");

/// The commands of the steps after the first one.
const LATER_COMMANDS: [&str; 4] = ["upload", "finalize", "query", "cancel"];

/// The parameter that holds the signature.
const SIGNATURE: &str = "proxy_upload";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &str = "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=AO%2Bx-1&upload_protocol=resumable";

    fn signer(key: &str) -> UploadSigner {
        UploadSigner::new(&SecretString::from(key))
    }

    /// The path and the query of an issued URL.
    fn issued(url: &str) -> (String, String) {
        let uri: Uri = url.parse().unwrap();
        (uri.path().to_owned(), uri.query().unwrap().to_owned())
    }

    #[test]
    fn a_url_gets_the_proxys_host_and_keeps_the_bytes_of_path_and_query() {
        let url = signer("k").issue(GOOGLE, "http://proxy:1/in/front", "").unwrap();
        let start = "http://proxy:1/in/front/upload/v1beta/files?upload_id=AO%2Bx-1&upload_protocol=resumable&proxy_upload=";
        assert!(url.starts_with(start), "{url}");
        assert_eq!(url.len(), start.len() + 64);
        let with_key = GOOGLE.replace("?upload_id", "?key=SECRET&upload_id");
        assert_eq!(signer("k").issue(&with_key, "http://proxy:1/in/front", "").unwrap(), url);
        let below = GOOGLE.replace("com/", "com/gateway/");
        assert_eq!(signer("k").issue(&below, "http://proxy:1/in/front", "/gateway").unwrap(), url);
        for other in [
            "",
            "no URL at all",
            "https://x/upload/v1beta/files",
            "https://x/v1/files?upload_id=1",
            "https://x/upload/v1/files?upload_id=1&upload_id=2",
        ] {
            assert_eq!(signer("k").issue(other, "http://proxy", ""), None, "{other}");
        }
    }

    #[test]
    fn only_an_issued_url_is_accepted() {
        let (path, query) = issued(&signer("k").issue(GOOGLE, "http://proxy", "").unwrap());
        assert!(signer("k").has_issued(&path, &query), "also by another process");
        assert!(!signer("other").has_issued(&path, &query));
        assert!(!signer("k").has_issued("/upload/v1/files", &query));
        assert!(!signer("k").has_issued("/v1beta/files", &query));
        for other in [
            query.replace("AO%2Bx-1", "AO%2Bx-2"),
            query.replace("&proxy_upload=", "&x="),
            query.replace("proxy_upload=", "proxy_upload=0"),
            format!("{query}&upload_id=2"),
            format!("{query}&uploadType=multipart"),
            format!("{query}&{}", &query[query.find("proxy_upload").unwrap()..]),
            "proxy_upload=".to_owned(),
            String::new(),
        ] {
            assert!(!signer("k").has_issued(&path, &other), "{other}");
        }
        let reordered: Vec<&str> = query.split('&').rev().collect();
        assert!(signer("k").has_issued(&path, &reordered.join("&")));
        assert_eq!(query_at_google(&query), "?upload_id=AO%2Bx-1&upload_protocol=resumable");
        assert!(signer("k").has_issued(&path, &format!("{query}&key=K")));
        let last = query.len() - 1;
        let flipped = if query.ends_with('0') { "1" } else { "0" };
        assert!(!signer("k").has_issued(&path, &format!("{}{flipped}", &query[..last])));
    }

    #[test]
    fn a_redirect_to_the_same_host_stays_at_the_proxy() {
        let authority = Authority::from_static("google.test");
        let at = |url: &str| at_proxy(url, (&authority, "/gw"), "http://proxy");
        assert_eq!(
            at("https://google.test/gw/v1/files?key=K&a=1").unwrap(),
            "http://proxy/v1/files?a=1"
        );
        assert_eq!(at("/v1/files").unwrap(), "http://proxy/v1/files");
        assert_eq!(at("https://storage.test/x?sig=1"), None);
        assert!(!format!("{:?}", signer("secret")).contains("secret"));
    }
}
