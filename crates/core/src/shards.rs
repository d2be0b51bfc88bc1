//! What every request writes, kept once for each of a few shards.
//!
//! A cache line that several cores write moves between them with every write, which takes 50 to 100 ns.
//! Each thread writes the shard of its own, and a reader puts all of them together.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// One `T` for each shard, each on cache lines of its own.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Shard<T>; SHARDS]>);

/// Processors read lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<T>(T);

impl<T> Sharded<T> {
    /// Makes each shard with `make`.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self(Box::new(array::from_fn(|_| Shard(make()))))
    }

    /// The shard of the thread that calls. With more threads than shards, some threads share one.
    pub fn own(&self) -> &T {
        &self.0[own_shard()].0
    }

    /// All of them, for a reader.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

/// An `Arc` whose references every request counts: each shard has a count of its own.
#[derive(Debug)]
pub struct Replicas<T>(Sharded<Replica<T>>);

/// A reference that is counted in one shard.
pub type Replica<T> = Arc<Arc<T>>;

impl<T> Replicas<T> {
    /// Replicas of `value`.
    pub fn of(value: &Arc<T>) -> Self {
        Self(Sharded::new(|| Arc::new(Arc::clone(value))))
    }

    /// The replica for the thread that calls.
    pub fn own(&self) -> &Replica<T> {
        self.0.own()
    }
}

/// A value that every request reads and few events replace: each shard has a copy.
#[derive(Debug)]
pub(crate) struct Published<T>(Sharded<Mutex<T>>);

impl<T> Published<T> {
    /// Publishes copies that share nothing, each made with `copy`.
    pub(crate) fn new(mut copy: impl FnMut() -> T) -> Self {
        Self(Sharded::new(|| Mutex::new(copy())))
    }

    /// Replaces the copies, one after the other.
    pub(crate) fn replace(&self, mut copy: impl FnMut() -> T) {
        for shard in self.0.iter() {
            let _old = std::mem::replace(&mut *lock(shard), copy());
        }
    }

    /// Reads the value.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&lock(self.0.own()))
    }
}

/// A state of which a usual request needs one part only, which changes seldom.
pub trait HasReadyPart {
    /// That part.
    type Ready: PartialEq;

    /// The part, while it is all that a request needs.
    fn ready(&self) -> Option<Self::Ready>;

    /// A copy that shares no count of references with the original.
    fn copy(ready: &Self::Ready) -> Self::Ready;
}

/// A state under a lock, whose ready part is published, so that a usual request does not take that lock.
#[derive(Debug)]
pub(crate) struct SharedState<S: HasReadyPart> {
    /// The state, and its part as it was published last.
    state: Mutex<(S, Option<S::Ready>)>,
    ready: Published<Option<S::Ready>>,
}

impl<S: HasReadyPart> SharedState<S> {
    pub(crate) fn new(state: S) -> Self {
        Self { state: Mutex::new((state, None)), ready: Published::new(|| None) }
    }

    /// Uses the ready part, if there is one.
    pub(crate) fn ready<R>(&self, read: impl FnOnce(&S::Ready) -> Option<R>) -> Option<R> {
        self.ready.read(|ready| ready.as_ref().and_then(read))
    }

    /// Looks at the state, or changes it.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut S) -> R) -> R {
        let (state, published) = &mut *lock(&self.state);
        let result = work(state);
        let ready = state.ready();
        if ready != *published {
            self.ready.replace(|| ready.as_ref().map(S::copy));
            *published = ready;
        }
        result
    }
}

/// A part of a bound that shards have taken in advance, so that requests need not ask for it: what one of
/// them gives back, the next one of the same shard takes. A holder of the bound counts it as taken, and
/// takes it back ([`Credits::take_all`]) before it refuses anything.
#[derive(Debug)]
pub struct Credits {
    most: usize,
    shards: Sharded<AtomicUsize>,
}

impl Credits {
    /// No credit yet. A shard will have at most `most`, or a little more while threads share it.
    pub fn new(most: usize) -> Self {
        Self { most, shards: Sharded::default() }
    }

    /// Takes so much of the credit of this thread's shard. False, with nothing changed, if it has less.
    #[must_use = "nothing is taken if there is too little"]
    pub fn take(&self, amount: usize) -> bool {
        let less = |credit: usize| credit.checked_sub(amount);
        self.shards.own().fetch_update(SeqCst, SeqCst, less).is_ok()
    }

