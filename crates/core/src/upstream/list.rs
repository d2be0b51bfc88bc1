//! All upstreams of a process, and which of them a request may use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::own_login::OwnLogin;
use super::{CodeAssistAccount, Upstream};
use crate::caller::KeyDigest;
use crate::context::GivenSignatures;
use crate::job::{BackgroundJob, Job, UpstreamId};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::settings::{KeySettings, Settings};
use crate::sync::lock;

/// The upstreams that a request may use, in order of preference. There is at least one.
#[derive(Debug)]
pub(crate) struct UpstreamList {
    all: Box<[Arc<Upstream>]>,
    /// Which provider has given a thought signature; `None` where all upstreams are of one.
    pub(crate) signatures: Option<Arc<GivenSignatures>>,
    /// Answers, log lines and metrics name the upstream.
    pub(crate) is_named: bool,
    /// What tells answers from these upstreams apart from those of the operator's; `None` for the operator's.
    pub(crate) variant: Option<Box<str>>,
}

impl UpstreamList {
    /// The upstream that comes first in the order of preference.
    pub(crate) fn primary(&self) -> &Upstream {
        &self.all[0]
    }

    /// All of them, in order of preference.
    pub(crate) fn as_slice(&self) -> &[Arc<Upstream>] {
        &self.all
    }

    /// True when a client cannot know which upstream has served it.
    pub(crate) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    /// True when there is one upstream, at Code Assist.
    pub(crate) fn is_code_assist_alone(&self) -> bool {
        !self.are_several() && self.code_assist().is_some()
    }

    /// All of them, in order of preference.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.all.iter().map(|upstream| &**upstream)
    }

    /// The first upstream at Code Assist, which serves the requests of its own protocol.
    pub(crate) fn code_assist(&self) -> Option<(&Upstream, &CodeAssistAccount)> {
        self.iter().find_map(|upstream| Some((upstream, upstream.code_assist()?)))
    }
}

/// Every upstream of this process: the operator's, which never change, and those of keys with a login of
/// their own, which a reload adds and removes.
#[derive(Debug)]
pub(crate) struct Upstreams {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// The operator's, which requests use whose key says nothing else.
    pub(crate) operators: UpstreamList,
    own: Mutex<OwnUpstreams>,
    /// The id of the next upstream.
    next: AtomicU32,
    /// Shared by all lists whose upstreams are of several providers.
    signatures: OnceLock<Arc<GivenSignatures>>,
}

/// The upstreams of keys.
#[derive(Debug, Default)]
struct OwnUpstreams {
    /// Those of the settings in force.
    current: Vec<Arc<Upstream>>,
    /// Those that a reload has removed. Requests that began before may use them to their end.
    removed: Vec<Weak<Upstream>>,
}

/// The lists of the keys that do not use the operator's.
#[derive(Debug, Default)]
pub(crate) struct KeyLists(HashMap<KeyDigest, Arc<UpstreamList>>);

impl KeyLists {
    /// The list of a key; `None` stands for the operator's.
    pub(crate) fn of(&self, key: &KeyDigest) -> Option<Arc<UpstreamList>> {
        if self.0.is_empty() { None } else { self.0.get(key).cloned() }
    }
}

impl Upstreams {
    /// Makes the operator's upstreams of these settings, with nothing known of their accounts yet.
    pub(crate) fn new(settings: &Arc<Settings>, metrics: &Arc<Metrics>) -> Self {
        let mut first_endpoint = 0;
        let all = settings.upstreams.iter().zip(0..).map(|(configured, id)| {
            let id = UpstreamId(id);
            let upstream = Upstream::new(id, configured, first_endpoint, None, settings, metrics);
            first_endpoint += configured.endpoints.len();
            Arc::new(upstream)
        });
        let all: Box<[Arc<Upstream>]> = all.collect();
        assert!(!all.is_empty(), "settings name at least one upstream");
        let signatures = OnceLock::new();
        Self {
            settings: Arc::clone(settings),
            metrics: Arc::clone(metrics),
            next: AtomicU32::new(u32::try_from(all.len()).unwrap_or_default()),
            operators: list(all, &signatures, false),
            own: Mutex::default(),
            signatures,
        }
    }

    /// The lists of the keys of these settings. An upstream of a key is kept while its login is the same,
    /// and removed when no key has the login any more.
    pub(crate) fn lists(&self, keys: &[KeySettings]) -> KeyLists {
        let mut own = lock(&self.own);
        let before = std::mem::take(&mut own.current);
        let mut lists = HashMap::new();
        for key in keys {
            if key.own.is_none() && key.upstreams.is_empty() {
                continue;
            }
            let login = OwnLogin::of(key);
            let own = login.map(|login| self.of_login(login, &before, &mut own.current));
            if let Some(list) = self.list_of(&key.upstreams, own) {
                lists.insert(key.digest, Arc::new(list));
            }
        }
        own.removed.retain(|removed| removed.strong_count() > 0);
        let is_removed = |it: &&Arc<Upstream>| !own.current.iter().any(|kept| kept.id == it.id);
        let removed: Vec<_> = before.iter().filter(is_removed).map(Arc::downgrade).collect();
        own.removed.extend(removed);
        KeyLists(lists)
    }

