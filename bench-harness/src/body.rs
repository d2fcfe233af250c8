//! What a body carries, so that a run can check itself: who sent it, which one it is, and when.
//!
//! `crc u32 | run u32 | due u64 | number u64 | producer u32 | queue u32`, little-endian, then filler
//! that no compression shortens. The checksum is over everything behind it. `due` is the intended
//! send time on the generator's [`Clock`](crate::clock::Clock), in nanoseconds. Invariant: a body that
//! reads is one that this run wrote, whole.

/// Bytes before the filler.
pub(crate) const HEAD_LEN: usize = 32;

/// A message's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) run: u32,
    pub(crate) due_ns: u64,
    /// Counts from 0 for each producer and queue.
    pub(crate) number: u64,
    pub(crate) producer: u32,
    pub(crate) queue: u32,
}

/// Appends a body. `filler` is what follows the head.
pub(crate) fn write(out: &mut Vec<u8>, mark: Mark, filler: &[u8]) {
    let start = out.len();
    let mut head = [0; HEAD_LEN];
    head[4..8].copy_from_slice(&mark.run.to_le_bytes());
    head[8..16].copy_from_slice(&mark.due_ns.to_le_bytes());
    head[16..24].copy_from_slice(&mark.number.to_le_bytes());
    head[24..28].copy_from_slice(&mark.producer.to_le_bytes());
    head[28..32].copy_from_slice(&mark.queue.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(filler);
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Who a body is; nothing when it is damaged or of another run.
pub(crate) fn read(body: &[u8], run: u32) -> Option<Mark> {
    let (head, _) = body.split_first_chunk::<HEAD_LEN>()?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let mark = Mark {
        run: u32_at(4),
        due_ns: u64_at(8),
        number: u64_at(16),
        producer: u32_at(24),
        queue: u32_at(28),
    };
    (u32_at(0) == crc32fast::hash(&body[4..]) && mark.run == run).then_some(mark)
}

/// Filler for bodies of up to `len` bytes.
pub(crate) fn filler(len: usize) -> Vec<u8> {
    let mut random = crate::random::Random::new(7);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reads_back_and_a_flipped_bit_or_another_run_does_not() {
        let mark = Mark {
            run: 9,
            due_ns: u64::MAX - 1,
            number: 1 << 40,
            producer: 3,
            queue: 70_000,
        };
        let mut out = b"before".to_vec();
        write(&mut out, mark, &filler(100));
        let body = &out[6..];
        assert_eq!(body.len(), 132);
        assert_eq!(read(body, 9), Some(mark));
        assert_eq!(read(body, 8), None);
        assert_eq!(read(&body[..20], 9), None);
        for at in 0..body.len() {
            let mut damaged = body.to_vec();
            damaged[at] ^= 4;
            assert_eq!(read(&damaged, 9), None, "{at}");
        }
    }
}
