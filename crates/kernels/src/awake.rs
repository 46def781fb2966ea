//! Keeping the threads of a pool from falling asleep between small kernels.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Looks for work, this often without any, before the system may run another thread.
const LOOKS: u32 = 64;
/// How long a thread looks for work without finding any. Rayon may start a thread's looking inside its wait for a part of
/// another's work; as it ends by itself, nothing waits for it forever.
const PATIENCE: Duration = Duration::from_millis(1);

thread_local! {
    /// How many [`Awake`] of this thread live.
    static HELD: Cell<usize> = const { Cell::new(0) };
    /// While this thread looks for work: until when.
    static LOOKING: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Whether the other threads of the pool are kept awake for the calling one.
pub(crate) fn others_are_awake() -> bool {
    HELD.get() > 0
}

/// While it lives, the other threads of the calling thread's rayon pool look for work without a pause.
///
/// Rayon sends a thread to sleep when it has found nothing for some microseconds, and waking it takes as long as many a kernel
/// of a small network. Hold one for a training step or a series of forward passes: idle threads use the processor
/// meanwhile, though they give way to threads that have work, and give up where none comes for a millisecond.
///
/// Without effect outside of a pool, and in a pool of one thread.
#[derive(Debug)]
#[must_use = "the threads may fall asleep again as soon as it is dropped"]
pub struct Awake {
    /// Set when it is dropped. `None` if there is nobody to keep awake.
    over: Option<Arc<AtomicBool>>,
    /// It counts for the thread that made it, and so stays there.
    not_send: PhantomData<*const ()>,
}

impl Awake {
    /// Wakes the other threads.
    pub fn new() -> Self {
        let Some(own) = rayon::current_thread_index().filter(|_| rayon::current_num_threads() > 1) else {
            return Self { over: None, not_send: PhantomData };
        };
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        rayon::spawn_broadcast(move |thread| {
            // The caller's own turn comes while it waits for others.
            if thread.index() != own {
                look_for_work(&told);
            }
        });
        HELD.set(HELD.get() + 1);
        Self { over: Some(over), not_send: PhantomData }
    }
}

impl Default for Awake {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(over) = &self.over {
            HELD.set(HELD.get() - 1);
            over.store(true, Ordering::Release);
        }
    }
}

fn look_for_work(over: &Arc<AtomicBool>) {
    // A thread that looks already, and found work in which it was told to look, goes on looking after that work.
    if LOOKING.replace(Some(Arc::clone(over))).is_some() {
        return;
    }
    let (mut looks, mut idle_since) = (0, Instant::now());
    while LOOKING.with_borrow(|over| over.as_ref().is_some_and(|over| !over.load(Ordering::Acquire))) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            (looks, idle_since) = (0, Instant::now());
        } else if looks < LOOKS {
            looks += 1;
            std::hint::spin_loop();
        } else if idle_since.elapsed() < PATIENCE {
            looks = 0;
            std::thread::yield_now();
        } else {
            break;
        }
    }
    LOOKING.set(None);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::parallel;

    /// Work is done wholly, and nobody waits forever: not in one pool, nor where two callers share one.
    #[test]
    fn work_ends_with_threads_kept_awake() {
        const ROUNDS: usize = 2000;
        for (threads, callers) in [(2, 1), (3, 1), (4, 2), (2, 2)] {
            let (done, wait) = channel();
            std::thread::spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let total = AtomicUsize::new(0);
                let work = || {
                    for _ in 0..ROUNDS {
                        let _awake = Awake::new();
                        assert!(others_are_awake());
                        for _ in 0..3 {
                            parallel::for_each(16, 100_000, |part| {
                                total.fetch_add(part, Ordering::Relaxed);
                            });
                        }
                    }
                    assert!(!others_are_awake());
                };
                std::thread::scope(|scope| {
                    for _ in 0..callers {
                        scope.spawn(|| pool.install(work));
                    }
                });
                done.send(total.into_inner()).unwrap();
            });
            let total = wait.recv_timeout(Duration::from_secs(100)).expect("the work ends");
            assert_eq!(total, callers * ROUNDS * 3 * (0..16).sum::<usize>());
        }
    }

    #[test]
    fn alone_there_is_nobody_to_wake() {
        let _outside = Awake::new();
        assert!(!others_are_awake());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let _alone = Awake::new();
            assert!(!others_are_awake());
        });
    }
}