    /// The upstream of a login: one that there is, or a new one.
    fn of_login(
        &self,
        mut login: OwnLogin,
        before: &[Arc<Upstream>],
        current: &mut Vec<Arc<Upstream>>,
    ) -> Arc<Upstream> {
        let has_login =
            |it: &&Arc<Upstream>| it.own_login().is_some_and(|of_it| of_it.is_same(&login));
        if let Some(upstream) = current.iter().find(has_login) {
            return Arc::clone(upstream);
        }
        let known = before.iter().find(has_login).cloned();
        let upstream = known.unwrap_or_else(|| {
            let place = |it: &Arc<Upstream>| it.own_login().map(|own| Arc::clone(&own.place));
            if current.iter().filter_map(place).any(|place| place == login.place) {
                login.move_to_further_place();
            }
            let id = UpstreamId(self.next.fetch_add(1, Relaxed));
            let configured = login.upstream_settings(&self.settings);
            let (settings, metrics) = (&self.settings, &self.metrics);
            let endpoint = Metrics::NO_ENDPOINT;
            let login = Some(Arc::new(login));
            Arc::new(Upstream::new(id, &configured, endpoint, login, settings, metrics))
        });
        current.push(Arc::clone(&upstream));
        upstream
    }

    /// The operator's upstreams with these names, in this order, or all of them. The key's own one stands
    /// in place of the first at Code Assist, and of all where no names are given.
    fn list_of(&self, names: &[Arc<str>], own: Option<Arc<Upstream>>) -> Option<UpstreamList> {
        let operators = self.operators.as_slice();
        let named = names.iter().filter_map(|name| operators.iter().find(|it| it.name == *name));
        let mut all: Vec<Arc<Upstream>> = named.cloned().collect();
        match own {
            Some(own) if names.is_empty() => all = vec![own],
            Some(own) => match all.iter().position(|it| it.code_assist().is_some()) {
                Some(at) => all[at] = own,
                None => all.insert(0, own),
            },
            None => {}
        }
        let is_named = self.operators.are_several();
        if all.is_empty() {
            return None;
        }
        let own = |it: &Arc<Upstream>| it.own_login().map(|own| own.variant());
        let variant = all.iter().map(|it| format!("{} {};", it.name, own(it).unwrap_or_default()));
        let variant = Some(variant.collect::<String>().into());
        Some(UpstreamList { variant, ..list(all.into(), &self.signatures, is_named) })
    }

    /// The upstream with this id. `None` if it was a key's, was removed, and no request uses it any more.
    pub(crate) fn get(&self, id: UpstreamId) -> Option<Arc<Upstream>> {
        let is_it = |upstream: &&Arc<Upstream>| upstream.id == id;
        if let Some(upstream) = self.operators.as_slice().iter().find(is_it) {
            return Some(Arc::clone(upstream));
        }
        let own = lock(&self.own);
        let removed = || own.removed.iter().filter_map(Weak::upgrade).find(|it| it.id == id);
        own.current.iter().find(is_it).cloned().or_else(removed)
    }

    /// Does the regular work of each upstream. Called about once a second. That of keys' upstreams is done
    /// by jobs, so that a slow answer to one delays no other.
    pub(crate) async fn tick<P: Platform>(&self, platform: &P) {
        for upstream in self.own().iter().filter(|own| !own.is_looked_after()) {
            platform.spawn_job(BackgroundJob::new(Job::LookAfter(upstream.id)));
        }
        for upstream in self.operators.iter() {
            upstream.tick(platform).await;
        }
    }

    /// The upstreams of keys with a login of their own.
    pub(crate) fn own(&self) -> Vec<Arc<Upstream>> {
        lock(&self.own).current.clone()
    }
}

fn list(
    all: Box<[Arc<Upstream>]>,
    signatures: &OnceLock<Arc<GivenSignatures>>,
    is_named: bool,
) -> UpstreamList {
    let kind = |upstream: &Upstream| upstream.calls.provider.kind();
    let differ = all.iter().any(|upstream| kind(upstream) != kind(&all[0]));
    let signatures = differ.then(|| Arc::clone(signatures.get_or_init(Arc::default)));
    let is_named = is_named || all.len() > 1;
    UpstreamList { all, signatures, is_named, variant: None }
}
