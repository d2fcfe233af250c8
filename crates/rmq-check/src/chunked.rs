//! A sparse array: what lies close together shares a chunk, what is far apart costs nothing.
//!
//! For sequence numbers and offsets, which are dense but come from files. Invariant: memory is
//! bounded by the number of accesses, whatever the indexes are.

use base::HashMap;

const CHUNK_LEN: u64 = 512;

/// An array of `T` in which everything is there, at first by default.
#[derive(Debug, Clone)]
pub(crate) struct Chunked<T> {
    chunks: HashMap<u64, Box<[T]>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self {
            chunks: HashMap::default(),
        }
    }
}

impl<T: Copy + Default> Chunked<T> {
    pub(crate) fn get(&self, index: u64) -> T {
        self.chunks
            .get(&(index / CHUNK_LEN))
            .map_or_else(T::default, |chunk| chunk[(index % CHUNK_LEN) as usize])
    }

    pub(crate) fn at(&mut self, index: u64) -> &mut T {
        let chunk = self
            .chunks
            .entry(index / CHUNK_LEN)
            .or_insert_with(|| vec![T::default(); CHUNK_LEN as usize].into_boxed_slice());
        &mut chunk[(index % CHUNK_LEN) as usize]
    }

    /// Everything that was ever touched, and its neighbours, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut keys: Vec<_> = self.chunks.keys().copied().collect();
        keys.sort_unstable();
        keys.into_iter().flat_map(|key| {
            let chunk = &self.chunks[&key];
            chunk
                .iter()
                .enumerate()
                .map(move |(index, item)| (key * CHUNK_LEN + index as u64, item))
        })
    }
}
