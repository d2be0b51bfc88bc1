use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::Timer as _;
use tokio::task::{JoinHandle, yield_now};

use super::step::Stepped;
use super::*;

/// Waits until both clocks have gone on.
fn let_time_pass() {
    let (at, wall) = (Instant::now(), SystemTime::now());
    while Instant::now() == at || SystemTime::now() == wall {}
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// True if this much has passed, and no more than the millisecond of the runtime's timers beyond it.
fn has_passed(since: Instant, expected: Duration) -> bool {
    let passed = Instant::now() - since;
    passed >= expected && passed <= expected + Duration::from_millis(1)
}

/// Polls a future with a waker of its own, and only when that was woken, as collections of futures do.
async fn with_waker_of_its_own<F: Future>(future: F) -> F::Output {
    struct OwnWaker {
        task: Waker,
        woken: AtomicBool,
    }
    impl Wake for OwnWaker {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::SeqCst);
            self.task.wake_by_ref();
        }
    }
    let (mut future, mut own) = (pin!(future), None);
    poll_fn(|cx| {
        let own = own.get_or_insert_with(|| {
            Arc::new(OwnWaker { task: cx.waker().clone(), woken: AtomicBool::new(true) })
        });
        if !own.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(own))))
    })
    .await
}

/// Waits for a timer once, and drops it.
async fn give_up(mut timer: Timer) {
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut timer).poll(cx))).await;
    assert!(polled.is_pending());
}

fn both() -> (Instant, SystemTime) {
    (now(), wall_clock())
}

#[tokio::test]
async fn each_clock_is_read_once_a_step_and_anew_in_the_next_one() {
    let steps = spawn(async {
        let first = both();
        let_time_pass();
        assert_eq!(both(), first);
        yield_now().await;
        let second = both();
        assert!(second.0 > first.0 && second.1 != first.1);
        let_time_pass();
        assert_eq!(both(), second);
    });
    steps.await.unwrap();
}

#[tokio::test]
async fn a_step_reads_the_clock_anew_when_it_is_asked_to() {
    let step = spawn(async {
        let before = now();
        let_time_pass();
        let anew = now_anew();
        assert!(anew > before);
        let_time_pass();
        assert_eq!(now(), anew, "the rest of the step has this time");
    });
    step.await.unwrap();
}

#[tokio::test]
async fn time_goes_on_outside_of_steps_also_after_one_that_has_panicked() {
    let step = spawn(async {
        now();
        panic!("a step that panics");
    });
    assert!(step.await.unwrap_err().is_panic());
    let before = both();
    let_time_pass();
    let after = both();
    assert!(after.0 > before.0 && after.1 != before.1);
}

