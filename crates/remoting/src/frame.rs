//! Frames: a receive buffer that cuts a byte stream into whole frames.
//!
//! Owned by one connection. A frame is a length word (big-endian `i32`, not counting itself) and
//! that many bytes. What must always hold: memory grows only with bytes that really arrived, never
//! with what a length word announces, and a length that cannot be is an error before anything is
//! waited for. Answers to Java's `NettyDecoder`.

use std::ops::Range;

/// The longest frame by default, in bytes after the length word.
/// Source: Java `NettyDecoder.FRAME_MAX_LENGTH`.
pub const FRAME_LEN_MAX: usize = 16_777_216;

/// Bytes of the length word in front of a frame.
pub const LENGTH_WORD: usize = 4;

/// The shortest frame: the mark that gives the header's form and length.
const FRAME_LEN_MIN: usize = 4;

/// A buffer of at most this size, in bytes, is kept from one batch to the next. It is more than one
/// large read and an unfinished frame before it take, so that a busy connection's buffer stays.
const KEPT_BYTES: usize = 384 * 1024;

/// What a stream brought is no frame; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length word is negative.
    #[error("negative length {0}")]
    Negative(i32),
    /// The frame is too short to hold the mark.
    #[error("a frame of {0} bytes has no room for its header")]
    TooShort(usize),
    /// The frame is longer than allowed.
    #[error("a frame of {len} bytes exceeds the limit of {len_max}")]
    TooLong {
        /// The announced length in bytes.
        len: usize,
        /// The limit in bytes.
        len_max: usize,
    },
}

/// The receive buffer of one connection.
///
/// A turn is: [`spare_mut`](Self::spare_mut), read into it, [`filled`](Self::filled),
/// [`next_frame`](Self::next_frame) until `None`, [`compact`](Self::compact).
#[derive(Debug)]
pub struct FrameBuffer {
    /// Initialised all over; received bytes are those of `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    frame_len_max: usize,
}

