//! Finding out whether a port is free, and who holds it when it is not.
//!
//! Every shard listens on the same address with `SO_REUSEPORT`, and so could a second process of
//! the same user, without a word: the kernel would deal the connections out between both. So the
//! port is bound once without that option, before any shard listens.

use crate::error::StartError;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// Its command line, shortened.
    pub command: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// How often, and after which pause, a port that nobody is seen to hold is tried again.
const ORPHAN_TRIES: u32 = 60;
const ORPHAN_PAUSE: Duration = Duration::from_millis(50);

/// Fails when `address` cannot be listened on by us alone. Port 0 is always free.
///
/// The kernel ends the `io_uring` of a killed process in the background, so that its listening
/// sockets outlive it by a moment: a port without a visible owner is tried again for three seconds.
///
/// # Errors
/// [`StartError::PortInUse`] with the owner, or [`StartError::Listen`].
pub fn ensure_port_free(address: SocketAddr) -> Result<(), StartError> {
    let mut tries = 0;
    loop {
        // The standard listener sets SO_REUSEADDR, so what a predecessor left in TIME_WAIT is no hindrance.
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let owner = owner_of(address);
                tries += 1;
                if owner.is_some() || tries == ORPHAN_TRIES {
                    return Err(StartError::PortInUse { address, owner });
                }
                std::thread::sleep(ORPHAN_PAUSE);
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
}

/// The process that listens at `address` or on all addresses of its port, when /proc shows it.
pub(crate) fn owner_of(address: SocketAddr) -> Option<Owner> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address))
        .collect();
    inodes.iter().find_map(|inode| process_with_socket(*inode))
}

/// Inodes of the sockets in a table of /proc/net that listen where `address` collides with them.
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let (ip, port) = columns.nth(1)?.split_once(':')?;
            let state = columns.nth(1)?;
            let inode = columns.nth(5)?.parse().ok()?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let collides = address.ip().is_unspecified()
                || ip.bytes().all(|digit| digit == b'0')
                || ip == proc_address(address.ip());
            (state == LISTEN && port == address.port() && collides).then_some(inode)
        })
        .collect()
}

/// An address as /proc/net prints it: 32-bit words in the machine's byte order, in hexadecimal.
fn proc_address(ip: IpAddr) -> String {
    let words = match ip {
        IpAddr::V4(ip) => vec![ip.octets()],
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let words = octets.as_chunks::<4>().0;
            words.to_vec()
        }
    };
    let words = words.into_iter().map(u32::from_ne_bytes);
    words.fold(String::new(), |text, word| text + &format!("{word:08X}"))
}

fn process_with_socket(inode: u64) -> Option<Owner> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let open = fs::read_dir(process.path().join("fd")).ok()?;
        open.flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*wanted))
            .then(|| Owner {
                pid,
                command: command_of(pid),
            })
    })
}

fn command_of(pid: u32) -> String {
    const SHOWN_LEN_MAX: usize = 120;
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let line = line.trim();
    if line.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return name.trim().to_owned();
    }
    if line.chars().count() <= SHOWN_LEN_MAX {
        return line.to_owned();
    }
    let shown: String = line.chars().take(SHOWN_LEN_MAX).collect();
    format!("{shown}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_reported_with_its_owner() {
        for bind in ["127.0.0.1:21100", "[::1]:21101", "0.0.0.0:21102"] {
            let address: SocketAddr = bind.parse().unwrap();
            ensure_port_free(address).unwrap();
            let held = TcpListener::bind(address).unwrap();
            let error = ensure_port_free(address).unwrap_err();
            let StartError::PortInUse {
                owner: Some(owner), ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!(owner.pid, std::process::id());
            let text = error.to_string();
            assert!(
                text.contains(bind) && text.contains(&owner.pid.to_string()),
                "{text}"
            );
            drop(held);
            ensure_port_free(address).unwrap();
        }
    }

    #[test]
    fn a_listener_on_all_addresses_owns_the_port_of_each() {
        let held = TcpListener::bind("0.0.0.0:21103").unwrap();
        let owner = owner_of("127.0.0.1:21103".parse().unwrap()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        drop(held);
        assert_eq!(owner_of("127.0.0.1:21103".parse().unwrap()), None);
    }

    #[test]
    fn an_address_that_is_not_ours_is_no_port_conflict() {
        let error = ensure_port_free("203.0.113.7:21104".parse().unwrap()).unwrap_err();
        assert!(matches!(error, StartError::Listen { .. }), "{error}");
    }
}
