//! The state of an isolate: the proxy, made once from the Worker's variables and secrets. These do not
//! change while an isolate lives, since a deployment makes new isolates.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use code_assist_core::settings::{self, AllowedHosts, Layer, Machine, Settings, Source};
use code_assist_core::{Error, Platform as _, Proxy, WaitQueue};
use worker::Env;
use worker::js_sys::Reflect;

use crate::edge::Edge;
use crate::log;

/// The proxy of the isolate, which the first event makes.
pub(crate) fn proxy(edge: &Edge) -> Result<&'static Proxy, &'static Error> {
    static PROXY: OnceLock<Result<Proxy, Error>> = OnceLock::new();
    PROXY.get_or_init(|| make(edge)).as_ref()
}

/// The wait queue for upstream requests in this isolate.
pub(crate) fn wait_queue() -> MutexGuard<'static, WaitQueue> {
    static WAIT_QUEUE: Mutex<WaitQueue> = Mutex::new(WaitQueue::new(0, 0));
    WAIT_QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(edge: &Edge) -> Result<Proxy, Error> {
    let vars = |name: &str| variable(edge.env(), name);
    let defaults = |name: &str| settings::worker_default(name).map(str::to_owned);
    let layers = [
        Layer { source: Source::Env, lookup: &vars },
        Layer { source: Source::Default, lookup: &defaults },
    ];
    let machine = Machine { is_on_network: true, has_path: None, ..Machine::default() };
    let (mut settings, warnings) = Settings::read_on(&layers, &machine).map_err(|problems| {
        let lines = problems.iter().map(|problem| format!("{} {}", problem.name, problem.text));
        Error::SettingsInvalid { problems: lines.collect() }
    })?;
    if settings.kv_encryption_key.is_some() {
        // An operator who sets it expects that values are encrypted with it.
        return Err(Error::SettingsInvalid { problems: vec![NO_ENCRYPTION.to_owned()] });
    }
    let is_counted_together = edge.has_shared_usage();
    let limited = settings.keys.iter().find(|key| !key.limits.are_none());
    if let Some(key) = limited.filter(|_| !is_counted_together) {
        // Cloudflare starts and ends isolates as it likes: a budget that each counts from nothing is none.
        return Err(Error::SettingsInvalid { problems: vec![no_object(&key.id)] });
    }
    log::start(&settings.log_level, settings.log_format);
    if !settings.keys.is_empty() && !is_counted_together {
        tracing::warn!("{NO_USAGE}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if settings.allow_unauthenticated {
        // Clients come under the name of the Worker, which is no loopback name.
        "0.0.0.0".clone_into(&mut settings.host);
        // Cloudflare routes by the name, so no other name can be made to lead to this Worker.
        if settings.allowed_hosts == AllowedHosts::Listed(Vec::new()) {
            settings.allowed_hosts = AllowedHosts::Any;
        }
    }
    let share = settings.permits_per_caller(settings.number_of_keys());
    wait_queue().set_limits(settings.max_concurrent_requests, share);
    Ok(Proxy::new(settings, edge))
}

/// A variable or secret as text. In `wrangler.toml` it may also be a number or a boolean.
pub(crate) fn variable(env: &Env, name: &str) -> Option<String> {
    let value = Reflect::get(env, &name.into()).ok()?;
    let number = || value.as_f64().map(|number| number.to_string());
    let boolean = || value.as_bool().map(|value| value.to_string());
    value.as_string().or_else(number).or_else(boolean)
}

const NO_ENCRYPTION: &str = "KV_ENCRYPTION_KEY has no effect in a Worker, which does not encrypt entries itself: \
    Cloudflare encrypts KV and Durable Objects at rest. Remove the variable (wrangler secret delete \
    KV_ENCRYPTION_KEY)";

fn no_object(id: &str) -> String {
    format!(
        "PROXY_KEYS_JSON limits what the key {id} may use, and no Durable Object is bound that counts it for \
         all isolates. Bind TURN_REGISTER in wrangler.toml (docs/WORKER.md), or remove the limits"
    )
}

const NO_USAGE: &str = "the usage of keys is not stored, since no Durable Object is bound: bind TURN_REGISTER in \
    wrangler.toml (docs/WORKER.md)";