impl FrameBuffer {
    /// An empty buffer, without memory, for frames of at most `frame_len_max` bytes.
    pub fn new(frame_len_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            frame_len_max,
        }
    }

    /// Room to receive into: initialised, at least `min` bytes.
    pub fn spare_mut(&mut self, min: usize) -> &mut [u8] {
        if self.buffer.len() - self.end < min {
            self.move_to_front();
        }
        if self.buffer.len() - self.end < min {
            self.buffer.resize(self.end + min, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Notes that the first `count` bytes of the spare room have been received.
    ///
    /// # Panics
    /// When the spare room is smaller.
    pub fn filled(&mut self, count: usize) {
        assert!(
            count <= self.buffer.len() - self.end,
            "more received than there was room"
        );
        self.end += count;
    }

    /// The next whole frame, if it has arrived: where it lies, without its length word, for
    /// [`bytes`](Self::bytes). It counts as consumed; the place stays valid until
    /// [`spare_mut`](Self::spare_mut) or [`compact`](Self::compact), and so do the
    /// [`LENGTH_WORD`] bytes in front of it.
    pub fn next_frame(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let Some((word, rest)) = self.buffer[self.start..self.end].split_first_chunk() else {
            return Ok(None);
        };
        let len = self.check(i32::from_be_bytes(*word))?;
        if rest.len() < len {
            return Ok(None);
        }
        let first = self.start + LENGTH_WORD;
        self.start = first + len;
        Ok(Some(first..self.start))
    }

    /// The bytes at a place that [`next_frame`](Self::next_frame) gave.
    pub fn bytes(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// Moves an unfinished frame to the front and frees what one large frame made the buffer grow
    /// to. To be called after each batch; every place given out before becomes invalid.
    pub fn compact(&mut self) {
        self.move_to_front();
        if self.buffer.len() > KEPT_BYTES && self.end < KEPT_BYTES / 2 {
            self.buffer.truncate(KEPT_BYTES / 2);
            self.buffer.shrink_to_fit();
        }
    }

    /// Gives all memory back if no unfinished frame needs it, as an idle connection does.
    pub fn release(&mut self) {
        if !self.has_partial() {
            *self = Self::new(self.frame_len_max);
        }
    }

    /// Whether bytes have arrived that belong to no consumed frame.
    pub fn has_partial(&self) -> bool {
        self.start < self.end
    }

    /// How many such bytes there are.
    pub fn partial_len(&self) -> usize {
        self.end - self.start
    }

    /// The memory that the buffer holds, in bytes.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    fn check(&self, word: i32) -> Result<usize, FrameError> {
        let len = usize::try_from(word).map_err(|_| FrameError::Negative(word))?;
        if len < FRAME_LEN_MIN {
            return Err(FrameError::TooShort(len));
        }
        if len > self.frame_len_max {
            return Err(FrameError::TooLong {
                len,
                len_max: self.frame_len_max,
            });
        }
        Ok(len)
    }

    fn move_to_front(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receive(frames: &mut FrameBuffer, bytes: &[u8]) {
        frames.spare_mut(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        frames.filled(bytes.len());
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut bytes = (content.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn half_a_frame_is_not_given_out() {
        let bytes = frame(b"content");
        for len in 0..bytes.len() {
            let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
            receive(&mut frames, &bytes[..len]);
            assert_eq!(frames.next_frame(), Ok(None), "{len}");
            assert_eq!(frames.has_partial(), len > 0);
            frames.compact();
            receive(&mut frames, &bytes[len..]);
            let place = frames.next_frame().unwrap().unwrap();
            assert_eq!(frames.bytes(place.clone()), b"content");
            assert_eq!(frames.bytes(place.start - LENGTH_WORD..place.end), bytes);
            assert!(!frames.has_partial());
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_errors_before_memory_is_taken() {
        let too_long = FRAME_LEN_MAX as i32 + 1;
        for (word, error) in [
            (-1, FrameError::Negative(-1)),
            (i32::MIN, FrameError::Negative(i32::MIN)),
            (0, FrameError::TooShort(0)),
            (3, FrameError::TooShort(3)),
            (
                too_long,
                FrameError::TooLong {
                    len: FRAME_LEN_MAX + 1,
                    len_max: FRAME_LEN_MAX,
                },
            ),
            (
                i32::MAX,
                FrameError::TooLong {
                    len: i32::MAX as usize,
                    len_max: FRAME_LEN_MAX,
                },
            ),
        ] {
            let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
            receive(&mut frames, &word.to_be_bytes());
            assert_eq!(frames.next_frame(), Err(error));
            assert!(frames.memory() < 64, "{}", frames.memory());
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory_and_a_large_frame_leaves_none() {
        let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
        receive(&mut frames, &(FRAME_LEN_MAX as i32).to_be_bytes());
        assert_eq!(frames.next_frame(), Ok(None));
        assert!(frames.memory() < 1_024);
        let chunk = vec![7; 64 * 1024];
        for _ in 0..FRAME_LEN_MAX / chunk.len() {
            assert_eq!(frames.next_frame(), Ok(None));
            receive(&mut frames, &chunk);
        }
        assert_eq!(frames.next_frame().unwrap().unwrap().len(), FRAME_LEN_MAX);
        frames.compact();
        assert!(frames.memory() <= KEPT_BYTES, "{}", frames.memory());
        frames.release();
        assert_eq!(frames.memory(), 0);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            contents in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 4..300), 0..20),
            cuts in proptest::collection::vec(1_usize..400, 1..50),
        ) {
            let stream: Vec<u8> = contents.iter().flat_map(|c| frame(c)).collect();
            let mut frames = FrameBuffer::new(300);
            let (mut rest, mut cuts, mut seen) = (&stream[..], cuts.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let len = rest.len().min(*cuts.next().unwrap());
                receive(&mut frames, &rest[..len]);
                rest = &rest[len..];
                while let Some(place) = frames.next_frame().unwrap() {
                    seen.push(frames.bytes(place).to_vec());
                }
                frames.compact();
            }
            prop_assert_eq!(seen, contents);
        }
    }
}
