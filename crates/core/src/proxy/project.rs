//! The project in a request's life, and how it is discovered (`spec.md` 9).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::attempt::within;
use super::turn::{Queue, Turn};
use super::{BackgroundJob, Proxy, lock};
use crate::error::{Error, ErrorSource};
use crate::metrics::Ledger;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;
use crate::policy::project::{Outcome, Verdict};
use crate::provider::code_assist::project::{self, Loaded, Onboarding, Operation};
use crate::provider::request::Call;
use crate::time::{Monotonic, Timestamp};

impl Proxy {
    /// The project for the envelope: the operator's, else the account's own.
    pub(super) async fn project<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> Result<Arc<str>, Error> {
        if let Some(project) = &self.settings.project_id {
            return Ok(Arc::from(project.as_str()));
        }
        let begun = platform.now();
        let mut pause = FIRST_LOOK;
        let project = loop {
            let verdict = lock(&self.projects).ask(platform.wall_clock(), platform.now());
            match verdict {
                Verdict::Refused(refusal) => break Err(refusal),
                Verdict::Use(project) => break Ok(project),
                Verdict::Discover(lease) => {
                    platform.spawn_job(BackgroundJob::DiscoverProject(lease))
                }
                Verdict::Wait => {}
            }
            if self.tokens().expiry(platform.wall_clock()).is_none() {
                // The discovery waits for a token, and this request with it.
                self.note_token(ledger, false);
            }
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        };
        ledger.entry.auth += platform.now().since(begun);
        project
    }

    /// Finds the account's project; the lease's work.
    pub(super) async fn discover<P: Platform>(&self, platform: &P, lease: Lease) {
        let account = self.account(platform).await;
        let outcome = self.stored_or_asked(platform, &account).await;
        lock(&self.projects).settle(lease, outcome, platform.now());
    }

    /// The project that the store knows, else the one that Google names. Of all that share the
    /// store one asks Google, and the others find its answer there.
    async fn stored_or_asked<P: Platform>(&self, platform: &P, account: &str) -> Outcome {
        let mut queue = Queue::join(platform);
        loop {
            if let Some((project, until)) = self.stored_project(platform, account).await {
                return Outcome::Found(project, until);
            }
            match queue.turn(platform, PROJECT_KEY, TURN).await {
                Turn::Alone => return self.asked(platform, account, None).await,
                Turn::Later => {}
                Turn::Now(fence) => {
                    // The last holder may have put it there between the look and the turn.
                    let outcome = match self.stored_project(platform, account).await {
                        Some((project, until)) => Outcome::Found(project, until),
                        None => self.asked(platform, account, Some(fence)).await,
                    };
                    platform.release(PROJECT_KEY, fence).await;
                    return outcome;
                }
            }
        }
    }

    /// The project that Google names, into the store.
    async fn asked<P: Platform>(
        &self,
        platform: &P,
        account: &str,
        fence: Option<FencingToken>,
    ) -> Outcome {
        match self.ask_for_project(platform, &mut self.own_ledger(platform)).await {
            Ok(project) => {
                let until = platform.wall_clock() + self.settings.project_cache_ttl;
                if self.is_account(account) {
                    self.store_project(platform, &project, until, account, fence).await;
                }
                Outcome::Found(project, until)
            }
            Err(refusal) => {
                tracing::warn!(reason = refusal.label(), "no project: {}", refusal.message());
                let pause = match (&refusal, refusal.source()) {
                    // Of these the tokens keep a memory of their own.
                    (Error::CredentialsMissing { .. }, _)
                    | (Error::CredentialsRejected { .. }, _)
                    | (_, ErrorSource::Upstream | ErrorSource::Proxy) => SHORT_MEMORY,
                    (_, ErrorSource::Client | ErrorSource::Operator) => LONG_MEMORY,
                };
                Outcome::Refused(refusal, pause)
            }
        }
    }

    /// Upstream would not have this project, which a call of ours has carried.
    pub(super) fn distrust_project(&self, project: &str, now: Monotonic) {
        lock(&self.projects).drop_value(project, now);
    }

    /// `loadCodeAssist` and, if needed, `onboardUser` with a bounded poll (`protocol.md` 5.1).
    async fn ask_for_project<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> Result<String, Error> {
        let call = Call::post(&self.settings.api_version, "loadCodeAssist", project::load_body());
        let answer = match self.call_for_project(platform, &call, ledger).await {
            // VPC Service Controls forbid the question, not the service: the CLI goes on with the
            // user's own project, and we have been given none.
            Err(Error::Upstream(fault)) if fault.has_reason("SECURITY_POLICY_VIOLATED") => {
                return Err(Error::ProjectRequired);
            }
            answered => answered?,
        };
        match project::read_loaded(&answer) {
            Loaded::Project(project) => Ok(project),
            Loaded::Refused(refusal) => Err(refusal),
            Loaded::Onboard(onboarding) => {
                let onboarded = self.onboard(platform, &onboarding, ledger);
                within(platform, ONBOARDING_LIMIT, pin!(onboarded)).await.unwrap_or_else(|| {
                    let what = "onboarding did not end within two minutes".to_owned();
                    let reasons = vec![("ONBOARDING_TIMEOUT".to_owned(), what)];
                    Err(Error::AccountIneligible { reasons })
                })
            }
        }
    }

