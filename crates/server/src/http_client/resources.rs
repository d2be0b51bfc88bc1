//! Tells a lack of this machine's own resources from a failure of the network or the peer.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

/// True if a dial to `host` failed because this machine has no resources left.
pub(super) fn lacks_resources(error: &(dyn Error + 'static), host: &str) -> bool {
    let chain = successors(Some(error), |error| (**error).source());
    let mut codes = chain.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    let Some(code) = codes.next() else {
        // The error of a name look-up holds no code, and without a file handle every look-up fails. A
        // socket of the same kind shows whether there is one.
        return UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_err_and(|error| {
            error.raw_os_error().is_some_and(|code| NO_RESOURCES.contains(&code))
        });
    };
    NO_RESOURCES.contains(&code) || code == NO_PORT && !may_lack_address(host)
}

/// True if the code for "no local port" may also mean that this machine has no IPv6 address, as in many
/// containers.
fn may_lack_address(host: &str) -> bool {
    // Connecting a UDP socket sends nothing. It only looks for a route and a local address.
    let has_ipv6 = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.connect((DOCUMENTATION, 443))
    };
    host.parse::<Ipv4Addr>().is_err() && has_ipv6().is_err()
}

/// An address that no host has (RFC 3849).
const DOCUMENTATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

#[cfg(unix)]
const NO_RESOURCES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];

#[cfg(unix)]
const NO_PORT: i32 = libc::EADDRNOTAVAIL;

/// `WSAEMFILE`, `WSAENOBUFS` and `ERROR_NOT_ENOUGH_MEMORY`.
#[cfg(not(unix))]
const NO_RESOURCES: [i32; 3] = [10024, 10055, 8];

/// `WSAEADDRNOTAVAIL`.
#[cfg(not(unix))]
const NO_PORT: i32 = 10049;

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a connector, which names the step and keeps the system's error as its cause.
    #[derive(Debug, thiserror::Error)]
    #[error("tcp open error")]
    struct StepError(#[source] io::Error);

    #[cfg(unix)]
    #[test]
    fn a_lack_of_handles_memory_buffers_or_ports_is_seen_behind_other_errors() {
        let lacks =
            |code| lacks_resources(&StepError(io::Error::from_raw_os_error(code)), "127.0.0.1");
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL] {
            assert!(lacks(code), "{code}");
        }
        for code in [libc::ECONNREFUSED, libc::ENETUNREACH, libc::ETIMEDOUT, libc::ECONNRESET] {
            assert!(!lacks(code), "{code}");
        }
    }

    #[test]
    fn a_failed_look_up_on_a_machine_with_free_handles_is_no_lack() {
        let failed = io::Error::other("failed to lookup address information");
        assert!(!lacks_resources(&StepError(failed), "nowhere.invalid"));
    }
}
