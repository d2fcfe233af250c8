//! What an answer to a send says about the message: it exists, it does not, or nobody knows.
//!
//! A code counts as a failure only when the protocol promises that it had no effect, and property
//! P2 holds the broker to that promise. Everything that is not listed is unknown. Java:
//! `MQClientAPIImpl.processSendResponse`.

use crate::record::Kind;

/// Nobody answered in time.
pub const CODE_TIMEOUT: i32 = -1;
/// The connection broke after the request was handed to it.
pub const CODE_CONNECTION_LOST: i32 = -2;
/// There was no connection, so that the request never left.
pub const CODE_NOT_SENT: i32 = -3;

/// The class of a send's response code.
pub fn of_send(code: i32) -> Kind {
    match code {
        0 => Kind::Ok,
        // Busy, illegal, not available (at admission), no permission, no such topic, bad parameter.
        2 | 13 | 14 | 16 | 17 | 29 | CODE_NOT_SENT => Kind::Fail,
        // 1, FLUSH_DISK_TIMEOUT (10), SLAVE_NOT_AVAILABLE (11), FLUSH_SLAVE_TIMEOUT (12), no answer.
        _ => Kind::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_promise_no_effect_are_failures() {
        assert_eq!(of_send(0), Kind::Ok);
        for code in [1, 10, 11, 12, CODE_TIMEOUT, CODE_CONNECTION_LOST, 999] {
            assert_eq!(of_send(code), Kind::Info, "{code}");
        }
        for code in [2, 13, 14, 16, 17, 29, CODE_NOT_SENT] {
            assert_eq!(of_send(code), Kind::Fail, "{code}");
        }
    }
}
