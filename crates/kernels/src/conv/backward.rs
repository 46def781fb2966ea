//! The gradients with respect to input, weight and bias.

use super::geometry::{Geometry, GradientPhase};
use super::winograd_4x4::Kernels;
use super::{few_outputs, winograd, winograd_4x4, winograd_4x4_weight, winograd_weight};
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, lanes, multiply};
use crate::parallel;
use crate::storage::{Output, Scratch, SharedMut, with_scratch};
use crate::transpose::transpose;

/// The gradient of the input: with stride one, the convolution of the result's gradient with the
/// kernel turned round and its channels exchanged.
pub(crate) fn input_gradient(g: &Geometry, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let turned = Geometry {
        channels: g.outputs,
        outputs: g.channels,
        height: g.out_height(),
        width: g.out_width(),
        padding: (g.kernel_height - 1).saturating_sub(g.padding),
        ..*g
    };
    let large_blocks = winograd_4x4::pays(&turned);
    if !(large_blocks || winograd::pays(&turned)) || g.padding >= g.kernel_height || g.stride != 1 {
        return direct_input_gradient(g, gradient, weight);
    }
    if large_blocks {
        return winograd_4x4::forward(&turned, gradient, Kernels { weight, turned: true }, None, None);
    }
    let mut kernels = Vec::with_capacity(weight.len());
    for channel in 0..g.channels {
        for output in 0..g.outputs {
            let kernel = &weight[(output * g.channels + channel) * 9..][..9];
            kernels.extend(kernel.iter().rev());
        }
    }
    winograd::forward(&turned, gradient, &kernels, None)
}

/// The same tap by tap, for every stride: each phase is such a convolution.
pub(crate) fn direct_input_gradient(g: &Geometry, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let image = g.channels * g.height * g.width;
    let (pixels, depth) = (g.out_pixels(), g.channels * g.taps());
    assert_eq!(gradient.len(), g.batch * g.outputs * pixels);
    assert_eq!(weight.len(), g.outputs * depth);
    let mut output = Output::new(g.batch * image);
    let place = output.pointer();
    let phases: Vec<_> = g
        .gradient_phases()
        .into_iter()
        .map(|phase| {
            let weights = turned_weights(g, &phase, weight);
            let rows = phase_rows(g, &phase);
            (phase, weights, rows)
        })
        .collect();
    let parts = parallel::parts_per_piece(g.batch).min(g.channels);
    parallel::for_each(g.batch * parts, g.flops() / parts, |piece| {
        let (n, channels) = (piece / parts, parallel::part(g.channels, parts, piece % parts));
        let gradient = &gradient[n * g.outputs * pixels..][..g.outputs * pixels];
        for (phase, weights, rows) in &phases {
            let size = phase.height * phase.width;
            let k = g.outputs * phase.taps.len();
            let run = |b: *const f32, b_rows: RightRows, c: *mut f32| {
                let product = Product {
                    m: channels.len(),
                    n: size,
                    k,
                    // SAFETY: `weights` holds `k` numbers for each channel.
                    a: unsafe { weights.as_ptr().add(channels.start * k) },
                    a_rows: LeftRows::Stride(k),
                    a_step: 1,
                    b,
                    b_rows,
                    c,
                    c_stride: size,
                    start: Start::Zero,
                };
                // SAFETY: the lengths were checked above; each piece writes its own channels of
                // its own image, or scratch space of its own.
                unsafe { multiply(set, &product) };
            };
            // SAFETY: inside the result.
            let to = unsafe { place.at(n * image + channels.start * g.height * g.width) };
            if g.is_pointwise() {
                run(gradient.as_ptr(), RightRows::Stride(pixels), to);
                continue;
            }
            with_scratch(Scratch::Image, phase.copies.len(g.outputs), |scratch| {
                phase.copies.make(set, gradient, scratch);
                let rows = RightRows::Table(rows);
                if g.stride == 1 {
                    run(scratch.as_ptr(), rows, to);
                } else {
                    with_scratch(Scratch::Partial, channels.len() * size, |partial| {
                        run(scratch.as_ptr(), rows, partial.as_mut_ptr());
                        // SAFETY: the pixels of this phase, in this piece's own channels.
                        unsafe { scatter(g, phase, partial, SharedMut(to)) };
                    });
                }
            });
        }
    });
    // SAFETY: the phases of the pieces cover every pixel of every channel of every image.
    unsafe { output.finish() }
}

