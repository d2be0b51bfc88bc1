//! The platform's port over the script.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{
    BackgroundJob, Caller, CredentialFile, FencingToken, LockResult, Monotonic, Payload, Platform,
    Rate, RateStanding, SendError, StoreError, Ticket, Timestamp,
};
use http::{Request, Response};

use super::body::{Exchange, ScriptBody};
use super::{Received, Script, lock};

impl Platform for Script {
    type Body = ScriptBody;
    type Timer = ScriptTimer;
    type Permit = ScriptPlace;

    fn now(&self) -> Monotonic {
        self.world().now
    }

    fn wall_clock(&self) -> Timestamp {
        let world = self.world();
        world.epoch + world.now.since(Monotonic(0))
    }

    fn random(&self) -> u64 {
        let mut world = self.world();
        if let Some(bits) = world.draw {
            return bits;
        }
        world.random = world.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        world.random
    }

    fn timer(&self, how_long: Duration) -> ScriptTimer {
        let mut world = self.world();
        let at = world.now + how_long;
        world.timers.push(at);
        ScriptTimer { script: self.clone(), at }
    }

    async fn acquire_permit(&self) -> ScriptPlace {
        let ticket = {
            let mut world = self.world();
            let now = world.now;
            world.line.join(now)
        };
        let place = ScriptPlace { script: self.clone(), ticket };
        std::future::poll_fn(|_| {
            let at_work = self.world().line.has_place(ticket);
            if at_work { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        place
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<ScriptBody>, SendError> {
        let (head, payload) = request.into_parts();
        let reply = {
            let mut world = self.world();
            let received = Received {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body: String::from_utf8_lossy(&payload.to_bytes()).into_owned(),
                at: world.now,
            };
            world.received.push(received.clone());
            (world.upstream)(&received)
        };
        let exchange = Exchange::new(self);
        if !reply.delay.is_zero() {
            self.timer(reply.delay).await;
        }
        let (status, headers) = reply.head?;
        let pieces = reply.pieces.into_iter();
        let script = self.clone();
        let body = ScriptBody { script, pieces, silence: None, ended: false, _exchange: exchange };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let clock = self.wall_clock();
        let world = self.world();
        if world.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        let found = world.store.get(key).filter(|(_, until)| clock < *until);
        Ok(found.map(|(value, _)| value.clone()))
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let until = self.wall_clock() + ttl;
        let mut world = self.world();
        world.saves += 1;
        if world.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        if let (Some(fence), Some(turns)) = (fence, &mut world.turns)
            && !turns.entry(key.to_owned()).or_default().write(fence)
        {
            return Ok(());
        }
        world.store.insert(key.to_owned(), (value, until));
        Ok(())
    }

    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        let clock = self.wall_clock();
        match &mut self.world().turns {
            Some(turns) => turns.entry(key.to_owned()).or_default().claim(clock, ttl),
            None => LockResult::NotShared,
        }
    }

    async fn unlock(&self, key: &str, token: FencingToken) {
        if let Some(turns) = &mut self.world().turns {
            turns.entry(key.to_owned()).or_default().release(token);
        }
    }

    fn has_shared_store(&self) -> bool {
        self.world().turns.is_some()
    }

    async fn count_request(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let now = self.now();
        let world = &mut *self.world();
        if world.turns.is_none() || world.store_broken {
            return None;
        }
        if world.limiter.is_none() {
            world.limiter = RateLimiter::new(rate.limit, rate.window);
        }
        world.limiter.as_mut().map(|limiter| limiter.ask(caller, now))
    }

    fn store_connected(&self) -> bool {
        true
    }

    async fn credential_file(&self, seen: Option<u64>) -> CredentialFile {
        match &self.world().login {
            None => CredentialFile::Absent {
                path: "oauth_creds.json".to_owned(),
                encrypted_store: false,
            },
            Some((stamp, _)) if seen == Some(*stamp) => CredentialFile::Unchanged,
            Some((stamp, content)) => {
                CredentialFile::Read { stamp: *stamp, content: content.clone() }
            }
        }
    }

    fn spawn_job(&self, chore: BackgroundJob) {
        lock(&self.chores).push(chore);
    }
}

/// A place in line: those in front are at work, as many as there are places.
#[derive(Debug)]
pub struct ScriptPlace {
    script: Script,
    ticket: Ticket,
}

impl Drop for ScriptPlace {
    fn drop(&mut self) {
        let ticket = self.ticket;
        let mut world = self.script.world();
        world.freed += 1;
        world.line.leave(ticket);
    }
}

/// A timer of the scripted clock.
#[derive(Debug)]
pub struct ScriptTimer {
    script: Script,
    at: Monotonic,
}

impl Future for ScriptTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.script.now() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}
