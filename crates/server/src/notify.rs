//! What systemd is told when it runs us (`sd_notify(3)`): ready, reloading, stopping, alive.

use std::time::Duration;
#[cfg(unix)]
use std::{
    io,
    os::unix::ffi::OsStrExt,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::Path,
};

/// Tells systemd that requests are taken.
pub(crate) fn ready() {
    tell("READY=1");
}

/// Tells systemd that settings are read again; [`ready`] ends that.
pub(crate) fn reloading() {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

/// Tells systemd that streams are being let finish.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// Tells systemd in time that we are alive, for as long as the runtime is. Ends at once where nobody
/// watches.
pub(crate) async fn stay_alive() {
    let Some(every) = watchdog(|name| std::env::var(name).ok(), std::process::id()) else { return };
    loop {
        tell("WATCHDOG=1");
        tokio::time::sleep(every).await;
    }
}

/// Half of what systemd allows between two signs of life, if it watches this very process.
fn watchdog(env: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let for_us = env("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    (for_us && micros > 0).then(|| Duration::from_micros(micros / 2))
}

#[cfg(unix)]
fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = address(socket.as_bytes()).and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    });
    if let Err(error) = told {
        tracing::warn!("systemd could not be told: {error}");
    }
}

#[cfg(not(unix))]
fn tell(_state: &str) {}

/// A path, or with `@` a name in Linux's abstract name space.
#[cfg(unix)]
fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;

        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_wants() {
        let env = |pid: &'static str| {
            move |name: &str| match name {
                "WATCHDOG_USEC" => Some("30000000".to_owned()),
                "WATCHDOG_PID" if !pid.is_empty() => Some(pid.to_owned()),
                _ => None,
            }
        };
        assert_eq!(watchdog(env("7"), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog(env(""), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog(env("8"), 7), None, "it watches another process");
        assert_eq!(watchdog(|_| None, 7), None);
    }
}