/// `[channels, outputs, taps of the phase]`.
fn turned_weights(g: &Geometry, phase: &GradientPhase, weight: &[f32]) -> Vec<f32> {
    let mut turned = Vec::with_capacity(g.channels * g.outputs * phase.taps.len());
    for channel in 0..g.channels {
        for output in 0..g.outputs {
            let kernel = &weight[(output * g.channels + channel) * g.taps()..][..g.taps()];
            for &(y, x) in &phase.taps {
                turned.push(kernel[y * g.kernel_width + x]);
            }
        }
    }
    turned
}

fn phase_rows(g: &Geometry, phase: &GradientPhase) -> Vec<u32> {
    let mut rows = Vec::with_capacity(g.outputs * phase.taps.len());
    for output in 0..g.outputs {
        let start = (output * phase.copies.channel_len()) as u32;
        rows.extend(phase.offsets.iter().map(|offset| start + offset));
    }
    rows
}

/// # Safety
/// `to` is the first of as many channels of the input as `partial` holds.
unsafe fn scatter(g: &Geometry, phase: &GradientPhase, partial: &[f32], to: SharedMut) {
    for (channel, values) in partial.chunks_exact(phase.height * phase.width).enumerate() {
        for (y, row) in values.chunks_exact(phase.width).enumerate() {
            let start = (channel * g.height + y * g.stride + phase.row) * g.width + phase.column;
            for (x, &value) in row.iter().enumerate() {
                // SAFETY: the phase's extents keep rows and columns inside the image.
                unsafe { *to.at(start + x * g.stride) = value };
            }
        }
    }
}

/// How the weight gradient is cut: by shape alone, so that the order of its sums is fixed.
pub(super) struct WeightTasks {
    /// Ranges of the batch, each with a sum of its own.
    pub(super) batches: usize,
    /// Ranges of the channels.
    pub(super) channels: usize,
}

impl WeightTasks {
    pub(super) fn of(g: &Geometry, padded_outputs: usize) -> Self {
        /// Tasks to aim at.
        const TASKS: usize = 16;
        /// Pixels that a sum is worth being kept for.
        const PIXELS: usize = 1024;
        // Every sum is kept until all are added: the larger they are, the fewer.
        let batches = g.batch.min(match g.channels * g.taps() * padded_outputs {
            0..0x1_0000 => (g.batch * g.out_pixels() / PIXELS).clamp(1, TASKS),
            0x1_0000..0x8_0000 => 4,
            _ => 2,
        });
        Self { batches, channels: TASKS.div_ceil(batches).min(g.channels.div_ceil(16)) }
    }
}

/// The gradient of the weight, `[outputs, channels, kernel, kernel]`: the sum over images and
/// pixels of result gradient times input, image by image.
pub(crate) fn weight_gradient(g: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    if winograd_4x4_weight::pays(g) {
        winograd_4x4_weight::weight_gradient(g, gradient, input)
    } else if winograd_weight::pays(g) {
        winograd_weight::weight_gradient(g, gradient, input)
    } else if few_outputs::pays(g) {
        few_outputs::weight_gradient(g, gradient, input)
    } else {
        direct_weight_gradient(g, gradient, input)
    }
}

