//! The threads that serve connections. Each has a runtime of its own, and a connection stays on its thread.
//!
//! A thread of its own is worth more than a shared pool: a call never moves to another processor, nobody steals its
//! work, and waking its task takes no system call. New connections go to the thread that has the fewest. A server with
//! one thread serves on the thread that it has anyway.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

use super::interactive::INTERACTIVE;
use super::overload;

/// Something that a thread serves: a future, and its count among those of its thread.
type Task = Box<dyn FnOnce(Served) + Send>;

/// The threads. Dropping this lets each end once it has served all that it was given.
#[derive(Debug)]
pub(super) enum Workers {
    /// The runtime that asks for connections to be served serves them.
    Here {
        alive: mpsc::Sender<()>,
        all_ended: mpsc::Receiver<()>,
    },
    Threads(Vec<Worker>),
}

#[derive(Debug)]
pub(super) struct Worker {
    /// How many connections the thread has.
    n_connections: Arc<AtomicUsize>,
    tasks: mpsc::UnboundedSender<Task>,
    ended: oneshot::Receiver<()>,
}

/// A connection that counts towards those of its thread until this is dropped.
#[derive(Debug)]
struct Served {
    n_connections: Arc<AtomicUsize>,
    /// The thread ends when nobody holds this any more.
    _alive: mpsc::Sender<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.n_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts `n_threads` threads; none if one is enough.
    pub(super) fn start(n_threads: usize) -> anyhow::Result<Self> {
        if n_threads <= 1 {
            let (alive, all_ended) = mpsc::channel(1);
            return Ok(Self::Here { alive, all_ended });
        }
        let workers = (0..n_threads).map(Worker::start);
        Ok(Self::Threads(workers.collect::<anyhow::Result<_>>()?))
    }

    /// Serves a connection on the thread that has the fewest. `begin` runs there and returns what serves it.
    pub(super) fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        begin: impl FnOnce() -> F + Send + 'static,
    ) {
        match self {
            Self::Here { alive, .. } => {
                let alive = alive.clone();
                tokio::spawn(async move {
                    let _alive = alive;
                    begin().await;
                });
            }
            Self::Threads(workers) => {
                let n_connections = |worker: &&Worker| worker.n_connections.load(Ordering::Relaxed);
                if let Some(worker) = workers.iter().min_by_key(n_connections) {
                    worker.serve(begin);
                }
            }
        }
    }

    /// Waits until the threads have served all that they were given.
    pub(super) async fn finish(self) {
        match self {
            Self::Here {
                alive,
                mut all_ended,
            } => {
                drop(alive);
                let _ = all_ended.recv().await; // `None`, since nobody sends
            }
            Self::Threads(workers) => {
                let ended: Vec<_> = workers.into_iter().map(|worker| worker.ended).collect();
                for ended in ended {
                    let _ = ended.await; // an error means that the thread has ended, too
                }
            }
        }
    }
}

impl Worker {
    fn start(index: usize) -> anyhow::Result<Self> {
        let (tasks, received) = mpsc::unbounded_channel();
        let (has_ended, ended) = oneshot::channel();
        let n_connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_connections);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(INTERACTIVE)
            .on_thread_unpark(overload::woke)
            .build()
            .context("the threads cannot be started")?;
        thread::Builder::new()
            .name(format!("serve-{index}"))
            .spawn(move || {
                runtime.block_on(run(received, counter));
                let _ = has_ended.send(()); // an error means that nobody waits
                runtime.shutdown_background(); // what still runs has no connection any more
            })
            .context("the threads cannot be started")?;
        Ok(Self {
            n_connections,
            tasks,
            ended,
        })
    }
}

impl Worker {
    fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        begin: impl FnOnce() -> F + Send + 'static,
    ) {
        self.n_connections.fetch_add(1, Ordering::Relaxed);
        let task: Task = Box::new(move |served| {
            let serving = begin();
            tokio::spawn(async move {
                let _served = served;
                serving.await;
            });
        });
        let _ = self.tasks.send(task); // an error means that the thread has ended with the process
    }
}

/// Serves what is `received` until nobody sends any more and all of it has ended.
async fn run(mut received: mpsc::UnboundedReceiver<Task>, n_connections: Arc<AtomicUsize>) {
    let (alive, mut all_ended) = mpsc::channel(1);
    while let Some(task) = received.recv().await {
        task(Served {
            n_connections: Arc::clone(&n_connections),
            _alive: alive.clone(),
        });
    }
    drop(alive);
    let _ = all_ended.recv().await; // `None`, since nobody sends
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::thread::ThreadId;

    use super::*;

    /// Serves a connection that ends when the sender is dropped. Returns the thread.
    async fn serve(workers: &Workers) -> (ThreadId, oneshot::Sender<()>) {
        let (end, ended) = oneshot::channel::<()>();
        let (began, begins) = oneshot::channel();
        workers.serve(move || {
            began.send(thread::current().id()).unwrap();
            async move {
                let _ = ended.await;
            }
        });
        (begins.await.unwrap(), end)
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_thread_that_has_the_fewest() {
        let workers = Workers::start(2).unwrap();
        let (first, _first_end) = serve(&workers).await;
        let (second, second_end) = serve(&workers).await;
        assert_ne!(first, second);
        let Workers::Threads(threads) = &workers else {
            unreachable!("there are two")
        };
        let n_connections = || {
            let counts = threads
                .iter()
                .map(|one| one.n_connections.load(Ordering::Relaxed));
            counts.sum::<usize>()
        };
        assert_eq!(n_connections(), 2);
        drop(second_end);
        while n_connections() > 1 {
            tokio::task::yield_now().await;
        }
        let (third, _third_end) = serve(&workers).await;
        assert_eq!(third, second, "its connection has ended");
    }

    #[tokio::test]
    async fn they_finish_when_their_connections_have_ended() {
        for n_threads in [1, 2] {
            let workers = Workers::start(n_threads).unwrap();
            let (thread, end) = serve(&workers).await;
            assert_eq!(thread == thread::current().id(), n_threads == 1);
            let mut finish = pin!(workers.finish());
            let mut is_finished =
                async || poll_fn(|cx| Poll::Ready(finish.as_mut().poll(cx).is_ready())).await;
            assert!(!is_finished().await, "{n_threads}");
            drop(end);
            while !is_finished().await {
                tokio::task::yield_now().await;
            }
        }
    }
}
