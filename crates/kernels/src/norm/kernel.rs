//! Group normalisation on slices.

use crate::cpu::InstructionSet;
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, load, sigmoid, store};
use crate::storage::{Output, SharedMut};

/// Extents and options of a group normalisation over `[batch, channels, size]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) size: usize,
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    /// Whether `SiLU` follows.
    pub(crate) silu: bool,
}

/// What a group was normalised with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    /// `1 / sqrt(variance + epsilon)`.
    pub(crate) scale: f32,
}

/// Operations that one number costs, roughly, for deciding whether to share the work.
const COST: usize = 16;

impl GroupNorm {
    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    fn len(&self) -> usize {
        self.batch * self.channels * self.size
    }

    /// The result and the moments of each group of each image. `shift`, one number for each channel of each image, is added
    /// to `x` before.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        shift: Option<&[f32]>,
        gamma: &[f32],
        beta: &[f32],
    ) -> (Vec<f32>, Vec<Moments>) {
        self.check(x, gamma);
        assert_eq!(beta.len(), self.channels);
        assert!(shift.is_none_or(|shift| shift.len() == self.batch * self.channels));
        let set = InstructionSet::current();
        let block = self.group_channels() * self.size;
        let mut output = Output::new(self.len());
        let place = output.pointer();
        let mut moments = vec![Moments::default(); self.batch * self.groups];
        let moments_place = Moved(moments.as_mut_ptr());
        parallel::for_each(self.batch * self.groups, block * COST, |piece| {
            let channels = self.channels_of(piece);
            let x = &x[piece * block..][..block];
            let shift = self.shift_of(shift, piece);
            // SAFETY: each piece writes its own group and its own moments.
            unsafe {
                let moments = normalise_group(
                    set,
                    self,
                    x,
                    shift,
                    &gamma[channels.clone()],
                    &beta[channels],
                    place.at(piece * block),
                );
                moments_place.write(piece, moments);
            }
        });
        // SAFETY: every group of every image was written.
        (unsafe { output.finish() }, moments)
    }

    /// The gradients of `x`, `gamma`, `beta` and, if there is one, `shift`.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        shift: Option<&[f32]>,
        gamma: &[f32],
        beta: &[f32],
        moments: &[Moments],
        gradient: &[f32],
    ) -> [Vec<f32>; 4] {
        self.check(x, gamma);
        assert_eq!(beta.len(), self.channels);
        assert_eq!(gradient.len(), x.len());
        assert_eq!(moments.len(), self.batch * self.groups);
        let set = InstructionSet::current();
        let block = self.group_channels() * self.size;
        let mut output = Output::new(self.len());
        let place = output.pointer();
        let mut sums = Output::new(2 * self.batch * self.channels);
        let sums_place = sums.pointer();
        let mut shifts = vec![0.0f32; if shift.is_some() { self.batch * self.channels } else { 0 }];
        let shifts_place = SharedMut(shifts.as_mut_ptr());
        parallel::for_each(self.batch * self.groups, block * COST, |piece| {
            let channels = self.channels_of(piece);
            let per_channel = piece * self.group_channels();
            let own_shift = self.shift_of(shift, piece);
            // SAFETY: each piece writes its own group and the sums of its own channels.
            unsafe {
                let shifts =
                    if own_shift.is_empty() { None } else { Some(SharedMut(shifts_place.at(per_channel))) };
                differentiate_group(
                    set,
                    self,
                    &x[piece * block..][..block],
                    own_shift,
                    &gamma[channels.clone()],
                    &beta[channels],
                    moments[piece],
                    &gradient[piece * block..][..block],
                    place.at(piece * block),
                    SharedMut(sums_place.at(per_channel)),
                    SharedMut(sums_place.at(self.batch * self.channels + per_channel)),
                    shifts,
                );
            }
        });
        // SAFETY: every group of every image was written.
        let (dx, sums) = unsafe { (output.finish(), sums.finish()) };
        let over_batch = |sums: &[f32]| {
            let mut total = vec![0.0f32; self.channels];
            for image in sums.chunks_exact(self.channels) {
                for (total, value) in total.iter_mut().zip(image) {
                    *total += value;
                }
            }
            total
        };
        let (scale, offset) = sums.split_at(self.batch * self.channels);
        [dx, over_batch(scale), over_batch(offset), shifts]
    }

    /// What is added to the channels of a group; empty for nothing.
    fn shift_of<'a>(&self, shift: Option<&'a [f32]>, piece: usize) -> &'a [f32] {
        shift.map_or(&[], |shift| &shift[piece * self.group_channels()..][..self.group_channels()])
    }

    fn check(&self, x: &[f32], gamma: &[f32]) {
        assert_eq!(x.len(), self.len());
        assert_eq!(gamma.len(), self.channels);
        assert_eq!(self.channels % self.groups, 0);
    }

    fn channels_of(&self, piece: usize) -> std::ops::Range<usize> {
        let first = piece % self.groups * self.group_channels();
        first..first + self.group_channels()
    }
}

