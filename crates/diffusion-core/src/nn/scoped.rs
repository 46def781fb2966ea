//! Settings of a thread that hold while some work is done.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `work` with this thread's `setting` at `value`, and the former value again afterwards, also after a panic.
pub(super) fn scoped<T: Copy, R>(
    setting: &'static LocalKey<Cell<T>>,
    value: T,
    work: impl FnOnce() -> R,
) -> R {
    struct Restore<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(setting, setting.replace(value));
    work()
}
