//! What mimalloc does with memory that was freed.

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// `mi_option_purge_delay` in the header of version 3, which the bindings leave out.
const PURGE_DELAY: mi_option_t = 15;
/// Longer than a training step of any network that a CPU is used for.
const MILLISECONDS: i32 = 30_000;

/// Lets mimalloc keep freed memory for half a minute before it goes back to the system, in place of a second. A training
/// step frees each of its buffers and asks for the same again in the next step: given back in between, every page
/// would be cleared anew, which takes a tenth of the time of large networks.
///
/// For programs whose global allocator is mimalloc; elsewhere without effect. Call it once, at the start.
pub fn keep_freed_memory() {
    // SAFETY: the option exists, and any delay is valid for it.
    unsafe { mi_option_set(PURGE_DELAY, MILLISECONDS.into()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_purge_delay() {
        // SAFETY: reading an option that exists.
        let read = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // The default of `purge_delay`, and of no option beside it.
        assert_eq!(read(), 1000);
        keep_freed_memory();
        assert_eq!(read(), i64::from(MILLISECONDS));
    }
}
