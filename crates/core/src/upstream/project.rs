//! The account's project and its discovery (`docs/CREDENTIALS.md`).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::account::AccountData;
use super::calls::Calls;
use super::store;
use crate::context::RequestContext;
use crate::error::{Error, ErrorSource};
use crate::job::{BackgroundJob, Job};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::policy::lock::FencingToken;
use crate::policy::project;
use crate::provider::code_assist::CodeAssist;
use crate::provider::code_assist::project::{LoadedAccount, Onboarding, OnboardingStatus};
use crate::provider::request::UpstreamRequest;
use crate::settings::Settings;
use crate::time::{Monotonic, Timestamp};
use crate::wait::{Flight, poll_until, single_flight, while_renewing, within};

/// How a discovery ended.
type ProjectOutcome = project::DiscoveryOutcome<Error>;

/// Finds the project of an account.
#[derive(Debug)]
pub(crate) struct ProjectDiscovery {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    account: Arc<AccountData>,
    protocol: Arc<CodeAssist>,
    /// The operator's project, which needs no discovery.
    set: Option<Arc<str>>,
}

impl ProjectDiscovery {
    pub(super) fn new(
        settings: &Arc<Settings>,
        metrics: &Arc<Metrics>,
        account: &Arc<AccountData>,
        protocol: &Arc<CodeAssist>,
        set: Option<&str>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            metrics: Arc::clone(metrics),
            account: Arc::clone(account),
            protocol: Arc::clone(protocol),
            set: set.map(Arc::from),
        }
    }

    /// Returns the project for the envelope: the operator's if one is set, else the account's own.
    pub(crate) async fn project<P: Platform>(
        &self,
        calls: &Calls,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<Arc<str>, Error>, Monotonic) {
        if let Some(project) = &self.set {
            return (Ok(Arc::clone(project)), now);
        }
        let clock = context.platform().wall_clock();
        if let Some(project) = self.account.project.ready(|ready| ready.project(clock)) {
            return (Ok(project), now);
        }
        let platform = context.platform().clone();
        let mut waits_for_token = false;
        let (project, then) = poll_until(&platform, context.deadline, now, |now| {
            let clock = platform.wall_clock();
            match self.account.project.with(|state| state.ask(clock, now)) {
                project::ProjectVerdict::Failed(error, left) => {
                    return Some(Err(error.with_delay(left)));
                }
                project::ProjectVerdict::Use(project) => return Some(Ok(project)),
                project::ProjectVerdict::Discover(lease) => {
                    platform.spawn_job(BackgroundJob::new(Job::DiscoverProject(
                        self.account.id,
                        lease,
                    )));
                }
                project::ProjectVerdict::Wait => {}
            }
            // Without a token the discovery waits for one, and so does this request.
            waits_for_token |= !calls.auth.has_token(clock);
            // A request with a large body has a permit already, and the discovery needs one.
            context.release_permit();
            None
        })
        .await;
        if waits_for_token {
            self.account.note_token(context, false);
        }
        context.timings.auth += then.since(now);
        (project, then)
    }

    /// True when the operator has set the project.
    pub(crate) fn is_set(&self) -> bool {
        self.set.is_some()
    }

    /// True when no discovery is needed.
    pub(super) fn is_known(&self, clock: Timestamp) -> bool {
        self.set.is_some() || self.account.project.with(|state| state.is_known(clock))
    }

    /// The state for health: `known`, `unknown` or `refused`.
    pub(crate) fn state(&self, clock: Timestamp, now: Monotonic) -> &'static str {
        match &self.set {
            Some(_) => "known",
            None => self.account.project.with(|state| state.state(clock, now)),
        }
    }

    /// Finds the account's project; the lease's work.
    pub(super) async fn discover<P: Platform>(&self, calls: &Calls, platform: &P, lease: Lease) {
        let account = calls.auth.read_fingerprint(platform).await;
        let outcome = self.stored_or_discovered(calls, platform, &account).await;
        let now = platform.now();
        self.account.project.with(|state| state.settle(lease, outcome, now));
    }

    /// Takes the project from the store, else from Google. Of the processes that share a store, one
    /// asks Google and the others read its answer from the store.
    async fn stored_or_discovered<P: Platform>(
        &self,
        calls: &Calls,
        platform: &P,
        account: &str,
    ) -> ProjectOutcome {
        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        // The token comes before the lock: otherwise a process that dies while it waits for a token
        // would delay the others by two locks, one after the other.
        let (bearer, _) = calls.auth.authorize(&mut context, now).await;
        if let Err(error) = bearer {
            return failed(error, &self.account);
        }
        let recall = || self.stored(platform, account);
        let key = self.account.store_key(KEY);
        match single_flight(platform, None, &key, LONGEST_WAIT, recall).await {
            Err(error) => ProjectOutcome::Failed(error, SHORT_MEMORY),
            Ok(Flight::Done { result: (project, until), .. }) => {
                ProjectOutcome::Found(project, until)
            }
            Ok(Flight::Lead { lock, .. }) => {
                let asking = pin!(self.ask_google(calls, account, lock, &mut context));
                let outcome = while_renewing(platform, &key, lock, asking).await;
                if let Some(lock) = lock {
                    platform.unlock(&key, lock).await;
                }
                outcome
            }
        }
    }

    /// Asks Google for the project, and stores it.
    async fn ask_google<P: Platform>(
        &self,
        calls: &Calls,
        account: &str,
        token: Option<FencingToken>,
        context: &mut RequestContext<P>,
    ) -> ProjectOutcome {
        match self.load_or_onboard(calls, context).await {
            Ok(project) => {
                let platform = context.platform();
                let until = platform.wall_clock() + self.settings.project_cache_ttl;
                if calls.auth.is_account(account) {
                    self.store(platform, &project, until, account, token).await;
                }
                ProjectOutcome::Found(project, until)
            }
            Err(error) => failed(error, &self.account),
        }
    }

    /// `loadCodeAssist` and, if needed, `onboardUser` with a bounded poll
    /// (`docs/reference/protocol.md` 5.1).
    async fn load_or_onboard<P: Platform>(
        &self,
        calls: &Calls,
        context: &mut RequestContext<P>,
    ) -> Result<String, Error> {
        let request = self.protocol.load_code_assist();
        let answer = match bounded_call(calls, &request, context).await {
            // VPC Service Controls forbid this call, not the service. The CLI continues with the
            // user's own project; the proxy has no project set.
            Err(Error::Upstream(error)) if error.has_reason("SECURITY_POLICY_VIOLATED") => {
                return Err(Error::ProjectRequired { of_key: false });
            }
            answer => answer?,
        };
        match LoadedAccount::read(&answer) {
            LoadedAccount::Project(project) => Ok(project),
            LoadedAccount::Failed(error) => Err(error),
            LoadedAccount::Onboard(onboarding) => {
                let platform = context.platform().clone();
                let onboarded = pin!(onboard(calls, &self.protocol, &onboarding, context));
                within(&platform, ONBOARDING_LIMIT, onboarded).await.unwrap_or_else(|| {
                    let what = "onboarding did not end within two minutes".to_owned();
                    let reasons = vec![("ONBOARDING_TIMEOUT".to_owned(), what)];
                    Err(Error::AccountIneligible { reasons, of_key: false })
                })
            }
        }
    }

    /// Reads the result of an earlier discovery for the same account from the store.
    async fn stored<P: Platform>(
        &self,
        platform: &P,
        account: &str,
    ) -> Option<(String, Timestamp)> {
        if !self.account.project.with(|state| state.trusts_store()) {
            return None;
        }
        let text = store::recall(platform, &self.metrics, &self.account.store_key(KEY)).await?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        let owner = value.get("credential").and_then(Value::as_str);
        if owner.is_some_and(|owner| owner != account) {
            return None;
        }
        let project = value.get("project_id").and_then(Value::as_str)?;
        let until = Timestamp(value.get("ttl").and_then(Value::as_u64)?);
        let clock = platform.wall_clock();
        let longest = clock + self.settings.project_cache_ttl;
        (!project.is_empty() && clock < until).then(|| (project.to_owned(), until.min(longest)))
    }

    async fn store<P: Platform>(
        &self,
        platform: &P,
        project: &str,
        until: Timestamp,
        account: &str,
        token: Option<FencingToken>,
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
        let value = Bytes::from(value.to_string());
        let key = self.account.store_key(KEY);
        store::remember(platform, &self.metrics, &key, value, clock.until(until), token).await;
    }
}

