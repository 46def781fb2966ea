//! Memory: result buffers that are written once, and scratch space kept by each thread.

use std::cell::RefCell;

/// A result under construction: `len` numbers that a kernel is about to write, each exactly once.
pub(crate) struct Output {
    values: Vec<f32>,
    len: usize,
}

impl Output {
    /// Room for `len` numbers, not written yet.
    pub(crate) fn new(len: usize) -> Self {
        Self { values: Vec::with_capacity(len), len }
    }

    /// Where to write.
    pub(crate) fn pointer(&mut self) -> SharedMut {
        SharedMut(self.values.as_mut_ptr())
    }

    /// The finished numbers.
    ///
    /// # Safety
    /// All `len` numbers have been written.
    pub(crate) unsafe fn finish(mut self) -> Vec<f32> {
        // SAFETY: the caller has written them all, and the capacity is `len`.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// A pointer that several threads write through, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(pub(crate) *mut f32);

// SAFETY: the pointer is only a place; each use says why its writes do not overlap.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// The place `offset` numbers further on.
    ///
    /// # Safety
    /// The result lies inside (or just past) the same buffer.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: by the caller.
        unsafe { self.0.add(offset) }
    }

    /// `len` numbers from `offset` on.
    ///
    /// # Safety
    /// They lie inside the buffer, are initialised (or are written before they are read), and no
    /// other thread touches them during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), len) }
    }
}

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Which of a thread's scratch buffers, so that nested users never share one.
#[derive(Clone, Copy)]
pub(crate) enum Scratch {
    /// Shifted copies of an image.
    Image = 0,
    /// A transposed image.
    Transposed = 1,
    /// A result before it is put in place.
    Partial = 2,
}

/// Lends `work` at least `len` numbers of scratch space with unspecified contents.
pub(crate) fn with_scratch<R>(which: Scratch, len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SCRATCH.with_borrow_mut(|all| std::mem::take(&mut all[which as usize]));
    if buffer.len() < len {
        buffer = vec![0.0; len];
    }
    let result = work(&mut buffer[..len]);
    SCRATCH.with_borrow_mut(|all| {
        if all[which as usize].len() < buffer.len() {
            all[which as usize] = buffer;
        }
    });
    result
}
