//! Gives free pages of the C library's heap back to the system.
//!
//! The allocator keeps what was freed, and a broker that had much to do would look as large for ever.
//! Invariant: no memory in use is touched; where the C library has no such call nothing happens.

#![allow(
    unsafe_code,
    reason = "the call is one of the C library and has no safe wrapper"
)]

/// Returns what is free.
pub(crate) fn release() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes no pointer, is thread-safe, and leaves every allocation as it is.
        unsafe { nix::libc::malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_in_use_stays_as_it_is() {
        let mut kept: Vec<Vec<u8>> = (0..200_u8).map(|i| vec![i; 40_000]).collect();
        let mut odd = false;
        kept.retain(|_| {
            odd = !odd;
            odd
        });
        super::release();
        for (i, bytes) in kept.iter().enumerate() {
            assert!(bytes.iter().all(|byte| usize::from(*byte) == 2 * i));
        }
    }
}
