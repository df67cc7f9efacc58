//! Tables of which the next version shares all but what has changed.

use std::sync::Arc;

use hashbrown::HashTable;

/// How many rows a shard of a [`Sharded`] has, about.
const ROWS_PER_SHARD: usize = 96;
/// The most shards: copying a table copies as many pointers.
const MAX_SHARDS: usize = 4_096;
/// How many items a chunk of a [`Chunked`] has.
const ITEMS_PER_CHUNK: usize = 256;

/// A hash table in shards. A copy shares all shards; to change a row copies the one it stands in.
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
    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// An empty table with the shards that suit so many rows.
    pub fn for_rows(n_rows: usize) -> Self {
        let n_shards = (n_rows / ROWS_PER_SHARD)
            .next_power_of_two()
            .min(MAX_SHARDS);
        Self {
            shards: (0..n_shards).map(|_| Arc::default()).collect(),
            n_rows: 0,
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.n_rows
    }

    /// The row with this hash that `is_it`.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards.get(self.shard(hash))?.find(hash, is_it)
    }

    /// Puts `row` in the place of the row that `is_it`, or into a new one. `hash` is the hash of a row.
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

    /// Neither the bits that a shard places a row by, the lowest, nor those it tells rows apart by, the highest.
    fn shard(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }
}

/// A list in chunks. A copy shares all chunks; to change an item copies the one it stands in.
#[derive(Clone, Debug)]
pub struct Chunked<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Chunked<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        let last = self.0.last().map_or(0, |chunk| chunk.len());
        self.0.len().saturating_sub(1) * ITEMS_PER_CHUNK + last
    }

    /// The `n`-th item.
    pub fn get(&self, n: usize) -> Option<&T> {
        self.0.get(n / ITEMS_PER_CHUNK)?.get(n % ITEMS_PER_CHUNK)
    }

    /// All of them, in order.
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

    /// Puts `item` in the place of the `n`-th.
    pub fn set(&mut self, n: usize, item: T) {
        let chunk = self.0.get_mut(n / ITEMS_PER_CHUNK).map(Arc::make_mut);
        if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(n % ITEMS_PER_CHUNK)) {
            *place = item;
        }
    }
}
