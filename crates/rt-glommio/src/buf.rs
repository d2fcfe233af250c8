//! Aligned buffers for direct I/O.
//!
//! Owned by the shard that allocated them. Small ones come from memory that is registered with the
//! rings, while there is some; the rest from the allocator, aligned to 4,096 bytes either way.
//! glommio hands out memory as it was left: it is filled with zeros here, so that no old bytes can
//! reach a log as padding.

use glommio::io::DmaBuffer;
use rt::IoBuf;
use std::rc::Rc;

/// A buffer for direct I/O.
#[derive(Debug)]
pub struct GlommioBuf(pub(crate) Rc<DmaBuffer>);

impl GlommioBuf {
    pub(crate) fn zeroed(len: usize) -> Self {
        Self::starting_with(&[], len)
    }

    /// A buffer of `len` bytes that begins with `bytes` and holds zeros behind them.
    pub(crate) fn starting_with(bytes: &[u8], len: usize) -> Self {
        assert!(len > 0, "a buffer for direct I/O is never empty");
        let mut buffer = glommio::allocate_dma_buffer(len);
        let (start, rest) = buffer.as_bytes_mut().split_at_mut(bytes.len());
        start.copy_from_slice(bytes);
        rest.fill(0);
        Self(Rc::new(buffer))
    }

    fn inner_mut(&mut self) -> &mut DmaBuffer {
        Rc::get_mut(&mut self.0).expect("the disk lets go of a buffer before its write returns")
    }
}

impl IoBuf for GlommioBuf {
    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.inner_mut().as_bytes_mut()
    }

    fn truncate(&mut self, len: usize) {
        self.inner_mut().trim_to_size(len);
    }
}