/// Logs the failure of a discovery, and decides how long it is remembered.
fn failed(mut error: Error, account: &AccountData) -> ProjectOutcome {
    let key = account.key();
    if let Error::AccountIneligible { of_key, .. } | Error::ProjectRequired { of_key } = &mut error
    {
        *of_key = key.is_some();
    }
    tracing::warn!(reason = error.label(), key, "no project: {}", error.message());
    let memory = match (&error, error.source()) {
        // The next token is asked for then.
        (Error::TokenUnavailable { after, .. }, _) => *after,
        // The token policy has its own memory of these.
        (
            Error::CredentialsMissing { .. }
            | Error::CredentialsRejected { .. }
            | Error::CredentialsUnreadable { .. },
            _,
        )
        | (_, ErrorSource::Upstream | ErrorSource::Proxy) => SHORT_MEMORY,
        (_, ErrorSource::Client | ErrorSource::Operator) => LONG_MEMORY,
    };
    ProjectOutcome::Failed(error, memory)
}

async fn onboard<P: Platform>(
    calls: &Calls,
    protocol: &CodeAssist,
    onboarding: &Onboarding,
    context: &mut RequestContext<P>,
) -> Result<String, Error> {
    tracing::info!("the account is being onboarded to Code Assist; this takes up to a minute");
    let mut operation: Option<String> = None;
    let mut pause = FIRST_POLL;
    loop {
        let request = match &operation {
            Some(name) => protocol.poll_operation(name),
            None => protocol.onboard_user(onboarding),
        };
        let answer = bounded_call(calls, &request, context).await?;
        match onboarding.read(&answer) {
            OnboardingStatus::Pending(name) => operation = name.or(operation),
            OnboardingStatus::Project(project) => return Ok(project),
            OnboardingStatus::Failed(error) => return Err(error),
        }
        context.platform().timer(pause).await;
        pause = (pause * 2).min(LAST_POLL);
    }
}