#[derive(Clone, Copy)]
struct Moved(*mut Moments);
// SAFETY: each thread writes elements of its own, as `forward` says.
unsafe impl Send for Moved {}
// SAFETY: as above.
unsafe impl Sync for Moved {}

impl Moved {
    /// # Safety
    /// `index` lies inside the vector and nobody else uses that element.
    unsafe fn write(self, index: usize, value: Moments) {
        // SAFETY: by the caller.
        unsafe { *self.0.add(index) = value }
    }
}

for_every_set! {
    /// # Safety
    /// `to` has room for as many numbers as `x` holds; `gamma` and `beta` hold the group's.
    unsafe fn normalise_group(
        norm: &GroupNorm, x: &[f32], shift: &[f32], gamma: &[f32], beta: &[f32], to: *mut f32,
    ) -> Moments = normalise
}

for_every_set! {
    /// # Safety
    /// `to` has room for as many numbers as `x` and `gradient` hold, `scales`, `offsets` and `shifts` for
    /// one number for each channel of the group.
    unsafe fn differentiate_group(
        norm: &GroupNorm, x: &[f32], shift: &[f32], gamma: &[f32], beta: &[f32], moments: Moments,
        gradient: &[f32], to: *mut f32, scales: SharedMut, offsets: SharedMut, shifts: Option<SharedMut>,
    ) = differentiate
}