    async fn onboard<P: Platform>(
        &self,
        platform: &P,
        onboarding: &Onboarding,
        ledger: &mut Ledger<P>,
    ) -> Result<String, Error> {
        tracing::info!("the account is being onboarded to Code Assist; this takes up to a minute");
        let mut name: Option<String> = None;
        let mut pause = FIRST_POLL;
        loop {
            let call = match &name {
                Some(name) => Call::get(&self.settings.api_version, name),
                None => Call::post(&self.settings.api_version, "onboardUser", onboarding.body()),
            };
            let answer = self.call_for_project(platform, &call, ledger).await?;
            match onboarding.read(&answer) {
                Operation::Pending(operation) => name = operation.or(name),
                Operation::Project(project) => return Ok(project),
                Operation::Refused(refusal) => return Err(refusal),
            }
            platform.timer(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
    }

    /// One call of a discovery. It ends long before the discovery's lease, even where
    /// `FIRST_BYTE_TIMEOUT_MS` would let it wait for longer: that is meant for thinking models.
    async fn call_for_project<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Error> {
        let answer = self.call_for_whole(platform, call, ledger);
        within(platform, CALL_LIMIT, pin!(answer)).await.unwrap_or_else(|| {
            let why = format!("it was silent for {CALL_LIMIT:?} when asked about the project");
            Err(Error::UpstreamUnreachable { why })
        })
    }

    /// The discovery of an earlier time, in the seed's shape, unless it was another account's.
    async fn stored_project<P: Platform>(
        &self,
        platform: &P,
        account: &str,
    ) -> Option<(String, Timestamp)> {
        if !lock(&self.projects).trusts_store() {
            return None;
        }
        let text = self.recall(platform, PROJECT_KEY).await?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let owner = value.get("credential").and_then(Value::as_str);
        if owner.is_some_and(|owner| owner != account) {
            return None;
        }
        let project = value.get("project_id").and_then(Value::as_str)?;
        let until = Timestamp(value.get("ttl").and_then(Value::as_u64)?);
        let longest = platform.wall_clock() + self.settings.project_cache_ttl;
        (!project.is_empty() && platform.wall_clock() < until)
            .then(|| (project.to_owned(), until.min(longest)))
    }

    async fn store_project<P: Platform>(
        &self,
        platform: &P,
        project: &str,
        until: Timestamp,
        account: &str,
        fence: Option<FencingToken>,
    ) {
        let clock = platform.wall_clock();
        let value = json!({
            "project_id": project,
            "discovered_at": clock.0,
            "ttl": until.0,
            "source": "discovery",
            "validation_count": 1,
            "credential": account,
        });
        let ttl = clock.until(until);
        self.remember(platform, PROJECT_KEY, Bytes::from(value.to_string()), ttl, fence).await;
    }

    /// `retrieveUserQuota`: authenticated, and it spends no tokens.
    pub(super) async fn quota<P: Platform>(
        &self,
        platform: &P,
        project: &str,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Error> {
        let body = json!({ "project": project }).to_string();
        let call = Call::post(
            &self.settings.api_version,
            "retrieveUserQuota",
            Payload::from(Bytes::from(body)),
        );
        let call = call.in_project(Arc::from(project));
        self.call_for_whole(platform, &call, ledger).await
    }
}

/// The seed's key for the project.
const PROJECT_KEY: &str = "project_id_cache";

const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The CLI polls every five seconds; the first looks are sooner, since most are done by then.
const FIRST_POLL: Duration = Duration::from_millis(500);
const LAST_POLL: Duration = Duration::from_secs(5);

/// Together shorter than a discovery's lease.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const ONBOARDING_LIMIT: Duration = Duration::from_secs(120);

/// As long as a process that dies in the middle of a discovery delays the others. One that onboards
/// for longer is joined by the next: `onboardUser` goes on with the operation that is under way.
const TURN: Duration = Duration::from_secs(45);

/// How long a failed discovery is remembered: one that may pass, and one that somebody must mend.
const SHORT_MEMORY: Duration = Duration::from_secs(3);
const LONG_MEMORY: Duration = Duration::from_secs(30);
