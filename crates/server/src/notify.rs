//! Notifications to systemd (`sd_notify(3)`): ready, reloading, stopping, watchdog. They do nothing
//! without `NOTIFY_SOCKET`.

use std::time::Duration;
#[cfg(unix)]
use std::{
    io,
    os::unix::ffi::OsStrExt,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::Path,
};

/// Reports that the process accepts requests.
pub(crate) fn ready() {
    send("READY=1");
}

/// Reports that the settings are being reloaded. [`ready`] reports the end.
pub(crate) fn reloading() {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

/// Reports the shutdown.
pub(crate) fn stopping() {
    send("STOPPING=1");
}

/// Feeds the watchdog until the runtime ends. Returns at once if systemd runs no watchdog.
pub(crate) async fn feed_watchdog() {
    let Some(interval) = watchdog_interval(|name| std::env::var(name).ok(), std::process::id())
    else {
        return;
    };
    loop {
        send("WATCHDOG=1");
        tokio::time::sleep(interval).await;
    }
}

/// Half of the watchdog timeout, if systemd watches this process.
fn watchdog_interval(env: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let for_this_process = env("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    (for_this_process && micros > 0).then(|| Duration::from_micros(micros / 2))
}

#[cfg(unix)]
fn send(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = address(socket.as_bytes()).and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    });
    if let Err(error) = sent {
        tracing::warn!("systemd was not notified: {error}");
    }
}

#[cfg(not(unix))]
fn send(_state: &str) {}

/// Parses a path, or after `@` a name in Linux's abstract namespace.
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
    fn the_watchdog_is_fed_twice_in_its_timeout() {
        let env = |pid: &'static str| {
            move |name: &str| match name {
                "WATCHDOG_USEC" => Some("30000000".to_owned()),
                "WATCHDOG_PID" if !pid.is_empty() => Some(pid.to_owned()),
                _ => None,
            }
        };
        assert_eq!(watchdog_interval(env("7"), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog_interval(env(""), 7), Some(Duration::from_secs(15)));
        assert_eq!(watchdog_interval(env("8"), 7), None, "systemd watches another process");
        assert_eq!(watchdog_interval(|_| None, 7), None);
    }
}
