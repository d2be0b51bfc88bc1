//! Token refreshes under load.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Rounds;
use super::driver::{await_open, drive, result_of, set_upstream, start_driver, upstream_counts};
use crate::BenchError;
use crate::testbed::Contender;

impl Rounds<'_> {
    /// A thousand callers without a token, and a token endpoint that answers a second later.
    pub(super) fn cold_refresh(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        set_upstream(self.bed, "hold_tokens=1")?;
        let before = upstream_counts(self.bed)?.tokens;
        let instance = self.bed.launch(Contender::Proxy, &[])?;
        await_port(&instance.address)?;
        let driver = start_driver(self.bed, &instance, 1024, &["burst", "--connections", "1000"]);
        let driver = driver.and_then(await_open);
        thread::sleep(Duration::from_secs(1));
        set_upstream(self.bed, "hold_tokens=0")?;
        let result = result_of(driver?)?;
        let tokens = upstream_counts(self.bed)?.tokens - before;
        self.errors(round, &instance, "cold_refresh", &result);
        self.put(round, &instance, "cold_refresh_s", result.latency.max / 1e6);
        self.put(round, &instance, "cold_refresh_tokens", tokens as f64);
        instance.stop();
        Ok(())
    }

    /// Tokens that live for eight seconds and are renewed in the last quarter of them, with a token
    /// endpoint that takes one second.
    pub(super) fn renewal(&mut self, round: usize) -> Result<(), BenchError> {
        self.bed.remove_store();
        set_upstream(self.bed, "token_lifetime_s=8")?;
        let instance = self.bed.start(Contender::Proxy)?;
        set_upstream(self.bed, "token_delay_ms=1000")?;
        let before = upstream_counts(self.bed)?.tokens;
        let result = drive(self.bed, &instance, &["open", "--rate", "500", "--seconds", "9"]);
        let tokens = upstream_counts(self.bed)?.tokens - before;
        set_upstream(self.bed, "token_delay_ms=0&token_lifetime_s=3599")?;
        self.bed.remove_store();
        let result = result?;
        self.errors(round, &instance, "renewal", &result);
        self.put(round, &instance, "renewal_tokens", tokens as f64);
        if tokens == 0 {
            return Err(BenchError("no token was renewed under load".to_owned()));
        }
        self.put(round, &instance, "renewal_ms", result.latency.max / 1000.0);
        instance.stop();
        Ok(())
    }
}

fn await_port(address: &str) -> Result<(), BenchError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(BenchError(format!("no process listens on {address}")));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
