//! Decides by reads, PINGs and times when a connection is silent, and when it is dead.

use std::time::Duration;

use tokio::time::Instant;

use crate::http_client::pool::PoolOptions;

/// How long one connection has been silent, and what it still has to answer. Its driver compares the
/// count of reads at intervals, so that a read costs no look at the clock.
#[derive(Debug)]
pub(super) struct SilenceWatch {
    options: PoolOptions,
    /// The count of reads at the last look.
    reads: u64,
    /// When a look first found this count. The last read came between that look and the one before it.
    since: Instant,
    settings_due: Instant,
    /// When a PING without an answer ends the connection. None: no PING is under way.
    pong_due: Option<Instant>,
    /// When a check without an answer has failed. None: no check is under way.
    check_due: Option<Instant>,
}

impl SilenceWatch {
    pub(super) fn new(options: PoolOptions, now: Instant) -> Self {
        let settings_due = now + options.settings_timeout;
        Self { options, reads: 0, since: now, settings_due, pong_due: None, check_due: None }
    }

    /// Takes note of the count of reads.
    pub(super) fn look(&mut self, reads: u64, now: Instant) {
        if reads == self.reads {
            return;
        }
        self.reads = reads;
        self.since = now;
        self.check_due = None;
        // The peer is alive, although it has not answered the PING. Only the next silence counts.
        if self.pong_due.is_some() {
            self.pong_due = Some(now + self.options.ping_interval + self.options.ping_timeout);
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self, settled: bool, now: Instant) -> Instant {
        let regular = now + self.silent_after().min(self.options.ping_interval);
        let settings_due = (!settled).then_some(self.settings_due);
        let due = [settings_due, self.pong_due, self.check_due].into_iter().flatten();
        due.fold(regular, Instant::min)
    }

    /// True if the connection has to prove that it is alive before it takes a request.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now - self.since >= self.silent_after()
    }

    /// The interval of looks, and the time without a new read after which a connection is silent. It is
    /// half of the limit, since the last read may have come one interval before `since`. No silence above
    /// the limit is missed, and none below half of it is found.
    fn silent_after(&self) -> Duration {
        self.options.idle_before_check / 2
    }

    /// True if an open stream has been silent for a whole interval, so that a PING has to go out.
    pub(super) fn wants_ping(&self, now: Instant) -> bool {
        self.pong_due.is_none() && now - self.since >= self.options.ping_interval
    }

    pub(super) fn awaits_pong(&self) -> bool {
        self.pong_due.is_some()
    }

    /// Notes that a PING goes out. One that a check sends early ends no stream earlier than others do: a
    /// slow upload may delay the answer.
    pub(super) fn begin_ping(&mut self, now: Instant) {
        let begun = now.max(self.since + self.options.ping_interval);
        self.pong_due = Some(begun + self.options.ping_timeout);
    }

    pub(super) fn end_ping(&mut self) {
        self.pong_due = None;
    }

    pub(super) fn begin_check(&mut self, now: Instant) {
        self.check_due = Some(now + self.options.check_timeout);
    }

    /// True once, when a check has had no answer in time.
    pub(super) fn take_failed_check(&mut self, now: Instant) -> bool {
        self.check_due.take_if(|due| *due <= now).is_some()
    }

    pub(super) fn lacks_pong(&self, now: Instant) -> bool {
        self.pong_due.is_some_and(|due| due <= now)
    }

    pub(super) fn lacks_settings(&self, now: Instant) -> bool {
        self.settings_due <= now
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const OPTIONS: PoolOptions = PoolOptions {
        pooling: true,
        keep_alive: seconds(60),
        ping_interval: seconds(20),
        ping_timeout: seconds(10),
        settings_timeout: seconds(10),
        idle_before_check: seconds(10),
        check_timeout: seconds(2),
        recent_use: seconds(1),
        wall_clock: SystemTime::now,
    };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_above_the_limit_is_always_seen_and_silence_below_half_of_it_never() {
        for last_read in 0..=20 {
            let begun = Instant::now();
            let mut watch = SilenceWatch::new(OPTIONS, begun);
            let mut now = begun;
            for _ in 0..20 {
                now = watch.next_look(true, now);
                // One read a second until the last one.
                let passed = (now - begun).as_secs();
                watch.look(passed.min(last_read), now);
                let silence = passed.saturating_sub(last_read);
                if watch.is_silent(now) {
                    assert!(silence >= 5, "{last_read} {silence}");
                } else {
                    assert!(silence < 10, "{last_read} {silence}");
                }
            }
        }
    }

    #[test]
    fn a_check_fails_after_its_time_unless_a_byte_came_in() {
        let begun = Instant::now();
        let mut watch = SilenceWatch::new(OPTIONS, begun);
        watch.begin_check(begun);
        assert_eq!(watch.next_look(true, begun), begun + seconds(2));
        assert!(!watch.take_failed_check(begun + seconds(1)));
        assert!(watch.take_failed_check(begun + seconds(2)));
        assert!(!watch.take_failed_check(begun + seconds(3)));
        watch.begin_check(begun + seconds(4));
        watch.look(1, begun + seconds(5));
        assert!(!watch.take_failed_check(begun + seconds(6)));
    }

    #[test]
    fn a_ping_without_an_answer_is_lost_after_its_time_or_if_bytes_came_in_after_the_next_silence()
    {
        let begun = Instant::now();
        let mut watch = SilenceWatch::new(OPTIONS, begun);
        assert!(!watch.wants_ping(begun + seconds(19)));
        assert!(watch.wants_ping(begun + seconds(20)));
        watch.begin_ping(begun + seconds(20));
        assert!(!watch.wants_ping(begun + seconds(25)));
        assert!(!watch.lacks_pong(begun + seconds(29)));
        assert!(watch.lacks_pong(begun + seconds(30)));
        watch.look(1, begun + seconds(30));
        assert!(!watch.lacks_pong(begun + seconds(59)));
        assert!(watch.lacks_pong(begun + seconds(60)));
        watch.end_ping();
        assert!(!watch.lacks_pong(begun + seconds(60)));
    }

    #[test]
    fn the_ping_of_a_check_ends_streams_no_earlier_than_another() {
        let begun = Instant::now();
        let mut watch = SilenceWatch::new(OPTIONS, begun);
        watch.begin_check(begun + seconds(6));
        watch.begin_ping(begun + seconds(6));
        assert!(watch.take_failed_check(begun + seconds(8)));
        assert!(!watch.lacks_pong(begun + seconds(29)));
        assert!(watch.lacks_pong(begun + seconds(30)));
    }

    #[test]
    fn missing_settings_are_looked_for_when_they_are_due() {
        let begun = Instant::now();
        let watch = SilenceWatch::new(OPTIONS, begun);
        assert_eq!(watch.next_look(false, begun + seconds(6)), begun + seconds(10));
        assert_eq!(watch.next_look(true, begun + seconds(6)), begun + seconds(11));
        assert!(!watch.lacks_settings(begun + seconds(9)));
        assert!(watch.lacks_settings(begun + seconds(10)));
    }
}
