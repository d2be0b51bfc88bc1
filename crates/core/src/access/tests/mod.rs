mod pages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::*;
use crate::keys::Keys;
use crate::policy::budget::ProcessId;
use crate::settings::AllowedHost;

fn access(host: &str, keys: &[(&str, &str)], origins: &[&str]) -> Access {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, key)| {
            let name = (!name.is_empty()).then(|| (*name).to_owned());
            ApiKey { name, key: SecretString::from(*key) }
        })
        .collect();
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Access::of(host, &keys, &AllowedHosts::Listed(Vec::new()), &origins)
}

/// Without keys, on this address, under these names too.
fn named(host: &str, names: &[(&str, Option<u16>)]) -> Access {
    let names = names.iter().map(|(name, port)| AllowedHost { name: (*name).into(), port: *port });
    Access::of(host, &[], &AllowedHosts::Listed(names.collect()), &[])
}

fn local() -> Access {
    access("127.0.0.1", &[], &[])
}

fn keyed() -> Access {
    access("0.0.0.0", &[("alice", "secret-a"), ("", "secret-b")], &[])
}

impl Access {
    fn cors(&self, request: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        self.add_cors_headers(request, &mut answer);
        answer
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    HeaderMap::from_iter(lines.iter().map(line))
}

fn admit(
    access: &Access,
    lines: &[(&'static str, &str)],
    target: &str,
) -> Result<Option<String>, AccessError> {
    let guesses = SharedKeyGuesses::default();
    let attempt = attempt(&guesses, 1, 0);
    let client = access.admit(&headers(lines), &target.parse().unwrap(), Needs::Key, &attempt)?;
    Ok(client.label.as_deref().map(str::to_owned))
}

/// From the n-th address, after so many seconds.
fn attempt(guesses: &SharedKeyGuesses, n: u8, secs: u64) -> Attempt<'_> {
    let from = Caller::Address(IpAddr::from([192, 0, 2, n]));
    Attempt { guesses, from, now: Monotonic(0) + Duration::from_secs(secs) }
}

fn alice() -> Result<Option<String>, AccessError> {
    Ok(Some("alice".to_owned()))
}

#[test]
fn the_key_is_read_from_every_carrier() {
    let basic = format!("Basic {}", STANDARD.encode("anyone:secret-a"));
    for (lines, target) in [
        (&[("x-goog-api-key", "secret-a")][..], "/"),
        (&[("x-goog-api-key", " secret-a ")], "/"),
        (&[("authorization", "Bearer secret-a")], "/"),
        (&[("authorization", "bearer  secret-a")], "/"),
        (&[("x-api-key", "secret-a")], "/"),
        (&[], "/?key=secret-a"),
        (&[], "/?alt=sse&key=&key=secret%2Da"),
        (&[("authorization", &basic)], "/"),
        // An empty key counts as absent (`docs/reference/clients.md` R2).
        (&[("x-goog-api-key", ""), ("authorization", "Bearer secret-a")], "/"),
        (&[("authorization", "Bearer "), ("x-api-key", "secret-a")], "/"),
        // The first place with a key wins.
        (&[("x-goog-api-key", "secret-a"), ("authorization", "Bearer wrong")], "/?key=wrong"),
        (&[("authorization", &basic), ("authorization", "Bearer secret-a")], "/?x=1"),
    ] {
        assert_eq!(admit(&keyed(), lines, target), alice(), "{lines:?} {target}");
    }
}

#[test]
fn a_wrong_key_in_an_earlier_carrier_is_not_corrected_by_a_later_one() {
    let lines = [("x-goog-api-key", "wrong"), ("authorization", "Bearer secret-a")];
    assert_eq!(admit(&keyed(), &lines, "/?key=secret-a"), Err(AccessError::KeyInvalid));
}

#[test]
fn no_key_and_a_wrong_key_are_different_errors() {
    for lines in [
        &[][..],
        &[("x-goog-api-key", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "secret-a")],
        &[("authorization", "Digest secret-a")],
        &[("authorization", "Basic !!!")],
        &[("authorization", "Basic c2VjcmV0LWE=")],
    ] {
        assert_eq!(admit(&keyed(), lines, "/?key="), Err(AccessError::KeyMissing), "{lines:?}");
    }
    for key in ["wrong", "secret-", "secret-aa", "SECRET-A", "secret-a,secret-b", "alice:secret-a"]
    {
        assert_eq!(
            admit(&keyed(), &[("x-api-key", key)], "/"),
            Err(AccessError::KeyInvalid),
            "{key}"
        );
    }
}

#[test]
fn an_unnamed_key_is_labelled_by_its_position_in_the_list() {
    let label = admit(&keyed(), &[("x-api-key", "secret-b")], "/").unwrap().unwrap();
    assert_eq!(label, "#2");
}

#[test]
fn a_route_that_needs_no_key_is_open_and_checks_none() {
    let guesses = SharedKeyGuesses::default();
    for needs in [Needs::NoKey, Needs::Nothing] {
        for _ in 0..20 {
            for lines in [&[][..], &[("x-api-key", "wrong")], &[("x-api-key", "secret-a")]] {
                let attempt = attempt(&guesses, 1, 0);
                let admitted =
                    keyed().admit(&headers(lines), &Uri::from_static("/"), needs, &attempt);
                assert_eq!(admitted, Ok(Client::default()));
            }
        }
    }
}

#[test]
fn after_ten_wrong_keys_from_an_address_no_key_is_checked() {
    let (guesses, access) = (SharedKeyGuesses::default(), keyed());
    let send = |key: &str, from: u8, secs: u64| {
        let lines = if key.is_empty() { vec![] } else { vec![("x-api-key", key)] };
        let attempt = attempt(&guesses, from, secs);
        access.admit(&headers(&lines), &Uri::from_static("/"), Needs::Key, &attempt)
    };
    let refused = |secs| Err(AccessError::TooManyAttempts { after: Duration::from_secs(secs) });
    assert!(send("secret-a", 1, 0).is_ok());
    for n in 0..10 {
        assert_eq!(send(&format!("guess-{n}"), 1, n), Err(AccessError::KeyInvalid));
        assert_eq!(send("", 1, n), Err(AccessError::KeyMissing));
    }
    for key in ["guess", "secret-b"] {
        assert_eq!(send(key, 1, 10), refused(50), "{key}");
    }
    assert!(send("secret-a", 1, 10).is_ok(), "it was accepted from this address");
    assert_eq!(send("", 1, 10), Err(AccessError::KeyMissing));
    assert!(send("secret-b", 2, 10).is_ok(), "another address");
    assert!(send("secret-b", 1, 60).is_ok());
}

#[test]
fn a_key_that_is_no_longer_valid_does_not_pass_because_it_was_accepted_before() {
    let guesses = SharedKeyGuesses::default();
    let send = |access: &Access, key: &str| {
        let attempt = attempt(&guesses, 1, 0);
        access.admit(&headers(&[("x-api-key", key)]), &Uri::from_static("/"), Needs::Key, &attempt)
    };
    assert!(send(&keyed(), "secret-a").is_ok());
    let reloaded = access("0.0.0.0", &[("bob", "secret-c")], &[]);
    for _ in 0..10 {
        assert_eq!(send(&reloaded, "guess"), Err(AccessError::KeyInvalid));
    }
    assert!(matches!(send(&reloaded, "secret-a"), Err(AccessError::TooManyAttempts { .. })));
}

#[test]
fn access_prints_no_secret() {
    let printed = format!("{:?} {:#?}", keyed(), keyed());
    assert!(printed.contains("alice"));
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn only_a_well_formed_request_id_is_kept() {
    let longest = "a".repeat(128);
    let is_kept = |id: &str| is_forwardable_request_id(&HeaderValue::from_str(id).unwrap());
    for id in ["a", "7f3c-AB_1.2", &longest] {
        assert!(is_kept(id), "{id}");
    }
    for id in ["", " ", "a b", "a\tb", "a;b", "{}", &"a".repeat(129)] {
        assert!(!is_kept(id), "{id}");
    }
    assert!(!is_forwardable_request_id(&HeaderValue::from_bytes("é".as_bytes()).unwrap()));
}

#[test]
fn an_operators_key_is_accepted_beside_others_and_makes_no_key_necessary() {
    let mut keys = Keys::new(ProcessId(1));
    keys.set_operator(KeyDigest::of("operators"));
    let access = keyed().with_operator(keys.operator());
    let present = |key: &str| admit(&access, &[("x-goog-api-key", key)], "/");
    assert_eq!(present("operators"), Ok(Some("#operator".to_owned())));
    assert_eq!(present("secret-a"), alice());
    assert_eq!(present("#operator"), Err(AccessError::KeyInvalid));
    assert!(!local().with_operator(keys.operator()).needs_keys());
    assert!(!format!("{access:?}").contains("operator"), "{access:?}");
    assert!(keys.accounts().is_empty(), "no account is listed");
}
