//! Memory: at rest, with open streams, and with a large body.

use std::thread;
use std::time::Duration;

use super::driver::{drive_sized, hold_streams};
use super::{LARGE_BODY, MANY_STREAMS, OPEN_STREAMS, Rounds};
use crate::BenchError;
use crate::results::samples::Summary;
use crate::testbed::Contender;

impl Rounds<'_> {
    /// A fresh process: idle, then more and more open streams, then none.
    pub(super) fn memory(&mut self, round: usize, contender: Contender) -> Result<(), BenchError> {
        let instance = self.bed.start_with(contender, MANY_STREAMS)?;
        let Some(processes) = &instance.processes else { return Ok(()) };
        let idle = processes.resident();
        self.put(round, &instance, "idle_mib", idle / 1024.0);
        let mut errors = 0.0;
        let most = match self.scale.quick && contender != Contender::Proxy {
            true => contender.max_streams().min(1000),
            false => contender.max_streams(),
        };
        for streams in OPEN_STREAMS.into_iter().filter(|&streams| streams <= most) {
            let (held, result) =
                hold_streams(self.bed, &instance, streams, self.scale.held_s, || {
                    processes.resident()
                })?;
            let name = format!("open_{streams}");
            self.put(round, &instance, &format!("{name}_kib"), (held - idle) / f64::from(streams));
            let p99 = result.events.map_or(f64::NAN, |events| events.p99);
            self.put(round, &instance, &format!("{name}_event_p99"), p99);
            self.errors(round, &instance, &name, &result);
            errors += result.errors as f64;
        }
        self.put(round, &instance, "open_errors", errors);
        if OPEN_STREAMS.iter().all(|&streams| streams <= most) {
            // The proxy returns memory to the system some seconds after a peak.
            thread::sleep(if self.scale.quick { SHORT_REST } else { REST });
            self.put(round, &instance, "after_mib", processes.resident() / 1024.0);
        }
        instance.stop();
        Ok(())
    }

    /// 20 MB in a fresh process, three times.
    pub(super) fn large_body(
        &mut self,
        round: usize,
        contender: Contender,
    ) -> Result<(), BenchError> {
        let instance = self.bed.start(contender)?;
        let Some(processes) = &instance.processes else { return Ok(()) };
        let idle = processes.resident();
        processes.reset_peak()?;
        let mut times = Vec::new();
        for _ in 0..3 {
            let load = ["burst", "--connections", "1"];
            let result = drive_sized(self.bed, &instance, LARGE_BODY, &load)?;
            self.errors(round, &instance, "large_body", &result);
            times.push(if result.errors == 0 { result.latency.max / 1000.0 } else { f64::NAN });
        }
        let median = Summary::of(times.into_iter()).map_or(f64::NAN, |times| times.median);
        self.put(round, &instance, "large_body_ms", median);
        let above = (processes.peak() - idle) * 1024.0;
        self.put(round, &instance, "large_body_peak", above / LARGE_BODY as f64);
        instance.stop();
        Ok(())
    }
}

const REST: Duration = Duration::from_secs(8);
const SHORT_REST: Duration = Duration::from_secs(1);
