//! Stands for the Redis store in a build without the feature `redis`. [`crate::features`] refuses
//! such a `KV_URL` there, so that no value of [`RedisStore`] ever exists.

use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::RedisUrl;
use code_assist_core::{
    Caller, Day, FencingToken, LockResult, Rate, RateStanding, SharedReservation, SharedStanding,
    StoreError, StoreStats, UsageBatch, UsageRow,
};

use super::{Clock, Entry, Notice};

/// A store that cannot exist.
#[derive(Debug, Clone)]
pub(crate) enum RedisStore {}

impl RedisStore {
    pub(super) fn open(
        url: &RedisUrl,
        _: Option<Vec<u8>>,
        _: Clock,
        _: u64,
    ) -> Ready<Result<(Self, Option<Notice>), StoreError>> {
        ready(Err(unsupported(url)))
    }

    pub(super) fn open_only(
        url: &RedisUrl,
        _: Option<Vec<u8>>,
        _: Clock,
    ) -> Ready<Result<Self, StoreError>> {
        ready(Err(unsupported(url)))
    }

    pub(super) fn load(&self, _: &str) -> Ready<Option<Bytes>> {
        match *self {}
    }

    pub(super) fn save(
        &self,
        _: &str,
        _: Bytes,
        _: Duration,
        _: Option<FencingToken>,
    ) -> Ready<Result<(), StoreError>> {
        match *self {}
    }

    pub(super) fn claim(&self, _: &str, _: Duration) -> Ready<LockResult> {
        match *self {}
    }

    pub(super) fn renew(&self, _: &str, _: FencingToken, _: Duration) -> Ready<bool> {
        match *self {}
    }

    pub(super) fn release(&self, _: &str, _: FencingToken) -> Ready<()> {
        match *self {}
    }

    pub(super) fn count(&self, _: &Caller, _: Rate) -> Ready<Option<RateStanding>> {
        match *self {}
    }

    pub(super) fn reserve(&self, _: &SharedReservation) -> Ready<Option<SharedStanding>> {
        match *self {}
    }

    pub(super) fn add_usage(&self, _: &UsageBatch) -> Ready<Result<(), StoreError>> {
        match *self {}
    }

    pub(super) fn usage(
        &self,
        _: RangeInclusive<Day>,
        _: Option<&str>,
    ) -> Ready<Result<Vec<UsageRow>, StoreError>> {
        match *self {}
    }

    pub(super) fn remove_usage(&self, _: Day) -> Ready<Result<(), StoreError>> {
        match *self {}
    }

    pub(super) fn clear_usage(&self) -> Ready<Result<usize, StoreError>> {
        match *self {}
    }

    pub(super) fn entries(&self) -> Ready<Result<Vec<Entry>, StoreError>> {
        match *self {}
    }

    pub(super) fn restore(&self, _: Vec<Entry>) -> Ready<Result<(), StoreError>> {
        match *self {}
    }

    pub(super) fn clear(&self) -> Ready<Result<usize, StoreError>> {
        match *self {}
    }

    pub(super) fn is_durable(&self) -> Ready<bool> {
        match *self {}
    }

    pub(super) fn describe(&self) -> String {
        match *self {}
    }

    pub(super) fn connected(&self) -> bool {
        match *self {}
    }

    pub(super) fn stats(&self) -> StoreStats {
        match *self {}
    }
}

fn unsupported(url: &RedisUrl) -> StoreError {
    StoreError(format!("{url} needs a build with the feature `redis`"))
}