#[inline(always)]
unsafe fn normalise<S: Simd>(
    norm: &GroupNorm,
    x: &[f32],
    shift: &[f32],
    gamma: &[f32],
    beta: &[f32],
    to: *mut f32,
) -> Moments {
    // SAFETY (whole body): reads and writes stay inside the slices and the room at `to`.
    unsafe {
        let count = x.len() as f32;
        let (mean, variance) = if shift.is_empty() {
            let mean = moment::<S, false>(x, 0.0) / count;
            (mean, moment::<S, true>(x, mean) / count)
        } else {
            let (mut sum, mut squares) = (0.0, 0.0);
            for (channel, shift) in x.chunks_exact(norm.size).zip(shift) {
                sum += moment::<S, false>(channel, -shift);
            }
            let mean = sum / count;
            for (channel, shift) in x.chunks_exact(norm.size).zip(shift) {
                squares += moment::<S, true>(channel, mean - shift);
            }
            (mean, squares / count)
        };
        let scale = 1.0 / (variance + norm.epsilon).sqrt();
        for (channel, (&gamma, &beta)) in gamma.iter().zip(beta).enumerate() {
            let from = x.as_ptr().add(channel * norm.size);
            let to = to.add(channel * norm.size);
            let (a, b) = (S::splat(scale * gamma), S::splat(beta));
            let centre = S::splat(mean - shift.get(channel).copied().unwrap_or(0.0));
            each_vector!(S, norm.size, |at, count| {
                let centred = S::sub(load::<S>(from.add(at), count), centre);
                let z = S::mul_add(a, centred, b);
                let y = if norm.silu { S::mul(z, sigmoid::<S>(z)) } else { z };
                store::<S>(to.add(at), y, count);
            });
        }
        Moments { mean, scale }
    }
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn differentiate<S: Simd>(
    norm: &GroupNorm,
    x: &[f32],
    shift: &[f32],
    gamma: &[f32],
    beta: &[f32],
    moments: Moments,
    gradient: &[f32],
    to: *mut f32,
    scales: SharedMut,
    offsets: SharedMut,
    shifts: Option<SharedMut>,
) {
    // SAFETY (whole body): reads and writes stay inside the slices and the room at `to`.
    unsafe {
        let scale = S::splat(moments.scale);
        let (mut of_scale, mut of_offset) = (0.0f32, 0.0f32);
        for (channel, (&gamma, &beta)) in gamma.iter().zip(beta).enumerate() {
            let start = channel * norm.size;
            let (from, gradient) = (x.as_ptr().add(start), gradient.as_ptr().add(start));
            let to = to.add(start);
            let mean = S::splat(moments.mean - shift.get(channel).copied().unwrap_or(0.0));
            let (a, b) = (S::splat(gamma), S::splat(beta));
            let mut sums = [S::splat(0.0); 2];
            each_vector!(S, norm.size, |at, count| {
                // Lanes past `count` have a gradient of zero and add nothing... unless the
                // moments are not finite, when the sums are not either.
                let normal = S::mul(S::sub(load::<S>(from.add(at), count), mean), scale);
                let mut dz = load::<S>(gradient.add(at), count);
                if norm.silu {
                    let z = S::mul_add(a, normal, b);
                    dz = S::mul(dz, silu_slope::<S>(z));
                }
                sums[0] = S::mul_add(dz, normal, sums[0]);
                sums[1] = S::add(dz, sums[1]);
                store::<S>(to.add(at), dz, count);
            });
            let sums = sums.map(|sum| S::sum(sum));
            *scales.at(channel) = sums[0];
            *offsets.at(channel) = sums[1];
            of_scale += gamma * sums[0];
            of_offset += gamma * sums[1];
        }
        let count = x.len() as f32;
        // dx = scale (gamma dz - mean(gamma dz) - normal mean(gamma dz normal)).
        let along = S::splat(-of_scale / count);
        let level = S::splat(-of_offset / count);
        for (channel, &gamma) in gamma.iter().enumerate() {
            let start = channel * norm.size;
            let (from, to) = (x.as_ptr().add(start), to.add(start));
            let mean = S::splat(moments.mean - shift.get(channel).copied().unwrap_or(0.0));
            let gamma = S::splat(gamma);
            let mut sum = S::splat(0.0);
            each_vector!(S, norm.size, |at, count| {
                let normal = S::mul(S::sub(load::<S>(from.add(at), count), mean), scale);
                let dz = load::<S>(to.add(at), count);
                let inner = S::mul_add(normal, along, S::mul_add(gamma, dz, level));
                let dx = S::mul(scale, inner);
                store::<S>(to.add(at), dx, count);
                if shifts.is_some() {
                    // The lanes past `count` are not part of the channel.
                    sum = S::add(sum, if count == S::LANES { dx } else { S::keep(dx, (1u32 << count) - 1) });
                }
            });
            if let Some(shifts) = shifts {
                *shifts.at(channel) = S::sum(sum);
            }
        }
    }
}

/// `d silu(z) / dz = s + z s (1 - s)` with `s = sigmoid(z)`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
pub(crate) unsafe fn silu_slope<S: Simd>(z: S::V) -> S::V {
    // SAFETY: by the caller.
    unsafe {
        let s = sigmoid::<S>(z);
        S::mul_add(S::mul(z, s), S::sub(S::splat(1.0), s), s)
    }
}

/// The sum of `x - centre`, or of its square.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn moment<S: Simd, const SQUARED: bool>(x: &[f32], centre: f32) -> f32 {
    // SAFETY (whole body): reads stay inside the slice.
    unsafe {
        let middle = S::splat(centre);
        let mut sums = [S::splat(0.0); 4];
        let whole = x.len() - x.len() % (4 * S::LANES);
        let mut at = 0;
        while at < whole {
            for (i, sum) in sums.iter_mut().enumerate() {
                let centred = S::sub(S::load(x.as_ptr().add(at + i * S::LANES)), middle);
                *sum = if SQUARED { S::mul_add(centred, centred, *sum) } else { S::add(*sum, centred) };
            }
            at += 4 * S::LANES;
        }
        let mut total = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
        for value in &x[whole..] {
            let centred = value - centre;
            total += if SQUARED { centred * centred } else { centred };
        }
        total
    }
}
