//! Follows all ways to read a pattern at once, with 64 of its positions in a machine word.
//!
//! The positions between the glyphs of a pattern are numbered from 0. The bits of a word are the positions that the
//! characters read so far can lead to. A character moves each bit whose glyph accepts it up by one, and keeps the bits
//! before a `*` (shift-and). A pattern of 64 glyphs or more is cut into blocks. Each block passes over the text and
//! leaves the positions in the text where the next block may start. The time is O(text × (1 + pattern / 64)) for any
//! pattern and text. Texts of up to 2 KiB need no allocation.

use smallvec::{SmallVec, smallvec};

/// One step of a pattern. A wildcard that does not cross never matches a `:` (M-12, M-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyph {
    Character(char),
    AnyOne { crosses: bool },
    AnyRun { crosses: bool },
}

/// Returns the cost of passing over a text of `n_bytes` with at most `n_glyphs`, in units of about 10 ns.
pub(super) fn units(n_glyphs: usize, n_bytes: usize) -> usize {
    let n_blocks = 1 + n_glyphs / 64;
    16 + n_glyphs / 2 + n_bytes.saturating_mul(n_blocks) / 4
}

/// Returns whether the whole of `text` matches.
pub(super) fn fits(glyphs: impl Iterator<Item = Glyph>, text: &str) -> bool {
    let (block, entries) = all_but_last(glyphs, text);
    block.reaches_end(text, entries.as_ref())
}

/// Returns the end of the shortest prefix of `text` that matches.
pub(super) fn first_end(glyphs: impl Iterator<Item = Glyph>, text: &str) -> Option<usize> {
    let (block, entries) = all_but_last(glyphs, text);
    block.first_end(text, entries.as_ref())
}

/// Passes over `text` with all blocks except the last. Returns the last block with the positions where it may start.
/// `None` means only the start of the text.
fn all_but_last(glyphs: impl Iterator<Item = Glyph>, text: &str) -> (Block, Option<Places>) {
    let mut glyphs = glyphs.peekable();
    let mut entries = None;
    loop {
        let (block, is_full) = Block::read(&mut glyphs);
        if !is_full {
            return (block, entries);
        }
        entries = Some(block.exits(text, entries.as_ref()));
    }
}

/// A set of positions in a text, with one bit per byte and one for its end.
struct Places(SmallVec<[u64; 33]>);

impl Places {
    fn none(text: &str) -> Self {
        Self(smallvec![0; text.len() / 64 + 1])
    }

    fn has(&self, at: usize) -> bool {
        self.0
            .get(at / 64)
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
}

/// Up to 64 glyphs that each match one character, and the `*`s before and between them.
struct Block {
    /// The position after the last glyph. In a full block it is 0, because its last position is the first of the next
    /// block.
    last: u64,
    /// The positions before `?`, and those of them that do not match `:`.
    any_one: u64,
    any_one_within: u64,
    /// The positions before `*`, and those of them that do not match `:`.
    any_run: u64,
    any_run_within: u64,
    /// The positions before each character that the glyphs name.
    named: SmallVec<[(char, u64); 64]>,
    /// The same positions by ASCII character, if `named` is too long to be searched each time.
    ascii: Option<[u64; 128]>,
}

/// The longest list that is searched. For a longer one a table is faster.
const MOST_SEARCHED: usize = 4;

impl Block {
    /// Reads the glyphs of one block, and returns whether it is full.
    fn read(glyphs: &mut std::iter::Peekable<impl Iterator<Item = Glyph>>) -> (Self, bool) {
        let mut block = Self {
            last: 0,
            any_one: 0,
            any_one_within: 0,
            any_run: 0,
            any_run_within: 0,
            named: SmallVec::new(),
            ascii: None,
        };
        let mut place: u64 = 1;
        let mut is_full = false;
        while !is_full && let Some(glyph) = glyphs.next() {
            match glyph {
                Glyph::AnyRun { crosses: true } => block.any_run |= place,
                Glyph::AnyRun { crosses: false } => block.any_run_within |= place,
                Glyph::AnyOne { crosses: true } => block.any_one |= place,
                Glyph::AnyOne { crosses: false } => block.any_one_within |= place,
                Glyph::Character(character) => block.name(character, place),
            }
            if !matches!(glyph, Glyph::AnyRun { .. }) {
                is_full = place == 1 << 63;
                place <<= 1; // the bit is shifted out when the block is full
            }
        }
        block.last = place;
        block.tabulate();
        (block, is_full)
    }

    fn name(&mut self, character: char, place: u64) {
        let known = self.named.iter_mut().find(|(named, _)| *named == character);
        match known {
            Some((_, places)) => *places |= place,
            None => self.named.push((character, place)),
        }
    }

    fn tabulate(&mut self) {
        if self.named.len() <= MOST_SEARCHED {
            return;
        }
        let mut table = [0; 128];
        for (character, places) in &self.named {
            if let Some(entry) = table.get_mut(*character as usize) {
                *entry = *places;
            }
        }
        self.ascii = Some(table);
    }

    /// Returns the positions that `character` leads to from `places` within this block, and whether it leads out of the
    /// block.
    fn step(&self, places: u64, character: char) -> (u64, bool) {
        let in_table = self
            .ascii
            .as_ref()
            .and_then(|table| table.get(character as usize).copied());
        let mut takes = in_table.unwrap_or_else(|| {
            let named = self.named.iter().find(|(named, _)| *named == character);
            named.map_or(0, |(_, places)| *places)
        });
        let mut keeps = self.any_run;
        takes |= self.any_one;
        if character != ':' {
            takes |= self.any_one_within;
            keeps |= self.any_run_within;
        }
        let moved = places & takes;
        (moved << 1 | places & keeps, moved >> 63 == 1)
    }

    /// Calls `seen` with each position in the text, including its end, and the positions in the block. Stops when
    /// `seen` says so or when nothing more can match.
    fn pass(
        &self,
        text: &str,
        entries: Option<&Places>,
        mut seen: impl FnMut(usize, u64, bool) -> bool,
    ) {
        let mut places = u64::from(entries.is_none());
        let mut has_left = false;
        let enter = |at: usize| u64::from(entries.is_some_and(|entries| entries.has(at)));
        for (at, character) in text.char_indices() {
            places |= enter(at);
            if seen(at, places, has_left) || places == 0 && entries.is_none() {
                return;
            }
            (places, has_left) = self.step(places, character);
        }
        places |= enter(text.len());
        seen(text.len(), places, has_left);
    }

    fn reaches_end(&self, text: &str, entries: Option<&Places>) -> bool {
        let mut is_reached = false;
        self.pass(text, entries, |at, places, _| {
            is_reached = at == text.len() && places & self.last != 0;
            false
        });
        is_reached
    }

    fn first_end(&self, text: &str, entries: Option<&Places>) -> Option<usize> {
        let mut end = None;
        self.pass(text, entries, |at, places, _| {
            let is_end = places & self.last != 0;
            if is_end {
                end = Some(at);
            }
            is_end
        });
        end
    }

    /// Returns the positions in the text at which a full block is left.
    fn exits(&self, text: &str, entries: Option<&Places>) -> Places {
        let mut exits = Places::none(text);
        self.pass(text, entries, |at, _, has_left| {
            if has_left {
                exits.add(at);
            }
            false
        });
        exits
    }
}
