//! Tables whose next version shares everything that has not changed.

use std::sync::Arc;

use hashbrown::HashTable;

/// The approximate number of rows in a shard of a [`Sharded`].
const ROWS_PER_SHARD: usize = 96;
/// The most shards. Cloning a table clones this many pointers.
const MAX_SHARDS: usize = 4_096;
/// How many items a chunk of a [`Chunked`] has.
const ITEMS_PER_CHUNK: usize = 256;

/// A hash table in shards. A clone shares all shards, and changing a row copies only the shard it is in.
///
/// ```text
/// shards ─┬▶ Arc ─▶ rows      a copy in which a row    shards ─┬▶ the same Arc
///         ├▶ Arc ─▶ rows      of the second shard              ├▶ Arc ─▶ copied rows
///         └▶ Arc ─▶ rows      was replaced                     └▶ the same Arc
/// ```
#[derive(Clone, Debug)]
pub struct Sharded<T> {
    /// INVARIANT: a power of two; `for_rows` holds it.
    shards: Box<[Arc<HashTable<T>>]>,
    n_rows: usize,
}

impl<T: Clone> Sharded<T> {
    /// Iterates over all rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Returns an empty table with a suitable number of shards for `n_rows`.
    pub fn for_rows(n_rows: usize) -> Self {
        let n_shards = (n_rows / ROWS_PER_SHARD)
            .next_power_of_two()
            .min(MAX_SHARDS);
        Self {
            shards: (0..n_shards).map(|_| Arc::default()).collect(),
            n_rows: 0,
        }
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.n_rows
    }

    /// Returns the row with this hash for which `is_it` holds.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards.get(self.shard(hash))?.find(hash, is_it)
    }

    /// Replaces the row for which `is_it` holds by `row`, or adds it. `hash` computes the hash of a row.
    pub fn put(&mut self, row: T, hash: impl Fn(&T) -> u64, is_it: impl FnMut(&T) -> bool) {
        let of_row = hash(&row);
        let at = self.shard(of_row);
        let Some(shard) = self.shards.get_mut(at) else {
            return;
        };
        let shard = Arc::make_mut(shard);
        match shard.find_mut(of_row, is_it) {
            Some(old) => *old = row,
            None => {
                shard.insert_unique(of_row, row, hash);
                self.n_rows += 1;
            }
        }
    }

    /// Uses bits of the hash that the shard itself does not use: it places rows by the lowest and tells rows apart by
    /// the highest.
    fn shard(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }
}

/// A list in chunks. A clone shares all chunks, and changing an item copies only the chunk it is in.
#[derive(Clone, Debug)]
pub struct Chunked<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Chunked<T> {
    /// Returns how many items there are.
    pub fn len(&self) -> usize {
        let last = self.0.last().map_or(0, |chunk| chunk.len());
        self.0.len().saturating_sub(1) * ITEMS_PER_CHUNK + last
    }

    /// Returns the `n`-th item.
    pub fn get(&self, n: usize) -> Option<&T> {
        self.0.get(n / ITEMS_PER_CHUNK)?.get(n % ITEMS_PER_CHUNK)
    }

    /// Iterates over all items, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|chunk| chunk.iter())
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < ITEMS_PER_CHUNK => Arc::make_mut(last).push(item),
            _ => self.0.push(Arc::new(vec![item])),
        }
    }

    /// Replaces the `n`-th item by `item`.
    pub fn set(&mut self, n: usize, item: T) {
        let chunk = self.0.get_mut(n / ITEMS_PER_CHUNK).map(Arc::make_mut);
        if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(n % ITEMS_PER_CHUNK)) {
            *place = item;
        }
    }
}