/// The same tap by tap.
pub(crate) fn direct_weight_gradient(g: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let (pixels, depth) = (g.out_pixels(), g.channels * g.taps());
    let plane = g.height * g.width;
    assert_eq!(gradient.len(), g.batch * g.outputs * pixels);
    assert_eq!(input.len(), g.batch * g.channels * plane);
    let padded = g.outputs.next_multiple_of(lanes(set));
    let tasks = WeightTasks::of(g, padded);
    let copies = g.input_copies();
    let mut sums = Output::new(tasks.batches * depth * padded);
    let place = sums.pointer();
    let operations = g.flops() * g.batch / (tasks.batches * tasks.channels);
    parallel::for_each(tasks.batches * tasks.channels, operations, |task| {
        let images = parallel::part(g.batch, tasks.batches, task / tasks.channels);
        let channels = parallel::part(g.channels, tasks.channels, task % tasks.channels);
        let rows = if g.is_pointwise() {
            (0..channels.len()).map(|c| (c * plane) as u32).collect()
        } else {
            g.input_taps(&copies, channels.len())
        };
        // SAFETY: inside `sums`; each task has its own channels of its own sum.
        let sum =
            unsafe { place.at((task / tasks.channels * g.channels + channels.start) * g.taps() * padded) };
        let first = images.start;
        for n in images {
            let input = &input[(n * g.channels + channels.start) * plane..][..channels.len() * plane];
            let gradient = &gradient[n * g.outputs * pixels..][..g.outputs * pixels];
            with_scratch(Scratch::Transposed, pixels * padded, |transposed| {
                transpose(set, gradient, g.outputs, pixels, padded, transposed);
                let run = |a: *const f32| {
                    let product = Product {
                        m: channels.len() * g.taps(),
                        n: padded,
                        k: pixels,
                        a,
                        a_rows: LeftRows::Table(&rows),
                        a_step: 1,
                        b: transposed.as_ptr(),
                        b_rows: RightRows::Stride(padded),
                        c: sum,
                        c_stride: padded,
                        start: if n == first { Start::Zero } else { Start::Previous },
                    };
                    // SAFETY: the rows of `a` are taps or channels of the image at hand, each of
                    // `pixels` numbers; the others have the sizes just made.
                    unsafe { multiply(set, &product) };
                };
                if g.is_pointwise() {
                    run(input.as_ptr());
                } else {
                    with_scratch(Scratch::Image, copies.len(channels.len()), |scratch| {
                        copies.make(set, input, scratch);
                        run(scratch.as_ptr());
                    });
                }
            });
        }
    });
    // SAFETY: the batch is not empty, so the first image of each task wrote all of its part.
    let sums = unsafe { sums.finish() };
    add_sums(&sums, tasks.batches, g.outputs, depth, padded)
}

/// Adds the sums (`[sums, depth, padded]`) in order, into `[outputs, depth]`.
fn add_sums(sums: &[f32], count: usize, outputs: usize, depth: usize, padded: usize) -> Vec<f32> {
    let mut output = Output::new(outputs * depth);
    let place = output.pointer();
    const BLOCK: usize = 16;
    let blocks = outputs.div_ceil(BLOCK);
    parallel::for_each(blocks, count * depth * BLOCK * 4, |block| {
        let first = block * BLOCK;
        let width = BLOCK.min(outputs - first);
        for row in 0..depth {
            let mut total = [0.0; BLOCK];
            for sum in sums.chunks_exact(depth * padded) {
                let sum = &sum[row * padded + first..][..width];
                for (total, value) in total.iter_mut().zip(sum) {
                    *total += value;
                }
            }
            for (o, total) in total.iter().enumerate().take(width) {
                // SAFETY: each block writes its own outputs.
                unsafe { *place.at((first + o) * depth + row) = *total };
            }
        }
    });
    // SAFETY: every output of every row was written.
    unsafe { output.finish() }
}

/// The gradient of the bias: the sum over images and pixels, image by image.
pub(crate) fn bias_gradient(g: &Geometry, gradient: &[f32]) -> Vec<f32> {
    let pixels = g.out_pixels();
    let mut sums = vec![0.0f32; g.batch * g.outputs];
    let place = SharedMut(sums.as_mut_ptr());
    parallel::for_each(g.batch, g.outputs * pixels, |n| {
        for o in 0..g.outputs {
            let plane = n * g.outputs + o;
            // SAFETY: each image writes its own sums.
            unsafe { *place.at(plane) = crate::reduce::sum(&gradient[plane * pixels..][..pixels]) };
        }
    });
    (0..g.outputs).map(|o| sums.iter().skip(o).step_by(g.outputs).sum()).collect()
}
