//! Places for connections, of which the newest have one: where all are taken, the oldest connection is closed.
//!
//! Health checks and monitoring connect for a moment. So whoever holds all places, with connections that say nothing or that
//! only wait, keeps nobody else away.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::config::TIME_TO_LEAVE;

/// The places.
#[derive(Debug)]
pub(super) struct Newest {
    places: Arc<Semaphore>,
    /// The connections that have a place and may keep it, the oldest one first.
    open: Mutex<VecDeque<Arc<Notify>>>,
}

/// The place of a connection, which it gives back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    newest: Arc<Newest>,
    lost: Arc<Notify>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Newest {
    /// Makes `most` places.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            open: Mutex::default(),
        })
    }

    /// Gives a new connection a place, once another one has left if all are taken. Returns whether it had to.
    pub(super) async fn take(self: &Arc<Self>) -> (Place, bool) {
        let (permit, is_full) = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => (Some(permit), false),
            Err(_) => (self.take_from_oldest().await, true),
        };
        let lost = Arc::new(Notify::new());
        self.open().push_back(Arc::clone(&lost));
        let place = Place {
            newest: Arc::clone(self),
            lost,
            _permit: permit,
        };
        (place, is_full)
    }

    /// Takes the place of the oldest connection. If that does not leave soon, because its thread has much to do, the next one has
    /// to leave, too.
    async fn take_from_oldest(&self) -> Option<OwnedSemaphorePermit> {
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            let oldest = self.open().pop_front();
            let is_last = oldest.is_none();
            oldest.iter().for_each(|oldest| oldest.notify_one());
            if is_last {
                return place.await.ok(); // nobody closes the semaphore
            }
            if let Ok(permit) = tokio::time::timeout(TIME_TO_LEAVE, place.as_mut()).await {
                return permit.ok();
            }
        }
    }

    /// Locks the list, even if a thread panicked while it held the lock: no step leaves it half changed.
    fn open(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Completes when the place is lost to a newer connection.
    pub(super) async fn is_lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.newest
            .open()
            .retain(|other| !Arc::ptr_eq(other, &self.lost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_loses_its_place_to_a_new_one() {
        let newest = Newest::new(2);
        let (first, was_full) = newest.take().await;
        assert!(!was_full);
        let (second, _) = newest.take().await;
        let leaves = async {
            first.is_lost().await;
            drop(first);
        };
        let ((), (third, was_full)) = tokio::join!(leaves, newest.take());
        assert!(was_full);
        drop(second); // it has gone by itself, so there is space
        let (_fourth, was_full) = newest.take().await;
        assert!(!was_full);
        let leaves = async {
            third.is_lost().await;
            drop(third);
        };
        let ((), (_fifth, was_full)) = tokio::join!(leaves, newest.take());
        assert!(was_full);
    }
}
