//! No credential reaches the host of another upstream, whatever fails and wherever a host redirects to.

use code_assist_core::settings::{Failover, FailoverReason, FailoverSignatures};
use code_assist_testkit::client::with;
use code_assist_testkit::script::{Received, Reply};
use code_assist_testkit::subject;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use crate::fixture::{Fixture, HOSTS, at, count, generate, google_error, host_of, key_of, stream};

/// What a host answers: as usual, with an error, or with a redirect to another host.
#[derive(Debug, Clone)]
enum Behaviour {
    Usual,
    Error(u16, &'static str),
    Redirect(u16, usize),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let status = prop::sample::select(vec![400, 401, 402, 403, 404, 429, 500, 502, 503, 504]);
    let reason = prop::sample::select(vec![
        "",
        "API_KEY_INVALID",
        "CONSUMER_INVALID",
        "QUOTA_EXHAUSTED",
        "SERVICE_DISABLED",
    ]);
    let redirect = prop::sample::select(vec![301, 302, 303, 307, 308]);
    prop_oneof![
        1 => Just(Behaviour::Usual),
        4 => (status, reason).prop_map(|(status, reason)| Behaviour::Error(status, reason)),
        2 => (redirect, 0..HOSTS.len()).prop_map(|(status, to)| Behaviour::Redirect(status, to)),
    ]
}

impl Behaviour {
    fn reply(&self, request: &Received) -> Option<Reply> {
        match self {
            Self::Usual => None,
            Self::Error(status, reason) => Some(google_error(*status, "X", "No.", reason)),
            Self::Redirect(status, to) => {
                let path = request.line.splitn(4, '/').nth(3).unwrap_or_default();
                let to: String = format!("{}/{path}", HOSTS[*to].1);
                Some(Reply::status(*status, "").with_header("location", to.leak()))
            }
        }
    }
}

/// The credentials of all upstreams, with the one whose host may see each.
fn credentials() -> Vec<(String, &'static str)> {
    let own = HOSTS.iter().map(|(name, _)| (key_of(name), *name));
    let of_code_assist = ["ya29.from-file", "ya29.new-"].map(|it| (it.to_owned(), "code-assist"));
    own.chain(of_code_assist).collect()
}

/// Everything of a request that its host reads.
fn text_of(request: &Received) -> String {
    let headers = request.headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    format!("{}\n{headers}\n{}", request.line, request.body)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_credential_goes_to_another_upstreams_host(
        names in subsequence(HOSTS.map(|(name, _)| name).to_vec(), 2..=HOSTS.len()).prop_shuffle(),
        reasons in subsequence(FailoverReason::ALL.to_vec(), 0..=FailoverReason::ALL.len()),
        placeholder in any::<bool>(),
        signs_in_by_file in any::<bool>(),
        behaviours in prop::collection::vec(behaviour(), 12),
        requests in prop::collection::vec((0..4_usize, prop::option::of(any::<Index>())), 1..6),
    ) {
        let fixture = Fixture::with(&names, |settings| {
            settings.failover = reasons.into_iter().fold(Failover::OFF, Failover::and);
            if placeholder {
                settings.failover_signatures = FailoverSignatures::Placeholder;
            }
            let code_assist = names.iter().position(|name| *name == "code-assist");
            if let (true, Some(position)) = (signs_in_by_file, code_assist) {
                let file = subject::settings(&[]).upstreams.remove(0);
                settings.upstreams[position].account = file.account;
            }
        });
        if signs_in_by_file {
            let login = subject::login("ya29.from-file", "refresh-of-code-assist", 400);
            fixture.script.write_login(login);
        }
        for (at, (name, _)) in HOSTS.into_iter().enumerate() {
            let own: Vec<Behaviour> = behaviours.iter().skip(at * 3).take(3).cloned().collect();
            let mut calls = 0;
            fixture.script(name, move |request| {
                calls += 1;
                own[calls % own.len()].reply(request)
            });
        }
        for (kind, pin) in requests {
            let request = match kind {
                0 => generate("hi"),
                1 => stream(),
                2 => count(),
                _ => code_assist_testkit::client::post(
                    "/v1beta/models/gemini-2.5-flash:generateContent?key=key-of-the-client",
                    r#"{"contents":[{"role":"model","parts":[{"text":"x","thoughtSignature":"c2ln"}]}]}"#,
                ),
            };
            let request = with(request, "x-goog-api-key", "key-of-the-client");
            let request = with(request, "authorization", "Bearer key-of-the-client");
            let pinned = pin.map(|pin| *pin.get(&names));
            fixture.ask(match pinned {
                Some(name) => at(request, name),
                None => request,
            });
            fixture.wait(200);
        }
        for request in fixture.script.all_received() {
            let (host, text) = (host_of(&request), text_of(&request));
            prop_assert!(!text.contains("key-of-the-client"), "{text}");
            for (secret, owner) in credentials() {
                // The token endpoints get what Code Assist's credentials are.
                let may = host == owner || (host == "elsewhere" && owner == "code-assist");
                prop_assert!(may || !text.contains(&secret), "{text}");
            }
            let refreshes = request.line.contains("/token");
            prop_assert!(refreshes || !text.contains("refresh-of-code-assist"), "{text}");
            prop_assert!(host == "elsewhere" || names.contains(&host), "{text}");
        }
    }
}