/// Makes one call of a discovery, within `CALL_LIMIT`. It must end before the discovery's lease, and
/// `FIRST_BYTE_TIMEOUT_MS` may allow more, since it is meant for models that think.
async fn bounded_call<P: Platform>(
    calls: &Calls,
    request: &UpstreamRequest,
    context: &mut RequestContext<P>,
) -> Result<Bytes, Error> {
    let platform = context.platform().clone();
    let answer = pin!(calls.call(request, context));
    within(&platform, CALL_LIMIT, answer).await.unwrap_or_else(|| {
        let why = format!("it was silent for {CALL_LIMIT:?} when asked about the project");
        Err(Error::UpstreamUnreachable { why })
    })
}

/// The store's key for the project.
const KEY: &str = "project_id_cache";

/// Pauses between polls. The CLI polls every five seconds; the first polls come sooner here, since
/// most operations are done by then.
const FIRST_POLL: Duration = Duration::from_millis(500);
const LAST_POLL: Duration = Duration::from_secs(5);

/// Limits of one call and of an onboarding. Together they are shorter than a discovery's lease.
const CALL_LIMIT: Duration = Duration::from_secs(30);
const ONBOARDING_LIMIT: Duration = Duration::from_secs(120);

/// How long a process waits for another one's discovery: as long as an onboarding may take. After that
/// it joins in, since `onboardUser` continues the operation under way.
const LONGEST_WAIT: Duration = Duration::from_secs(150);

/// How long a failed discovery is remembered: briefly if the cause may pass by itself, longer if a
/// person has to act.
const SHORT_MEMORY: Duration = Duration::from_secs(3);
const LONG_MEMORY: Duration = Duration::from_secs(30);
