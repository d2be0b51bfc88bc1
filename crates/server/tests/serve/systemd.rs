//! The protocol of `sd_notify(3)`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use code_assist_harness::{GoogleEmulator, ProxyBuilder};
use tempfile::TempDir;

#[test]
fn systemd_is_notified_of_each_change_of_state_and_of_liveness() {
    let google = GoogleEmulator::start();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let until = |wanted: &str| loop {
        let state = next(&socket);
        if state.starts_with(wanted) {
            return state;
        }
        assert_eq!(state, "WATCHDOG=1", "before {wanted}");
    };
    let mut proxy = ProxyBuilder::for_emulator(&google)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "200000")
        .start();
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    proxy.signal("HUP");
    let reloading = until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    until("READY=1");
    proxy.signal("TERM");
    until("STOPPING=1");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_notified_on_an_abstract_socket_too() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let google = GoogleEmulator::start();
    let name = format!("code-assist-proxy-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let name = format!("@{name}");
    let _proxy = ProxyBuilder::for_emulator(&google).env("NOTIFY_SOCKET", name).start();
    assert_eq!(next(&socket), "READY=1");
}

fn next(socket: &UnixDatagram) -> String {
    let mut state = [0; 512];
    let length = socket.recv(&mut state).expect("a notification");
    String::from_utf8_lossy(&state[..length]).into_owned()
}
