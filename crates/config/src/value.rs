//! Values of keys: how each type is read, checked and shown.
//!
//! Invariant: what `show` writes, `read` reads back as the same value; a value is never guessed.

use std::fmt;
use std::net::IpAddr;

/// A type that a key can have.
pub trait Value: Sized {
    /// What is expected, as a phrase that follows "is not": `a whole number`.
    const KIND: &'static str;
    /// Reads a trimmed text; `None` when it is no value of this type.
    fn read(text: &str) -> Option<Self>;
    /// The text that reads back as this value.
    fn show(&self) -> String;
    /// The value as a number, where a range can bound it.
    fn number(&self) -> Option<i128> {
        None
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            const KIND: &'static str = "a whole number";
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
            fn number(&self) -> Option<i128> {
                i128::try_from(*self).ok()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize, i32, i64);

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn read(text: &str) -> Option<Self> {
        // Java's Boolean.parseBoolean takes every other word for false; a typo must not.
        match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for IpAddr {
    const KIND: &'static str = "an IP address of this machine, such as 0.0.0.0";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// An empty text means none.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(None);
        }
        T::read(text).map(Some)
    }
    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
    fn number(&self) -> Option<i128> {
        self.as_ref().and_then(T::number)
    }
}

macro_rules! named_values {
    ($(#[$outer:meta])* $name:ident, $kind:literal: $($(#[$inner:meta])* $variant:ident = $text:literal),* $(,)?) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant),* }
        impl Value for $name {
            const KIND: &'static str = $kind;
            fn read(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
            fn show(&self) -> String {
                match self { $(Self::$variant => $text),* }.to_owned()
            }
        }
    };
}

named_values! {
    /// When an acknowledged message is safe: `flushDiskType`.
    FlushDiskType, "SYNC_FLUSH or ASYNC_FLUSH":
    /// Written and synced to the device.
    Sync = "SYNC_FLUSH",
    /// Accepted; written to the device within a bounded window.
    Async = "ASYNC_FLUSH",
}

named_values! {
    /// What the broker is to its group: `brokerRole`.
    BrokerRole, "ASYNC_MASTER, SYNC_MASTER or SLAVE":
    /// Acknowledges without waiting for replicas.
    AsyncMaster = "ASYNC_MASTER",
    /// Acknowledges when a replica has the message.
    SyncMaster = "SYNC_MASTER",
    /// Copies a master.
    Slave = "SLAVE",
}

named_values! {
    /// How a group gets messages: `defaultMessageRequestMode`.
    RequestMode, "PULL or POP":
    /// A queue belongs to one client, who pulls.
    Pull = "PULL",
    /// Clients share the queues and pop.
    Pop = "POP",
}

/// How many shards the broker has: `shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardChoice {
    /// One per CPU that the process may use.
    Auto,
    /// So many, also more than CPUs.
    Count(u16),
}

impl Value for ShardChoice {
    const KIND: &'static str = "auto or a whole number from 1 to 2048";
    fn read(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        let count = text.parse().ok()?;
        (1..=2_048).contains(&count).then_some(Self::Count(count))
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }
}

/// The delays of levels 1, 2, 3 and so on: `messageDelayLevel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels {
    text: String,
    delays_ms: Vec<u64>,
}

impl DelayLevels {
    /// More levels than anybody has, and each is a queue.
    const COUNT_MAX: usize = 1_024;

    /// The delay of each level from 1, in milliseconds.
    pub fn delays_ms(&self) -> &[u64] {
        &self.delays_ms
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        Self::read("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h")
            .expect("these are delays")
    }
}

impl Value for DelayLevels {
    const KIND: &'static str = "a list of delays such as 1s 5s 10s 30s 1m 1h 1d";
    fn read(text: &str) -> Option<Self> {
        let delay_ms = |level: &str| {
            let unit_ms = match level.chars().last()? {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            let count: u64 = level[..level.len() - 1].parse().ok()?;
            count.checked_mul(unit_ms)
        };
        let levels: Vec<&str> = text.split_ascii_whitespace().collect();
        let delays_ms: Vec<u64> = levels
            .iter()
            .map(|level| delay_ms(level))
            .collect::<Option<_>>()?;
        let fits = (1..=Self::COUNT_MAX).contains(&delays_ms.len());
        fits.then(|| Self {
            text: levels.join(" "),
            delays_ms,
        })
    }
    fn show(&self) -> String {
        self.text.clone()
    }
}

/// Hours of the day, separated by `;`: `deleteWhen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours(u32);

impl Hours {
    /// Bit n is set for the hour from n to n + 1.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Default for Hours {
    fn default() -> Self {
        Self(1 << 4)
    }
}

impl Value for Hours {
    const KIND: &'static str = "a list of hours such as 04;16";
    fn read(text: &str) -> Option<Self> {
        let mut bits = 0;
        // Java's String.split gives no empty part behind the last separator.
        for part in text.trim_end_matches(';').split(';') {
            let hour: u32 = part.trim().parse().ok()?;
            bits |= (hour < 24).then_some(1 << hour)?;
        }
        Some(Self(bits))
    }
    fn show(&self) -> String {
        let hours = (0..24).filter(|hour| self.0 & (1 << hour) != 0);
        let shown: Vec<String> = hours.map(|hour| format!("{hour:02}")).collect();
        shown.join(";")
    }
}

/// CPUs by number, ascending and without repetition: `0-3,8`. Empty: every allowed one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// Highest CPU number that is understood.
    const CPU_MAX: usize = 8_191;

