//! `SiLU` on slices.

use crate::cpu::InstructionSet;
use crate::norm::kernel::silu_slope;
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, load, sigmoid, store};
use crate::storage::Output;

/// Numbers that one call of a kernel handles.
const CHUNK: usize = 16 * 1024;
/// Operations that one number costs, roughly.
const COST: usize = 8;

/// `x / (1 + e^-x)`.
pub(crate) fn forward(x: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let mut output = Output::new(x.len());
    let place = output.pointer();
    parallel::for_each(x.len().div_ceil(CHUNK), CHUNK * COST, |chunk| {
        let start = chunk * CHUNK;
        let x = &x[start..x.len().min(start + CHUNK)];
        // SAFETY: each chunk writes its own numbers.
        unsafe { activate(set, x, place.at(start)) };
    });
    // SAFETY: the chunks cover everything.
    unsafe { output.finish() }
}

/// The gradient of `x`.
pub(crate) fn backward(x: &[f32], gradient: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), gradient.len());
    let set = InstructionSet::current();
    let mut output = Output::new(x.len());
    let place = output.pointer();
    parallel::for_each(x.len().div_ceil(CHUNK), CHUNK * COST, |chunk| {
        let start = chunk * CHUNK;
        let end = x.len().min(start + CHUNK);
        // SAFETY: each chunk writes its own numbers.
        unsafe { differentiate(set, &x[start..end], &gradient[start..end], place.at(start)) };
    });
    // SAFETY: the chunks cover everything.
    unsafe { output.finish() }
}

for_every_set! {
    /// # Safety
    /// `to` has room for as many numbers as `x` holds.
    unsafe fn activate(x: &[f32], to: *mut f32) = activate_all
}

for_every_set! {
    /// # Safety
    /// `to` has room for as many numbers as `x` and `gradient` hold.
    unsafe fn differentiate(x: &[f32], gradient: &[f32], to: *mut f32) = differentiate_all
}

#[inline(always)]
unsafe fn activate_all<S: Simd>(x: &[f32], to: *mut f32) {
    each_vector!(S, x.len(), |at, count| {
        // SAFETY: inside the slice and the room given.
        unsafe {
            let z = load::<S>(x.as_ptr().add(at), count);
            store::<S>(to.add(at), S::mul(z, sigmoid::<S>(z)), count);
        }
    });
}

#[inline(always)]
unsafe fn differentiate_all<S: Simd>(x: &[f32], gradient: &[f32], to: *mut f32) {
    each_vector!(S, x.len(), |at, count| {
        // SAFETY: inside the slices and the room given.
        unsafe {
            let slope = silu_slope::<S>(load::<S>(x.as_ptr().add(at), count));
            let gradient = load::<S>(gradient.as_ptr().add(at), count);
            store::<S>(to.add(at), S::mul(gradient, slope), count);
        }
    });
}
