//! The index of open streams. Its keys are hashes of subjects, or of other issuers' tokens,
//! sessions and subjects.
//!
//! # No revocation misses a stream
//!
//! Two threads may do these steps at the same time:
//!
//! * The owner of a new stream [registers](Registry::register) the stream, and **then** searches
//!   the deny set for its token.
//! * The node adds a revocation to the deny set, and **then** [announces](Registry::announce) the
//!   revocation to the registered streams.
//!
//! So the search finds the revocation, or the announcement finds the stream. *If either thread did
//! its second step first, both could find nothing, and the stream would stay open.* Each step takes
//! the lock of the deny set or of the registry, so no thread sees the steps in another order.
//!
//! # Locks
//!
//! `announce` and `for_each` release the lock before they call the callback. The callback may wake
//! a task, and the waker may drop another stream, which takes the lock. *If the callback ran under
//! the lock, its thread could wait for itself.*
//!
//! The loom test `tests/cutoff_order.rs` compiles this file with the locks of loom. So the file
//! imports from the crate only `super::sync`, which contains the locks and atomics.

use std::{slice, sync::Arc};

use hashbrown::{HashTable, hash_table::Entry};

use super::sync::{AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};

/// A stream that the registry can index.
pub(super) trait Indexed {
    /// Returns one of the stream's places, counted from 0. A stream has one to three keys, and a
    /// place for each key.
    fn place(&self, number: usize) -> Option<&Place>;
}

/// A key of a stream, and the position of the stream in the list of all streams with this key.
#[derive(Debug)]
pub(super) struct Place {
    key: u64,
    /// The position in the list. The registry changes it only under the lock of the key's shard.
    position: AtomicU32,
    /// The bucket whose log contains the revocations with this key.
    pub(super) bucket: u32,
}

/// The index of the open streams, divided into shards with one lock each.
pub(super) struct Registry<T> {
    shards: Box<[Mutex<HashTable<List<T>>>]>,
    open: AtomicUsize,
}

/// The list of all streams with one key, mostly a single stream. The list does not store the key.
/// The `u8` is the number of the first stream's [`Place`] that contains the key.
enum List<T> {
    One(u8, Arc<T>),
    #[allow(clippy::box_collection, reason = "a bare vector would make each slot of the table larger")]
    Many(u8, Box<Vec<Arc<T>>>),
}

/// The number of shards. Each has a lock.
const SHARDS: usize = 64;
/// The capacity above which the registry shrinks a mostly empty table.
const WORTH_SHRINKING: usize = 32;

impl Place {
    pub(super) fn new(key: u64, bucket: u32) -> Self {
        Self { key, position: AtomicU32::new(0), bucket }
    }
}

impl<T: Indexed> Registry<T> {
    pub(super) fn new() -> Self {
        Self::with_shards(SHARDS)
    }

    pub(super) fn with_shards(count: usize) -> Self {
        let shards = (0..count.max(1)).map(|_| Mutex::new(HashTable::new())).collect();
        Self { shards, open: AtomicUsize::new(0) }
    }

    /// Returns the count of open streams.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Indexes a stream, and **then** calls `look`. Returns true if no other stream was open.
    pub(super) fn register(&self, stream: &Arc<T>, look: impl FnOnce(&T)) -> bool {
        let is_first = self.insert(stream);
        look(stream);
        is_first
    }

    /// Indexes a stream by all its keys. Returns true if no other stream was open.
    pub(super) fn insert(&self, stream: &Arc<T>) -> bool {
        // Raises the count before the insertion, because `announce` returns early at a count of 0.
        let is_first = self.open.fetch_add(1, Ordering::AcqRel) == 0;
        for (number, place) in places_of(&**stream) {
            let mut shard = self.shard(place.key);
            let table = &mut *shard;
            match table.entry(place.key, |list| list.key() == Some(place.key), hash_of) {
                Entry::Occupied(mut slot) => slot.get_mut().push(Arc::clone(stream), place),
                Entry::Vacant(slot) => {
                    place.position.store(0, Ordering::Relaxed);
                    slot.insert(List::One(number, Arc::clone(stream)));
                }
            }
        }
        is_first
    }