#[tokio::test]
async fn a_step_within_a_step_has_times_of_its_own() {
    let outer = spawn(async {
        let before = now();
        let_time_pass();
        let inner = Stepped::new(async { now() }).await;
        assert!(inner > before);
        assert_eq!(now(), before);
    });
    outer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_sees_the_time_of_a_paused_runtime() {
    let begun = Instant::now();
    let step = spawn(async move {
        tokio::time::advance(seconds(5)).await;
        now() - begun
    });
    assert_eq!(step.await.unwrap().as_secs(), 5);
}

#[tokio::test]
async fn the_wall_clock_is_read_again_after_some_time() {
    let steps = spawn(async {
        let before = wall_clock();
        READINGS.set(Some((now(), before + seconds(3600))));
        assert_eq!(wall_clock(), before + seconds(3600), "the last reading holds");
        READINGS.set(Some((now() - READINGS_HOLD, before + seconds(3600))));
        assert!(wall_clock() < before + seconds(60), "it is too old");
    });
    steps.await.unwrap();
}

#[tokio::test]
async fn the_wall_clock_of_a_step_that_was_interrupted_is_not_ahead() {
    let steps = spawn(async {
        let a_little = Duration::from_millis(1);
        now();
        let after_reading = SystemTime::now();
        // The thread does not run.
        std::thread::sleep(5 * a_little);
        let at_first = wall_clock();
        assert!(at_first < after_reading + a_little, "it is that of the step's time");
        assert_eq!(wall_clock(), at_first);
        yield_now().await;
        let computed = wall_clock();
        assert!(computed > at_first && computed < SystemTime::now() + a_little);
    });
    steps.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_timer_ends_at_its_deadline_in_a_task_and_outside_of_one() {
    let begun = Instant::now();
    Timer::after(seconds(5)).await;
    assert!(has_passed(begun, seconds(5)));
    let task = spawn(async {
        let begun = Instant::now();
        Timer::after(seconds(5)).await;
        assert!(has_passed(begun, seconds(5)));
        assert!(now() >= begun + seconds(5), "the step sees it too");
        Timer::after(Duration::from_millis(3)).await;
        assert!(has_passed(begun, Duration::from_millis(5003)));
    });
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_timer_of_a_task_ends_at_its_own_deadline() {
    let task = spawn(async {
        let begun = Instant::now();
        let wait = |after| async move {
            Timer::after(seconds(after)).await;
            assert!(has_passed(begun, seconds(after)), "{after}");
        };
        let later = async {
            Timer::after(seconds(2)).await;
            // Before all that the task waits for.
            Timer::after(seconds(1)).await;
            assert!(has_passed(begun, seconds(3)));
        };
        tokio::join!(wait(60), wait(5), later, wait(5), wait(90));
    });
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_added_later_and_ends_earlier_wakes_its_task_in_time() {
    let task = spawn(async {
        let begun = Instant::now();
        let shorter = async {
            // The alarm is set to the other timer.
            yield_now().await;
            Timer::after(seconds(5)).await;
            assert!(has_passed(begun, seconds(5)));
        };
        tokio::join!(Timer::after(seconds(60)), shorter);
        assert!(has_passed(begun, seconds(60)));
    });
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn timers_that_are_dropped_wake_their_task_once_for_all() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let task = spawn(async move {
        let mut work = pin!(async {
            for _ in 0..100 {
                give_up(Timer::after(seconds(10))).await;
                give_up(Timer::after(seconds(20))).await;
                yield_now().await;
            }
            let begun = Instant::now();
            Timer::after(seconds(60)).await;
            assert!(has_passed(begun, seconds(60)));
        });
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            work.as_mut().poll(cx)
        })
        .await;
    });
    task.await.unwrap();
    // The first, one after each of the hundred, at ten seconds and at the end.
    assert_eq!(polls.load(Ordering::SeqCst), 103);
}

#[tokio::test(start_paused = true)]
async fn a_timer_wakes_a_waker_that_is_not_its_tasks() {
    let task = spawn(async {
        let begun = Instant::now();
        with_waker_of_its_own(Timer::after(seconds(5))).await;
        assert!(has_passed(begun, seconds(5)));
    });
    tokio::time::timeout(seconds(60), task).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_timer_ends_while_its_deadline_is_in_the_future_of_the_step() {
    let task = spawn(async {
        let deadline = now() + Duration::from_millis(2);
        while Instant::now() <= deadline {}
        // The time of the step has not come that far.
        give_up(Timer::at(deadline)).await;
        Timer::at(deadline).await;
        assert!(now() >= deadline);
        let deadline = now() + Duration::from_millis(2);
        while Instant::now() <= deadline {}
        with_waker_of_its_own(Timer::at(deadline)).await;
        assert!(now() >= deadline);
    });
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_alarm_is_set_also_when_the_tasks_budget_is_used_up() {
    let task = spawn(async {
        let (begun, mut timer) = (Instant::now(), Timer::after(seconds(5)));
        let mut is_used_up = false;
        poll_fn(|cx| {
            while !is_used_up {
                is_used_up = pin!(tokio::task::coop::consume_budget()).poll(cx).is_pending();
            }
            Pin::new(&mut timer).poll(cx)
        })
        .await;
        assert!(has_passed(begun, seconds(5)));
    });
    tokio::time::timeout(seconds(60), task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn hypers_timers_can_be_set_anew() {
    let task = spawn(async {
        let begun = Instant::now();
        let mut sleep = HyperTimer.sleep(seconds(5));
        let address = &raw const *sleep;
        HyperTimer.reset(&mut sleep, HyperTimer.now() + seconds(7));
        assert!(std::ptr::addr_eq(address, &raw const *sleep), "it is the same one");
        sleep.await;
        assert!(has_passed(begun, seconds(7)));
        HyperTimer.sleep_until(HyperTimer.now() + seconds(1)).await;
        assert!(has_passed(begun, seconds(8)));
    });
    task.await.unwrap();
}

/// How often a task is polled whose first poll does this, until nothing wakes it any more.
async fn polls_after(
    spawn: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> JoinHandle<()>,
    first: impl FnOnce(&Waker) + Send + 'static,
) -> usize {
    let polls = Arc::new(AtomicUsize::new(0));
    let (counted, mut first) = (Arc::clone(&polls), Some(first));
    let task = spawn(Box::pin(poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::SeqCst);
        if let Some(first) = first.take() {
            first(cx.waker());
        }
        Poll::Pending
    })));
    for _ in 0..10 {
        yield_now().await;
    }
    task.abort();
    polls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_wake_up_that_is_held_back_comes_at_the_end_of_the_step_unless_it_is_discarded() {
    let discarded = |waker: &Waker| {
        let held = hold_wakes();
        waker.wake_by_ref();
        let owned = waker.clone();
        owned.wake();
        held.discard();
    };
    let kept = |waker: &Waker| {
        let held = hold_wakes();
        waker.wake_by_ref();
        drop(held);
    };
    assert_eq!(polls_after(spawn_holding, discarded).await, 1);
    assert_eq!(polls_after(spawn_holding, kept).await, 2);
    assert_eq!(polls_after(spawn, discarded).await, 2, "such tasks hold nothing back");
}

#[tokio::test]
async fn wake_ups_before_and_after_one_that_is_discarded_come() {
    let discard_one = |waker: &Waker| {
        let held = hold_wakes();
        waker.wake_by_ref();
        held.discard();
    };
    let before = move |waker: &Waker| {
        waker.wake_by_ref();
        discard_one(waker);
    };
    let after = move |waker: &Waker| {
        discard_one(waker);
        waker.wake_by_ref();
    };
    let held_before = move |waker: &Waker| {
        let held = hold_wakes();
        waker.wake_by_ref();
        drop(held);
        discard_one(waker);
    };
    let around = move |waker: &Waker| {
        let held = hold_wakes();
        waker.wake_by_ref();
        discard_one(waker);
        drop(held);
    };
    assert_eq!(polls_after(spawn_holding, before).await, 2);
    assert_eq!(polls_after(spawn_holding, after).await, 2);
    assert_eq!(polls_after(spawn_holding, held_before).await, 2);
    assert_eq!(polls_after(spawn_holding, around).await, 2);
}

#[tokio::test]
async fn wake_ups_from_other_threads_and_of_other_tasks_are_never_held_back() {
    let from_another_thread = |waker: &Waker| {
        let held = hold_wakes();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake_by_ref());
        });
        held.discard();
    };
    assert_eq!(polls_after(spawn_holding, from_another_thread).await, 2);

    let (sender, receiver) = std::sync::mpsc::channel();
    let other = spawn_holding(poll_fn(move |cx| {
        sender.send(cx.waker().clone()).map_or(Poll::Ready(()), |()| Poll::Pending)
    }));
    yield_now().await;
    let other_waker = receiver.recv().unwrap();
    let of_another_task = move |_: &Waker| {
        let held = hold_wakes();
        other_waker.wake_by_ref();
        held.discard();
    };
    assert_eq!(polls_after(spawn_holding, of_another_task).await, 1);
    assert!(receiver.try_recv().is_ok(), "it was polled again");
    other.abort();
}

#[tokio::test]
async fn a_panic_while_wake_ups_are_held_back_loses_none() {
    let panics = |waker: &Waker| {
        let caught = std::panic::catch_unwind(|| {
            let _held = hold_wakes();
            waker.wake_by_ref();
            panic!("while wake-ups are held back");
        });
        assert!(caught.is_err());
    };
    assert_eq!(polls_after(spawn_holding, panics).await, 2);
}

#[tokio::test]
async fn a_step_within_a_step_holds_back_only_its_own_wake_ups() {
    let nested = |waker: &Waker| {
        let held = hold_wakes();
        let inner = pin!(Stepped::holding(poll_fn(|_| {
            let held = hold_wakes();
            waker.wake_by_ref();
            held.discard();
            Poll::<()>::Pending
        })));
        assert!(inner.poll(&mut Context::from_waker(waker)).is_pending());
        held.discard();
    };
    assert_eq!(polls_after(spawn_holding, nested).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_holds_back_wake_ups_has_timers_budget_and_an_alarm_as_others() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let task = spawn_holding(async move {
        let mut work = pin!(async {
            for _ in 0..10 {
                give_up(Timer::after(seconds(10))).await;
                yield_now().await;
            }
            for _ in 0..1000 {
                tokio::task::coop::consume_budget().await;
            }
            let begun = Instant::now();
            Timer::after(seconds(60)).await;
            assert!(has_passed(begun, seconds(60)));
        });
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            work.as_mut().poll(cx)
        })
        .await;
    });
    tokio::time::timeout(seconds(600), task).await.unwrap().unwrap();
    // The first, one after each of the ten, one for each 128 of the thousand, at ten seconds and at the end.
    assert_eq!(polls.load(Ordering::SeqCst), 1 + 10 + 7 + 2);
}