    /// The CPUs, ascending; empty when every allowed one is meant.
    pub fn cpus(&self) -> &[usize] {
        &self.0
    }
}

impl Value for CpuList {
    const KIND: &'static str = "a list of CPUs such as 0-3,8";
    fn read(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().ok()?;
            let last: usize = last.trim().parse().ok()?;
            if first > last || last > Self::CPU_MAX {
                return None;
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Some(Self(cpus))
    }
    fn show(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(usize::to_string).collect();
        shown.join(",")
    }
}

/// Addresses of name servers: `host:port`, separated by `;` (a few people write `,`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressList(Vec<String>);

impl AddressList {
    /// Each address as `host:port`, in the given order, without repetition.
    pub fn addresses(&self) -> &[String] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(";"))
    }
}

impl Value for AddressList {
    const KIND: &'static str = "a list of addresses such as 127.0.0.1:9876;192.168.0.1:9876";
    fn read(text: &str) -> Option<Self> {
        let mut addresses: Vec<String> = Vec::new();
        for address in text.split([';', ',']).map(str::trim) {
            if address.is_empty() {
                continue;
            }
            // The http:// prefix is what the address server of a cloud hands out.
            let address = address.strip_prefix("http://").unwrap_or(address);
            let (host, port) = address.rsplit_once(':')?;
            let host_fits = !host.is_empty()
                && host.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric()
                        || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':')
                });
            if !host_fits || port.parse::<u16>().ok()? == 0 {
                return None;
            }
            if !addresses.iter().any(|known| known == address) {
                addresses.push(address.to_owned());
            }
        }
        Some(Self(addresses))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Value>(text: &str, shown: Option<&str>) {
        let read = T::read(text);
        assert_eq!(read.as_ref().map(T::show).as_deref(), shown, "{text}");
        if let Some(value) = read {
            let again = T::read(&value.show()).unwrap();
            assert_eq!(again.show(), value.show(), "{text}");
        }
    }

    #[test]
    fn values_are_read_and_shown() {
        check::<u16>("10911", Some("10911"));
        check::<u16>("65536", None);
        check::<u16>("-1", None);
        check::<i64>("-1", Some("-1"));
        check::<u64>("1024*1024", None);
        check::<bool>("TRUE", Some("true"));
        check::<bool>("yes", None);
        check::<FlushDiskType>("SYNC_FLUSH", Some("SYNC_FLUSH"));
        check::<FlushDiskType>("sync_flush", None);
        check::<BrokerRole>("SLAVE", Some("SLAVE"));
        check::<Option<u16>>("", Some(""));
        check::<Option<u16>>("7", Some("7"));
        check::<Option<u16>>("x", None);
        check::<IpAddr>("0.0.0.0", Some("0.0.0.0"));
        check::<IpAddr>("localhost", None);
        check::<ShardChoice>("auto", Some("auto"));
        check::<ShardChoice>("4", Some("4"));
        check::<ShardChoice>("0", None);
        check::<ShardChoice>("2049", None);
        check::<DelayLevels>("1s  2m 3h 4d", Some("1s 2m 3h 4d"));
        check::<DelayLevels>("", None);
        check::<DelayLevels>("5", None);
        check::<DelayLevels>("5x", None);
        check::<DelayLevels>("s", None);
        check::<DelayLevels>("5秒", None);
        check::<DelayLevels>("99999999999999999999s 1s", None);
        assert_eq!(DelayLevels::default().delays_ms()[17], 7_200_000);
        check::<Hours>("04", Some("04"));
        check::<Hours>("4;16; 23;", Some("04;16;23"));
        check::<Hours>("", None);
        check::<Hours>("24", None);
        check::<Hours>("-1", None);
        check::<Hours>("4,5", None);
        assert_eq!(Hours::default().bits(), 16);
        check::<CpuList>("0-2, 8,1", Some("0,1,2,8"));
        check::<CpuList>("", Some(""));
        check::<CpuList>("3-1", None);
        check::<CpuList>("0-99999999999", None);
        check::<AddressList>("h1:9876; h2:9876;", Some("h1:9876;h2:9876"));
        check::<AddressList>("h1:9876,h1:9876", Some("h1:9876"));
        check::<AddressList>("[::1]:9876", Some("[::1]:9876"));
        check::<AddressList>("h1", None);
        check::<AddressList>("h1:99999", None);
        check::<AddressList>("h 1:9876", None);
        check::<AddressList>("", Some(""));
    }
}
