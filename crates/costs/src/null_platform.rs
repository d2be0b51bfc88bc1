//! A platform that costs next to nothing, so that what is counted is the core's.

use std::future::Future;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use code_assist_core::{
    BackgroundJob, BodyError, Caller, CredentialFile, Day, FencingToken, Monotonic, Payload,
    Platform, Proxy, RequestLine, SendError, StoreError, Timestamp, UsageRow,
};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};

use crate::line::with_request_line;

/// A clock that advances with each reading, and one prepared answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct NullPlatform(Arc<State>);

/// How often the core has asked any platform for the time.
pub(crate) static CLOCK_READS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default)]
struct State {
    micros: AtomicU64,
    jobs: Mutex<Vec<BackgroundJob>>,
    answer: Mutex<Option<Response<Pieces>>>,
}

impl NullPlatform {
    /// Prepares the answer to the next call that is not about credentials. An earlier answer that was
    /// not used is replaced.
    pub(crate) fn set_answer(&self, answer: Response<Pieces>) {
        *lock(&self.0.answer) = Some(answer);
    }

    /// The time, for the platform's own timers.
    fn moment(&self) -> Monotonic {
        Monotonic(self.0.micros.fetch_add(1, Relaxed))
    }

    /// Runs a future to its end, and the jobs that it leaves behind.
    pub(crate) fn run<F: Future>(&self, proxy: &Proxy, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.run_job(proxy);
        }
    }

    fn run_job(&self, proxy: &Proxy) {
        let mut context = Context::from_waker(Waker::noop());
        let jobs = std::mem::take(&mut *lock(&self.0.jobs));
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            let mut work = pin!(proxy.run_job(self, job));
            while work.as_mut().poll(&mut context).is_pending() {}
        }
        self.0.micros.fetch_add(MICROS_OF_A_JOB, Relaxed);
    }
}

impl Platform for NullPlatform {
    type Body = Pieces;
    type Timer = Nap;
    type Permit = ();

    fn now(&self) -> Monotonic {
        CLOCK_READS.fetch_add(1, Relaxed);
        self.moment()
    }

    fn wall_clock(&self) -> Timestamp {
        CLOCK_READS.fetch_add(1, Relaxed);
        START
    }

    fn random(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }

    fn timer(&self, how_long: Duration) -> Nap {
        Nap { platform: self.clone(), at: self.moment() + how_long }
    }

    async fn acquire_permit(&self, _caller: Caller) {}

    /// Answers at the second look, as a network would.
    async fn send(
        &self,
        request: Request<Payload>,
        _again: impl Fn() -> Option<Request<Payload>>,
    ) -> Result<Response<Pieces>, SendError> {
        let path = request.uri().path();
        let aside = match path {
            "/tokeninfo" => Some(r#"{"expires_in":"3500"}"#),
            _ if path.ends_with(":loadCodeAssist") => {
                Some(r#"{"currentTier":{"id":"standard-tier"},"cloudaicompanionProject":"p-1"}"#)
            }
            _ => None,
        };
        let mut looked = false;
        std::future::poll_fn(|_| match std::mem::replace(&mut looked, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let answer = match aside {
            Some(text) => Some(Response::new(Pieces::of([Bytes::from(text)]))),
            None => lock(&self.0.answer).take(),
        };
        Ok(answer.unwrap_or_else(|| {
            let mut none = Response::new(Pieces::of([]));
            *none.status_mut() = StatusCode::NOT_FOUND;
            none
        }))
    }

    async fn load(&self, _: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn save(
        &self,
        _: &str,
        _: Bytes,
        _: Duration,
        _: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn usage(
        &self,
        _: RangeInclusive<Day>,
        _: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        Ok(Vec::new())
    }

    fn store_connected(&self) -> bool {
        true
    }

    async fn credential_file(&self, _path: &str, seen: Option<u64>) -> CredentialFile {
        match seen {
            Some(STAMP) => CredentialFile::Unchanged,
            _ => {
                CredentialFile::Read { stamp: STAMP, content: Bytes::from_static(LOGIN.as_bytes()) }
            }
        }
    }

    fn log_request(&self, line: &RequestLine<'_>) {
        if LOGS_REQUESTS.load(Relaxed) {
            with_request_line(line, SystemTime::now(), |line| {
                black_box(line);
            });
        }
    }

    fn spawn_job(&self, job: BackgroundJob) {
        lock(&self.0.jobs).push(job);
    }
}

/// Has the lines of requests made from now on.
pub(crate) fn log_requests() {
    LOGS_REQUESTS.store(true, Relaxed);
}

static LOGS_REQUESTS: AtomicBool = AtomicBool::new(false);

/// A timer on the platform's clock.
#[derive(Debug)]
pub(crate) struct Nap {
    platform: NullPlatform,
    at: Monotonic,
}

impl Future for Nap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.platform.moment() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A body that comes in pieces, each of them only when it is asked for a second time.
#[derive(Debug)]
pub(crate) struct Pieces {
    left: std::vec::IntoIter<Bytes>,
    asked: bool,
}

impl Pieces {
    pub(crate) fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self { left: pieces.into_iter().collect::<Vec<_>>().into_iter(), asked: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.asked = !self.asked;
        if self.asked {
            return Poll::Pending;
        }
        Poll::Ready(self.left.next().map(|piece| Ok(Frame::data(piece))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 2025-06-15T15:06:40Z.
pub(crate) const START: Timestamp = Timestamp(1_750_000_000_000);

const STAMP: u64 = 1;
/// Lives for an hour from [`START`].
const LOGIN: &str = r#"{"access_token":"ya29.costs","refresh_token":"1//costs","expiry_date":1750003600000,"token_type":"Bearer"}"#;

/// Longer than a request waits between two looks at whether its token has come.
const MICROS_OF_A_JOB: u64 = 100_000;
