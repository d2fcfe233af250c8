//! Addresses: which one clients are told and why, and where name servers are.
//!
//! Looked up once at start. Invariant: the reason for the choice is a phrase that the user sees.
//! Answers to Java's `NetworkUtil.getLocalAddress`.

use crate::failure::{Failure, Outcome};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// The address that clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertised {
    pub(crate) ip: IpAddr,
    /// Why this one.
    pub(crate) reason: &'static str,
}

/// Who the broker's clients are when no address is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Clients on this machine.
    ThisMachine,
    /// Clients anywhere.
    Everywhere,
}

/// Chooses the address that clients are told.
///
/// # Errors
/// When `brokerIP1` is a name that nobody knows.
pub(crate) fn advertised(
    broker_ip1: Option<&str>,
    bind: IpAddr,
    audience: Audience,
) -> Outcome<Advertised> {
    let chosen = |ip, reason| Ok(Advertised { ip, reason });
    if let Some(host) = broker_ip1 {
        return chosen(resolve_host("brokerIP1", host)?, "brokerIP1");
    }
    if !bind.is_unspecified() {
        return chosen(bind, "bindAddress");
    }
    if audience == Audience::ThisMachine {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        return chosen(ip, "for clients on this machine; others need brokerIP1");
    }
    match choose(&interface_addresses()) {
        Some(ip) => chosen(
            ip,
            "the first address of this machine that is not a loopback",
        ),
        None => chosen(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            "this machine has no other address; clients elsewhere need brokerIP1",
        ),
    }
}

/// The address of a host, by name or number; IPv4 preferred.
///
/// # Errors
/// When nobody knows the name.
pub(crate) fn resolve_host(key: &str, host: &str) -> Outcome<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let unknown =
        |why: &str| Failure::new(format!("{key}: \"{host}\" is no address of a host: {why}"));
    let found = (host, 0)
        .to_socket_addrs()
        .map_err(|error| unknown(&error.to_string()))?;
    prefer_v4(found)
        .map(|address| address.ip())
        .ok_or_else(|| unknown("it has none"))
}

/// The addresses of name servers.
///
/// # Errors
/// When nobody knows one of the names: exit code 253, as in Java.
pub(crate) fn resolve_name_servers(addresses: &[String]) -> Outcome<Vec<SocketAddr>> {
    let resolve = |address: &String| {
        let failed = |why: &str| {
            Failure::with_code(
                format!("namesrvAddr: {address} cannot be found: {why}"),
                253,
            )
        };
        let found = address
            .to_socket_addrs()
            .map_err(|error| failed(&error.to_string()))?;
        prefer_v4(found).ok_or_else(|| failed("it has no address"))
    };
    addresses.iter().map(resolve).collect()
}

fn prefer_v4(addresses: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let all: Vec<SocketAddr> = addresses.collect();
    all.iter()
        .find(|address| address.is_ipv4())
        .or(all.first())
        .copied()
}

/// Addresses of interfaces that are up; no loopbacks, bridges or point-to-point links.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    let skipped = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    interfaces
        .filter(|interface| {
            let up = interface.flags.contains(InterfaceFlags::IFF_UP);
            let bridge = Path::new("/sys/class/net")
                .join(&interface.interface_name)
                .join("bridge");
            up && !interface.flags.intersects(skipped) && !bridge.exists()
        })
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

/// Java prefers IPv4 and, among those, the first public address, else the last private one.
fn choose(addresses: &[IpAddr]) -> Option<IpAddr> {
    let v4: Vec<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
    let public_v4 = v4.iter().find(|ip| !is_internal(ip)).or(v4.last());
    let v6: Vec<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv6).collect();
    let public_v6 = v6.iter().find(|ip| !is_internal(ip)).or(v6.first());
    public_v4.or(public_v6).copied()
}

fn is_internal(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unique_local() || ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_preferred_as_in_java() {
        let check = |addresses: &[&str], expected: Option<&str>| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            let expected = expected.map(|ip| ip.parse().unwrap());
            assert_eq!(choose(&addresses), expected, "{addresses:?}");
        };
        check(&[], None);
        check(&["fe80::1", "192.168.1.2"], Some("192.168.1.2"));
        check(&["10.0.0.1", "8.8.8.8", "9.9.9.9"], Some("8.8.8.8"));
        check(&["10.0.0.1", "192.168.1.2"], Some("192.168.1.2"));
        check(&["fe80::1", "2001:db8::1"], Some("2001:db8::1"));
        check(&["fe80::1"], Some("fe80::1"));
    }

    #[test]
    fn the_reason_follows_the_choice() {
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        let check = |broker_ip1, bind: IpAddr, audience, ip: &str, reason: &str| {
            let chosen = advertised(broker_ip1, bind, audience).unwrap();
            assert_eq!(chosen.ip, ip.parse::<IpAddr>().unwrap());
            assert!(chosen.reason.contains(reason), "{}", chosen.reason);
        };
        let (here, all) = (Audience::ThisMachine, Audience::Everywhere);
        check(Some("10.1.2.3"), any, here, "10.1.2.3", "brokerIP1");
        check(Some("localhost"), any, all, "127.0.0.1", "brokerIP1");
        check(None, any, here, "127.0.0.1", "on this machine");
        check(
            None,
            "127.0.0.2".parse().unwrap(),
            all,
            "127.0.0.2",
            "bindAddress",
        );
        assert!(!advertised(None, any, all).unwrap().ip.is_unspecified());
        assert!(advertised(Some("no such host"), any, all).is_err());
    }

    #[test]
    fn name_servers_are_found_by_name_and_number() {
        let found = resolve_name_servers(&["localhost:9876".into(), "127.0.0.2:1".into()]).unwrap();
        assert_eq!(
            found,
            [
                "127.0.0.1:9876".parse().unwrap(),
                "127.0.0.2:1".parse().unwrap()
            ]
        );
        assert!(resolve_name_servers(&["no.such.host.invalid:1".into()]).is_err());
    }
}
