//! Sharing work among the threads of the current rayon pool.

use rayon::prelude::*;

/// Work below this many operations is not worth waking another thread for.
const WAKING: usize = 400_000;
/// Work below this many operations is not worth sharing with threads that are awake.
const SHARING: usize = 20_000;

/// Calls `work` for `0..count`, each call costing about `operations`. What a call computes must
/// not depend on the others, so that results are the same for every number of threads.
pub(crate) fn for_each(count: usize, operations: usize, work: impl Fn(usize) + Sync + Send) {
    let worthwhile = if crate::awake::others_are_awake() { SHARING } else { WAKING };
    if count <= 1 || count.saturating_mul(operations) <= worthwhile || rayon::current_num_threads() == 1 {
        (0..count).for_each(work);
    } else {
        let together = (worthwhile / 2 / operations.max(1)).clamp(1, count);
        (0..count).into_par_iter().with_min_len(together).for_each(work);
    }
}

/// Into how many parts to cut each of `count` independent pieces so that every thread has some.
pub(crate) fn parts_per_piece(count: usize) -> usize {
    let threads = rayon::current_num_threads();
    if count >= 2 * threads { 1 } else { (2 * threads).div_ceil(count.max(1)) }
}

/// The `part`-th of `parts` nearly equal ranges of `0..len`.
pub(crate) fn part(len: usize, parts: usize, part: usize) -> std::ops::Range<usize> {
    len * part / parts..len * (part + 1) / parts
}