    /// Adds what is given back. False, with nothing changed, if the shard has enough.
    #[must_use = "nothing is kept if there is enough"]
    pub fn give(&self, amount: usize) -> bool {
        let more = |credit: usize| credit.checked_add(amount).filter(|sum| *sum <= self.most);
        self.shards.own().fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Takes all credit of all shards, for the holder of the bound.
    pub fn take_all(&self) -> usize {
        self.shards.iter().map(|credit| credit.swap(0, SeqCst)).sum()
    }

    /// All credit of all shards.
    pub fn sum(&self) -> usize {
        self.shards.iter().map(|credit| credit.load(SeqCst)).sum()
    }
}

/// The threads get their shards in the order in which they first ask.
fn own_shard() -> usize {
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        own.get() % SHARDS
    })
}

/// A bound on the memory, and a power of two. A Worker has one thread.
const SHARDS: usize = if cfg!(target_family = "wasm") { 1 } else { 8 };

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    #[test]
    fn threads_have_shards_of_their_own_and_the_sum_is_exact() {
        let counts: Sharded<AtomicU64> = Sharded::default();
        thread::scope(|scope| {
            for _ in 0..3 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| _ = counts.own().fetch_add(1, Relaxed)));
            }
        });
        let sum: u64 = counts.iter().map(|count| count.load(Relaxed)).sum();
        assert_eq!(sum, 3 * SHARDS as u64 * 1000);
        let used = counts.iter().filter(|count| count.load(Relaxed) > 0).count();
        assert!(used > 1, "each thread wrote the same shard");
    }

    #[test]
    fn each_shard_has_a_copy_of_what_is_published() {
        let published = Published::new(|| Arc::new(1));
        assert_eq!(published.read(Arc::strong_count), 1, "no shard shares its copy");
        published.replace(|| Arc::new(2));
        thread::scope(|scope| {
            for _ in 0..SHARDS {
                scope.spawn(|| assert_eq!(published.read(|value| **value), 2));
            }
        });
    }

    #[derive(Debug)]
    struct Even(u32);

    impl HasReadyPart for Even {
        type Ready = u32;

        fn ready(&self) -> Option<u32> {
            self.0.is_multiple_of(2).then_some(self.0)
        }

        fn copy(ready: &u32) -> u32 {
            *ready
        }
    }

    #[test]
    fn the_ready_part_of_a_state_is_read_without_its_lock_and_ends_with_the_change() {
        let shared = SharedState::new(Even(2));
        assert_eq!(shared.ready(|even| Some(*even)), None, "nothing was published yet");
        assert_eq!(shared.with(|state| state.0), 2);
        {
            let _locked = shared.state.lock().unwrap();
            assert_eq!(shared.ready(|even| Some(*even)), Some(2));
            assert_eq!(shared.ready(|even| (*even > 2).then_some(())), None);
        }
        shared.with(|state| state.0 = 3);
        thread::scope(|scope| {
            for _ in 0..SHARDS {
                scope.spawn(|| assert_eq!(shared.ready(|even| Some(*even)), None));
            }
        });
    }

    #[test]
    fn replicas_count_their_references_apart() {
        let value = Arc::new(7);
        let replicas = Replicas::of(&value);
        let before = Arc::strong_count(&value);
        let clone = Arc::clone(replicas.own());
        assert_eq!((**clone, Arc::strong_count(&value)), (7, before));
    }

    #[test]
    fn credit_is_bounded_and_never_more_is_taken_than_given() {
        let credits = Credits::new(10);
        assert!(!credits.take(1));
        assert!(credits.give(6) && !credits.give(5) && credits.give(4));
        assert!(credits.take(7) && !credits.take(4));
        assert_eq!((credits.sum(), credits.take_all(), credits.sum()), (3, 3, 0));
    }

    #[test]
    fn a_thread_keeps_its_shard_and_no_two_shards_share_a_cache_line() {
        let counts: Sharded<u8> = Sharded::default();
        assert!(std::ptr::eq(counts.own(), counts.own()));
        let places: Vec<usize> = counts.iter().map(|it| std::ptr::from_ref(it).addr()).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 128));
    }
}
