//! One Adam step on slices.

use super::AdamStep;
use crate::cpu::InstructionSet;
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, load, store};
use crate::storage::SharedMut;

/// Numbers that one call of a kernel handles.
const CHUNK: usize = 16 * 1024;
/// Operations that one number costs, roughly.
const COST: usize = 12;

/// The scalars of a step in `f32`, as PyTorch rounds them.
#[derive(Clone, Copy)]
struct Scalars {
    gradient_scale: f32,
    decay_gradient: f32,
    decay_parameter: f32,
    /// `1 - beta1`.
    follow1: f32,
    beta2: f32,
    /// `1 - beta2`.
    follow2: f32,
    correction2_root: f32,
    epsilon: f32,
    step_size: f32,
    /// `1 - decay` of the moving average.
    follow_average: f32,
}

impl Scalars {
    fn of(step: &AdamStep) -> Self {
        let decoupled = step.learning_rate * step.weight_decay;
        Self {
            gradient_scale: step.gradient_scale as f32,
            decay_gradient: if step.decoupled { 0.0 } else { step.weight_decay as f32 },
            decay_parameter: if step.decoupled { (1.0 - decoupled) as f32 } else { 1.0 },
            follow1: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            follow2: (1.0 - step.beta2) as f32,
            correction2_root: step.second_correction().sqrt() as f32,
            epsilon: step.epsilon as f32,
            step_size: (step.learning_rate / step.first_correction()) as f32,
            follow_average: (1.0 - step.average_decay) as f32,
        }
    }
}

/// Updates the parameter, its moments and its moving average (if it is not empty) in place.
pub(crate) fn step(
    step: &AdamStep,
    parameter: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    average: Option<&mut [f32]>,
    gradient: &[f32],
) {
    let len = parameter.len();
    assert!(first.len() == len && second.len() == len && gradient.len() == len);
    assert!(average.as_ref().is_none_or(|average| average.len() == len));
    let set = InstructionSet::current();
    let scalars = Scalars::of(step);
    let places = [parameter, first, second].map(|slice| SharedMut(slice.as_mut_ptr()));
    let average = average.map(|slice| SharedMut(slice.as_mut_ptr()));
    parallel::for_each(len.div_ceil(CHUNK), CHUNK * COST, |chunk| {
        let start = chunk * CHUNK;
        let gradient = &gradient[start..len.min(start + CHUNK)];
        // SAFETY: the slices are as long as each other, and each chunk has its own part of them.
        unsafe {
            let [parameter, first, second] = places.map(|place| place.at(start));
            let average = average.map(|place| place.at(start));
            update(set, scalars, parameter, first, second, average, gradient);
        }
    });
}

for_every_set! {
    /// # Safety
    /// All point to as many numbers as `gradient` holds.
    unsafe fn update(
        scalars: Scalars, parameter: *mut f32, first: *mut f32, second: *mut f32,
        average: Option<*mut f32>, gradient: &[f32],
    ) = update_all
}

#[inline(always)]
unsafe fn update_all<S: Simd>(
    s: Scalars,
    parameter: *mut f32,
    first: *mut f32,
    second: *mut f32,
    average: Option<*mut f32>,
    gradient: &[f32],
) {
    // SAFETY (whole body): by the caller.
    unsafe {
        let (scale, decay) = (S::splat(s.gradient_scale), S::splat(s.decay_gradient));
        let (shrink, step_size) = (S::splat(s.decay_parameter), S::splat(-s.step_size));
        let (follow1, follow2) = (S::splat(s.follow1), S::splat(s.follow2));
        let (beta2, epsilon) = (S::splat(s.beta2), S::splat(s.epsilon));
        let (root, follow) = (S::splat(s.correction2_root), S::splat(s.follow_average));
        let first_is_slow = s.follow1 < 0.5;
        let keep1 = S::splat(1.0 - s.follow1);
        each_vector!(S, gradient.len(), |at, count| {
            let mut p = load::<S>(parameter.add(at), count);
            let mut g = S::mul(load::<S>(gradient.as_ptr().add(at), count), scale);
            if s.decay_gradient != 0.0 {
                g = S::mul_add(decay, p, g);
            }
            p = S::mul(p, shrink);
            let m = load::<S>(first.add(at), count);
            let towards = S::sub(g, m);
            // PyTorch's `lerp`, which starts from the nearer end.
            let m = if first_is_slow {
                S::mul_add(follow1, towards, m)
            } else {
                S::sub(g, S::mul(towards, keep1))
            };
            let v = S::mul(load::<S>(second.add(at), count), beta2);
            let v = S::add(v, S::mul(S::mul(follow2, g), g));
            let denominator = S::add(S::div(S::sqrt(v), root), epsilon);
            p = S::add(p, S::div(S::mul(step_size, m), denominator));
            store::<S>(parameter.add(at), p, count);
            store::<S>(first.add(at), m, count);
            store::<S>(second.add(at), v, count);
            if let Some(average) = average {
                let old = load::<S>(average.add(at), count);
                // Rounded after each operation, as an average that is updated by itself.
                let new = S::sub(old, S::mul(follow, S::sub(old, p)));
                store::<S>(average.add(at), new, count);
            }
        });
    }
}

/// Numbers whose squares are summed in `f32` before the sum goes on in `f64`.
const SQUARES: usize = 4096;

/// The sum of squares, in an order fixed by the length.
pub(crate) fn squared_norm(values: &[f32]) -> f64 {
    let mut sums = vec![0.0f32; values.len().div_ceil(SQUARES)];
    let place = SharedMut(sums.as_mut_ptr());
    parallel::for_each(sums.len(), SQUARES, |chunk| {
        let start = chunk * SQUARES;
        let values = &values[start..values.len().min(start + SQUARES)];
        // SAFETY: each chunk has a sum of its own.
        unsafe { *place.at(chunk) = crate::reduce::sum_of_squares(values) };
    });
    sums.into_iter().map(f64::from).sum()
}
