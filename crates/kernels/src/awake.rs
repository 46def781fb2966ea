//! Keeping the threads of a pool from falling asleep between small kernels.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks for work, this often without any, before the system may run another thread.
const PATIENCE: u32 = 64;

thread_local! {
    /// How many [`Awake`] of this thread live.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Whether the other threads of the pool are kept awake for the calling one.
pub(crate) fn others_are_awake() -> bool {
    HELD.get() > 0
}

/// While it lives, the other threads of the calling thread's rayon pool look for work without a pause.
///
/// Rayon sends a thread to sleep when it has found nothing for some microseconds, and waking it takes as long as many a kernel
/// of a small network. Hold one for a training step or a series of forward passes; not for longer, because idle threads use the
/// processor meanwhile, giving way to threads that have work.
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

fn look_for_work(over: &AtomicBool) {
    let mut found_nothing = 0;
    while !over.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            found_nothing = 0;
        } else if found_nothing < PATIENCE {
            found_nothing += 1;
            std::hint::spin_loop();
        } else {
            found_nothing = 0;
            std::thread::yield_now();
        }
    }
}
