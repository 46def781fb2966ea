//! The forward pass.

use super::geometry::Geometry;
use super::winograd_4x4::Kernels;
use super::{winograd, winograd_4x4};
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, multiply};
use crate::parallel;
use crate::storage::{Output, Scratch, SharedMut, with_scratch};

/// `result[n][o] = bias[o] + sum over channels and taps of weight * input`, with `input`
/// `[batch, channels, height, width]` and `weight` `[outputs, channels, kernel, kernel]`; plus `added`, of the result's
/// shape.
pub(crate) fn forward(
    g: &Geometry,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    added: Option<&[f32]>,
) -> Vec<f32> {
    if winograd_4x4::pays(g) {
        return winograd_4x4::forward(g, input, Kernels { weight, turned: false }, bias, added);
    }
    let mut output = if winograd::pays(g) {
        winograd::forward(g, input, weight, bias)
    } else {
        direct(g, input, weight, bias)
    };
    if let Some(added) = added {
        add(g, &mut output, added);
    }
    output
}

/// Adds `added` to `output`, image by image.
fn add(g: &Geometry, output: &mut [f32], added: &[f32]) {
    assert_eq!(output.len(), added.len());
    let size = g.outputs * g.out_pixels();
    let place = SharedMut(output.as_mut_ptr());
    parallel::for_each(g.batch, size, |n| {
        // SAFETY: each image is changed by its own call.
        let to = unsafe { place.slice(n * size, size) };
        for (to, value) in to.iter_mut().zip(&added[n * size..][..size]) {
            *to += value;
        }
    });
}

/// The same, tap by tap.
pub(crate) fn direct(g: &Geometry, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let set = InstructionSet::current();
    let pixels = g.out_pixels();
    let (image, depth) = (g.channels * g.height * g.width, g.channels * g.taps());
    assert_eq!(input.len(), g.batch * image);
    assert_eq!(weight.len(), g.outputs * depth);
    assert!(bias.is_none_or(|bias| bias.len() == g.outputs));
    let mut output = Output::new(g.batch * g.outputs * pixels);
    let place = output.pointer();
    let parts = parallel::parts_per_piece(g.batch).min(g.outputs);
    let copies = g.input_copies();
    let taps = if g.is_pointwise() { Vec::new() } else { g.input_taps(&copies, g.channels) };
    parallel::for_each(g.batch * parts, g.flops() / parts, |piece| {
        let (n, outputs) = (piece / parts, parallel::part(g.outputs, parts, piece % parts));
        let input = &input[n * image..][..image];
        let run = |b: *const f32, b_rows: RightRows| {
            // SAFETY: the lengths were checked above; each piece writes its own outputs of its
            // own image; the copies are followed by room to read.
            unsafe {
                let product = Product {
                    m: outputs.len(),
                    n: pixels,
                    k: depth,
                    a: weight.as_ptr().add(outputs.start * depth),
                    a_rows: LeftRows::Stride(depth),
                    a_step: 1,
                    b,
                    b_rows,
                    c: place.at((n * g.outputs + outputs.start) * pixels),
                    c_stride: pixels,
                    start: bias.map_or(Start::Zero, |bias| Start::Rows(bias.as_ptr().add(outputs.start))),
                };
                multiply(set, &product);
            }
        };
        if g.is_pointwise() {
            run(input.as_ptr(), RightRows::Stride(pixels));
        } else {
            with_scratch(Scratch::Image, copies.len(g.channels), |scratch| {
                copies.make(set, input, scratch);
                run(scratch.as_ptr(), RightRows::Table(&taps));
            });
        }
    });
    // SAFETY: every output of every image was written by the piece it belongs to.
    unsafe { output.finish() }
}