    /// Removes a stream from the index, in a time that does not depend on the number of streams.
    pub(super) fn remove(&self, stream: &T) {
        for (_, place) in places_of(stream) {
            let mut shard = self.shard(place.key);
            let mut removed = None;
            if let Ok(mut slot) = shard.find_entry(place.key, |list| list.key() == Some(place.key)) {
                let position = usize::try_from(place.position.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
                let (list, is_empty) = slot.get_mut().take(position, place.key);
                removed = list;
                if is_empty {
                    slot.remove();
                }
            }
            if shard.capacity() > WORTH_SHRINKING && shard.len() < shard.capacity() / 8 {
                let length = shard.len().saturating_mul(2);
                shard.shrink_to(length, hash_of);
            }
            drop(shard);
            // Drops the handle after the release of the lock. The last handle of a stream also
            // drops its waker, which may run any code.
            drop(removed);
        }
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Calls `look` for each stream with this key. The caller must add a revocation to the deny set
    /// before it announces the revocation.
    pub(super) fn announce(&self, key: u64, mut look: impl FnMut(&Arc<T>)) {
        if self.open() == 0 {
            return;
        }
        let found = match self.shard(key).find(key, |list| list.key() == Some(key)) {
            None => return,
            Some(List::One(_, stream)) => vec![Arc::clone(stream)],
            Some(List::Many(_, streams)) => streams.to_vec(),
        };
        // Begins at the end of the list, because owners may remove their streams meanwhile.
        // `swap_remove` of the last stream moves no other stream.
        found.into_iter().rev().for_each(|stream| look(&stream));
    }

    /// Calls `look` once for each stream.
    pub(super) fn for_each(&self, mut look: impl FnMut(&Arc<T>)) {
        let mut found = Vec::new();
        for shard in &self.shards {
            let table = lock(shard);
            for list in &*table {
                // A stream with several keys is in several lists. This takes the stream only from
                // the list of its first key.
                let is_first = |stream: &&Arc<T>| stream.place(0).map(|place| place.key) == list.key();
                found.extend(list.streams().iter().filter(is_first).cloned());
            }
            drop(table);
            found.drain(..).for_each(|stream| look(&stream));
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashTable<List<T>>> {
        // Selects the shard by the bits from 24 on, because the hash table uses the highest and the
        // lowest bits of the key.
        let count = self.shards.len() as u64;
        let number = usize::try_from((key >> 24).checked_rem(count).unwrap_or_default()).unwrap_or_default();
        #[allow(clippy::indexing_slicing, reason = "a remainder is less than its divisor, here the length")]
        lock(&self.shards[number])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the place of a stream that contains this key, and the number of the place.
fn place_under<T: Indexed>(stream: &T, key: u64) -> Option<(u8, &Place)> {
    places_of(stream).find(|(_, place)| place.key == key)
}

/// Returns the places of a stream with their numbers.
fn places_of<T: Indexed>(stream: &T) -> impl Iterator<Item = (u8, &Place)> {
    (0u8..=u8::MAX).map_while(|number| Some((number, stream.place(usize::from(number))?)))
}

/// Returns the hash of a list: its key, which is a hash already.
fn hash_of<T: Indexed>(list: &List<T>) -> u64 {
    list.key().unwrap_or_default()
}

impl<T> List<T> {
    fn streams(&self) -> &[Arc<T>] {
        match self {
            Self::One(_, stream) => slice::from_ref(stream),
            Self::Many(_, streams) => streams,
        }
    }
}

impl<T: Indexed> List<T> {
    fn key(&self) -> Option<u64> {
        let (Self::One(number, _) | Self::Many(number, _)) = self;
        self.streams().first()?.place(usize::from(*number)).map(|place| place.key)
    }

    /// Appends a stream. `place` is the stream's place that contains the key of this list.
    fn push(&mut self, stream: Arc<T>, place: &Place) {
        let position = u32::try_from(self.streams().len()).unwrap_or(u32::MAX);
        place.position.store(position, Ordering::Relaxed);
        match self {
            Self::One(number, first) => *self = Self::Many(*number, Box::new(vec![Arc::clone(first), stream])),
            Self::Many(_, streams) => streams.push(stream),
        }
    }

    /// Removes and returns the stream at an index. If the list has a single stream, returns `None`
    /// and true: the caller must then remove the whole list.
    fn take(&mut self, position: usize, key: u64) -> (Option<Arc<T>>, bool) {
        let Self::Many(number, streams) = self else { return (None, true) };
        if position >= streams.len() {
            return (None, false);
        }
        let taken = streams.swap_remove(position);
        if let (Some((_, place)), Ok(position)) =
            (streams.get(position).and_then(|moved| place_under(&**moved, key)), u32::try_from(position))
        {
            place.position.store(position, Ordering::Relaxed);
        }
        // Another stream is now the first, and a place with another number may contain its key.
        if position == 0
            && let Some((number_of_first, _)) = streams.first().and_then(|first| place_under(&**first, key))
        {
            *number = number_of_first;
        }
        if streams.len() == 1 {
            if let Some(last) = streams.pop() {
                *self = Self::One(*number, last);
            }
        } else if streams.capacity() > 16 && streams.len() < streams.capacity() / 4 {
            streams.shrink_to(streams.len().saturating_mul(2));
        }
        (Some(taken), false)
    }
}
