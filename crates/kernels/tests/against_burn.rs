//! Every function against burn's own operations on the same backend, forward and backward.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Shape, Tensor, TensorData, activation, module};
use kernels::InstructionSet;
use proptest::prelude::*;

/// Numbers in `[-1, 1)` that depend on `seed` alone.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), Shape::new(shape));
    Tensor::from_data(data, device)
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().expect("tensors here are f32")
}

/// Fails unless the numbers agree within `tolerance` of the largest expected one.
#[track_caller]
fn close(name: &str, ours: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
    for (i, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (ours - expected).abs() / scale;
        assert!(error <= tolerance, "{name}[{i}]: {ours} for {expected}, off by {error}");
    }
}

/// The result of `layer` and the gradients of its inputs, for a loss with uneven weights.
struct Pass(Vec<Vec<f32>>);

macro_rules! pass {
    ($layer:expr, $($input:expr),+) => {{
        let device = Device::flex().autodiff();
        let inputs = ($(tensor_of($input, &device).require_grad(),)+);
        let y = $layer(&inputs);
        let weights = tensor(y.dims(), 99, &device);
        let grads = (y.clone() * weights).sum().backward();
        let mut all = vec![vector(y)];
        pass!(@gradients all, grads, inputs, $($input),+);
        Pass(all)
    }};
    (@gradients $all:ident, $grads:ident, $inputs:ident, $a:expr) => {
        $all.push(vector($inputs.0.grad(&$grads).unwrap()));
    };
    (@gradients $all:ident, $grads:ident, $inputs:ident, $a:expr, $b:expr) => {
        pass!(@gradients $all, $grads, $inputs, $a);
        $all.push(vector($inputs.1.grad(&$grads).unwrap()));
    };
    (@gradients $all:ident, $grads:ident, $inputs:ident, $a:expr, $b:expr, $c:expr) => {
        pass!(@gradients $all, $grads, $inputs, $a, $b);
        $all.push(vector($inputs.2.grad(&$grads).unwrap()));
    };
    (@gradients $all:ident, $grads:ident, $inputs:ident, $a:expr, $b:expr, $c:expr, $d:expr) => {
        pass!(@gradients $all, $grads, $inputs, $a, $b, $c);
        $all.push(vector($inputs.3.grad(&$grads).unwrap()));
    };
}

fn tensor_of<const D: usize>((shape, seed): ([usize; D], u64), device: &Device) -> Tensor<D> {
    tensor(shape, seed, device)
}

#[track_caller]
fn compare(name: &str, ours: Pass, expected: Pass) {
    for (i, (ours, expected)) in ours.0.iter().zip(&expected.0).enumerate() {
        let tolerance = if i == 0 { 1e-5 } else { 1e-4 };
        close(&format!("{name}, part {i}"), ours, expected, tolerance);
    }
}

#[derive(Clone, Copy, Debug)]
struct Conv {
    batch: usize,
    channels: usize,
    outputs: usize,
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

fn check_conv(c: Conv) {
    let x = ([c.batch, c.channels, c.height, c.width], 1);
    let weight = ([c.outputs, c.channels, c.kernel, c.kernel], 2);
    let bias = ([c.outputs], 3);
    let options = || ConvOptions::new([c.stride; 2], [c.padding; 2], [1, 1], 1);
    type Inputs = (Tensor<4>, Tensor<4>, Tensor<1>);
    let expected = pass!(
        |(x, w, b): &Inputs| module::conv2d(x.clone(), w.clone(), Some(b.clone()), options()),
        x,
        weight,
        bias
    );
    let ours = pass!(
        |(x, w, b): &Inputs| kernels::conv2d(x.clone(), w.clone(), Some(b.clone()), c.stride, c.padding),
        x,
        weight,
        bias
    );
    compare(&format!("{c:?}"), ours, expected);
    let side = |side: usize| (side + 2 * c.padding - c.kernel) / c.stride + 1;
    let added = ([c.batch, c.outputs, side(c.height), side(c.width)], 4);
    type WithAdded = (Tensor<4>, Tensor<4>, Tensor<1>, Tensor<4>);
    let expected = pass!(
        |(x, w, b, a): &WithAdded| {
            module::conv2d(x.clone(), w.clone(), Some(b.clone()), options()) + a.clone()
        },
        x,
        weight,
        bias,
        added
    );
    let ours = pass!(
        |(x, w, b, a): &WithAdded| {
            kernels::conv2d_added(x.clone(), w.clone(), b.clone(), c.stride, c.padding, a.clone())
        },
        x,
        weight,
        bias,
        added
    );
    compare(&format!("{c:?} and a sum"), ours, expected);
}

fn check_norm(shape: [usize; 4], groups: usize, silu: bool) {
    let (x, gamma, beta) = ((shape, 1), ([shape[1]], 2), ([shape[1]], 3));
    type Inputs = (Tensor<4>, Tensor<1>, Tensor<1>);
    let expected = pass!(
        |(x, gamma, beta): &Inputs| {
            let [n, c, h, w] = x.dims();
            let grouped = x.clone().reshape([n, groups, c / groups * h * w]);
            let centred = grouped.clone() - grouped.mean_dim(2);
            let variance = centred.clone().powi_scalar(2).mean_dim(2);
            let normal = (centred / (variance + 1e-5).sqrt()).reshape([n, c, h, w]);
            let z = normal * gamma.clone().reshape([1, c, 1, 1]) + beta.clone().reshape([1, c, 1, 1]);
            if silu { activation::silu(z) } else { z }
        },
        x,
        gamma,
        beta
    );
    let ours = pass!(
        |(x, gamma, beta): &Inputs| kernels::group_norm(
            x.clone(),
            gamma.clone(),
            beta.clone(),
            groups,
            1e-5,
            silu
        ),
        x,
        gamma,
        beta
    );
    compare(&format!("group norm {shape:?} in {groups}, silu {silu}"), ours, expected);
}

fn check_linear(rows: [usize; 2], inputs: usize, outputs: usize) {
    let x = ([rows[0], rows[1], inputs], 1);
    let (weight, bias) = (([outputs, inputs], 2), ([outputs], 3));
    type Inputs = (Tensor<3>, Tensor<2>, Tensor<1>);
    let expected = pass!(
        |(x, w, b): &Inputs| {
            let y = x.clone().reshape([rows[0] * rows[1], inputs]).matmul(w.clone().transpose());
            (y + b.clone().unsqueeze()).reshape([rows[0], rows[1], outputs])
        },
        x,
        weight,
        bias
    );
    let ours =
        pass!(|(x, w, b): &Inputs| kernels::linear(x.clone(), w.clone(), Some(b.clone())), x, weight, bias);
    compare(&format!("linear {rows:?} {inputs} to {outputs}"), ours, expected);
}

fn check_attention(shape: [usize; 3], heads: usize) {
    let scale = 0.7;
    let [n, c, l] = shape;
    type Inputs = (Tensor<3>, Tensor<3>, Tensor<3>);
    let split = |t: &Tensor<3>| t.clone().reshape([n, heads, c / heads, l]).swap_dims(2, 3);
    let expected = pass!(
        |(q, k, v): &Inputs| {
            let scores = split(q).matmul(split(k).swap_dims(2, 3)) * scale;
            let y = activation::softmax(scores, 3).matmul(split(v));
            y.swap_dims(2, 3).reshape(shape)
        },
        (shape, 1),
        (shape, 2),
        (shape, 3)
    );
    let pixels = pass!(
        |(q, k, v): &Inputs| kernels::pixel_attention(q.clone(), k.clone(), v.clone(), heads, scale),
        (shape, 1),
        (shape, 2),
        (shape, 3)
    );
    let rows = pass!(
        |(q, k, v): &Inputs| {
            let y = kernels::attention(split(q), split(k), split(v), scale);
            y.swap_dims(2, 3).reshape(shape)
        },
        (shape, 1),
        (shape, 2),
        (shape, 3)
    );
    close("two layouts", &rows.0[0], &pixels.0[0], 0.0);
    compare(&format!("attention {shape:?}, {heads} heads"), pixels, expected);
}

fn on_every_set(check: impl Fn()) {
    for set in InstructionSet::available() {
        set.force(&check);
    }
}

#[test]
fn convolutions_of_the_networks() {
    let base =
        Conv { batch: 3, channels: 16, outputs: 16, height: 16, width: 16, kernel: 3, stride: 1, padding: 1 };
    on_every_set(|| {
        for (channels, outputs) in [(3, 16), (16, 16), (22, 45), (45, 90), (16, 3), (64, 32)] {
            check_conv(Conv { channels, outputs, ..base });
            check_conv(Conv { channels, outputs, stride: 2, ..base });
            check_conv(Conv { channels, outputs, kernel: 1, padding: 0, ..base });
            check_conv(Conv { channels, outputs, padding: 0, height: 8, width: 8, ..base });
        }
    });
}

/// Sizes that blocks of 4x4 results divide: several images in a vector, one in a few, rows of one width.
#[test]
fn convolutions_in_large_blocks() {
    let base =
        Conv { batch: 1, channels: 16, outputs: 16, height: 16, width: 16, kernel: 3, stride: 1, padding: 1 };
    on_every_set(|| {
        for (batch, height, width) in [
            (101, 4, 4),
            (26, 8, 8),
            (3, 32, 32),
            (9, 12, 16),
            (1, 64, 64),
            (2, 4, 64),
            (7, 4, 16),
            (1, 8, 8),
        ] {
            for (channels, outputs) in [(8, 13), (16, 16), (45, 33)] {
                if channels == 16 || batch * height * width < 2000 {
                    check_conv(Conv { batch, channels, outputs, height, width, ..base });
                }
            }
        }
    });
}

#[test]
fn a_convolution_may_lack_its_bias() {
    let device = Device::flex();
    let (x, w) = (tensor([2, 3, 8, 8], 1, &device), tensor([4, 3, 3, 3], 2, &device));
    let ours = kernels::conv2d(x.clone(), w.clone(), None, 1, 1);
    let expected = module::conv2d(x, w, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
    close("without bias", &vector(ours), &vector(expected), 1e-5);
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = Device::flex().autodiff();
    let x = tensor([3, 2, 8, 9], 1, &device).require_grad();
    let w = tensor([4, 3, 3, 3], 2, &device);
    let run = |ours: bool| {
        let view = x.clone().swap_dims(0, 1).slice([0..2, 0..3, 1..7, 2..9]);
        let y = if ours {
            kernels::conv2d(view, w.clone(), None, 1, 1)
        } else {
            module::conv2d(view, w.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
        };
        let gradient = x.grad(&y.clone().mean().backward()).unwrap();
        (vector(y), vector(gradient))
    };
    let (ours, expected) = (run(true), run(false));
    close("view", &ours.0, &expected.0, 1e-5);
    close("gradient of a view", &ours.1, &expected.1, 1e-4);
}

#[test]
fn normalisations_of_the_networks() {
    on_every_set(|| {
        for silu in [false, true] {
            check_norm([3, 16, 16, 16], 8, silu);
            check_norm([2, 22, 7, 5], 11, silu);
            check_norm([2, 45, 4, 4], 5, silu);
            check_norm([2, 6, 1, 1], 2, silu);
        }
    });
}

#[test]
fn attention_of_the_networks() {
    on_every_set(|| {
        check_attention([2, 16, 64], 2);
        check_attention([1, 64, 100], 1);
        check_attention([2, 15, 256], 3);
        check_attention([3, 4, 1], 4);
    });
}

#[test]
fn doubling_and_shifting() {
    on_every_set(|| {
        for shape in [[1, 1, 1, 1], [2, 5, 7, 3], [3, 16, 16, 16]] {
            let [n, c, h, w] = shape;
            type Input = (Tensor<4>,);
            let expected = pass!(
                |(x,): &Input| {
                    let x = x.clone().reshape([n * c, h, 1, w, 1]);
                    let y = x.repeat(&[1, 1, 2, 1, 2]);
                    y.reshape([n, c, 2 * h, 2 * w])
                },
                (shape, 1)
            );
            let ours = pass!(|(x,): &Input| kernels::upsample_nearest_2x(x.clone()), (shape, 1));
            compare("upsampling", ours, expected);
            type Inputs = (Tensor<4>, Tensor<2>);
            let expected = pass!(
                |(x, shift): &Inputs| x.clone() + shift.clone().reshape([n, c, 1, 1]),
                (shape, 1),
                ([n, c], 2)
            );
            let ours = pass!(
                |(x, shift): &Inputs| kernels::add_per_channel(x.clone(), shift.clone()),
                (shape, 1),
                ([n, c], 2)
            );
            compare("shift", ours, expected);
        }
    });
}

#[test]
fn normalisations_of_shifted_images() {
    on_every_set(|| {
        // Of a group of one channel, the shift has no effect.
        for [n, c, h, w, groups] in [[3, 16, 8, 8, 4], [2, 6, 3, 5, 3], [1, 45, 16, 16, 5], [64, 8, 4, 4, 4]]
        {
            type Inputs = (Tensor<4>, Tensor<2>, Tensor<1>, Tensor<1>);
            let inputs = (([n, c, h, w], 1), ([n, c], 2), ([c], 3), ([c], 4));
            let expected = pass!(
                |(x, shift, gamma, beta): &Inputs| {
                    let sum = x.clone() + shift.clone().reshape([n, c, 1, 1]);
                    kernels::group_norm(sum, gamma.clone(), beta.clone(), groups, 1e-5, true)
                },
                inputs.0,
                inputs.1,
                inputs.2,
                inputs.3
            );
            let ours = pass!(
                |(x, shift, gamma, beta): &Inputs| {
                    let (x, shift) = (x.clone(), shift.clone());
                    kernels::group_norm_shifted(x, shift, gamma.clone(), beta.clone(), groups, 1e-5, true)
                },
                inputs.0,
                inputs.1,
                inputs.2,
                inputs.3
            );
            compare(&format!("shifted norm {n}x{c}x{h}x{w} in {groups}"), ours, expected);
        }
    });
}

/// Both move numbers or add four of them, which can be done with burn's bits exactly.
#[test]
fn upsampling_and_joining_are_bit_equal_to_burn() {
    on_every_set(|| {
        for [n, a, b, h, w] in [[1, 1, 1, 1, 1], [2, 5, 3, 7, 3], [3, 45, 90, 8, 8], [64, 16, 22, 16, 16]] {
            type Input = (Tensor<4>,);
            let expected = pass!(
                |(x,): &Input| {
                    let x = x.clone().reshape([n * a, h, 1, w, 1]).expand([n * a, h, 2, w, 2]);
                    x.reshape([n, a, 2 * h, 2 * w])
                },
                ([n, a, h, w], 1)
            );
            let ours = pass!(|(x,): &Input| kernels::upsample_nearest_2x(x.clone()), ([n, a, h, w], 1));
            assert_eq!(ours.0, expected.0, "upsampling {n} {a} {h} {w}");
            type Inputs = (Tensor<4>, Tensor<4>);
            let inputs = (([n, a, h, w], 1), ([n, b, h, w], 2));
            let expected =
                pass!(|(x, y): &Inputs| Tensor::cat(vec![x.clone(), y.clone()], 1), inputs.0, inputs.1);
            let ours =
                pass!(|(x, y): &Inputs| kernels::concat_channels(x.clone(), y.clone()), inputs.0, inputs.1);
            assert_eq!(ours.0, expected.0, "joining {n} {a} {b} {h} {w}");
        }
    });
}

#[test]
fn not_a_number_spreads_over_its_blocks_only() {
    let device = Device::flex();
    on_every_set(|| {
        let mut values = numbers(2 * 16 * 16 * 16, 1);
        values[0] = f32::NAN;
        let x = Tensor::<4>::from_data(TensorData::new(values, [2, 16, 16, 16]), &device);
        let y = vector(kernels::conv2d(x, tensor([16, 16, 3, 3], 2, &device), None, 1, 1));
        for plane in y[..16 * 256].chunks_exact(256) {
            assert!([0, 1, 16, 17].iter().all(|at| plane[*at].is_nan()));
            let block = |at: &usize| at / 16 < 4 && at % 16 < 4;
            assert!((0..256).filter(|at| !block(at)).all(|at| plane[at].is_finite()));
        }
        assert!(y[16 * 256..].iter().all(|y| y.is_finite()));
    });
}

#[test]
fn activation_and_linear_layers() {
    on_every_set(|| {
        for size in [1, 15, 16, 33, 70_000] {
            let expected = pass!(|(x,): &(Tensor<1>,)| activation::silu(x.clone() * 8.0), ([size], 1));
            let ours = pass!(|(x,): &(Tensor<1>,)| kernels::silu(x.clone() * 8.0), ([size], 1));
            compare("silu", ours, expected);
        }
        check_linear([1, 1], 1, 1);
        check_linear([1, 32], 16, 64);
        check_linear([3, 100], 45, 22);
        check_linear([2, 300], 64, 64);
    });
}

#[test]
fn other_number_types_run_on_burn() {
    let device = Device::flex();
    let cast = |t: Tensor<4>| t.cast(burn::tensor::DType::F64);
    let (x, w) = (tensor([1, 2, 5, 5], 1, &device), tensor([3, 2, 3, 3], 2, &device));
    let y = kernels::conv2d(cast(x.clone()), cast(w.clone()), None, 1, 1);
    assert_eq!(y.dtype(), burn::tensor::DType::F64);
    let expected = vector(kernels::conv2d(x, w, None, 1, 1));
    close("f64", &vector(y.cast(burn::tensor::DType::F32)), &expected, 1e-5);
}

#[test]
fn not_a_number_and_infinity_pass_through() {
    let device = Device::flex();
    on_every_set(|| {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut values = numbers(2 * 8 * 8, 1);
            values[0] = bad;
            let x = Tensor::<4>::from_data(TensorData::new(values, [1, 2, 8, 8]), &device);
            let w = tensor([1, 2, 3, 3], 2, &device);
            let y = vector(kernels::conv2d(x.clone(), w, None, 1, 1));
            assert!(!y[0].is_finite() && !y[9].is_finite() && y[2].is_finite() && y[63].is_finite());
            let ones = Tensor::<1>::ones([2], &device);
            let y = vector(kernels::group_norm(x.clone(), ones.clone(), ones, 2, 1e-5, true));
            assert!(y[..64].iter().all(|y| y.is_nan()) && y[64..].iter().all(|y| y.is_finite()));
            let y = vector(kernels::silu(x));
            assert!(y[0].is_nan() == bad.is_nan() && !y[0].is_finite() && y[1].is_finite());
        }
    });
}

#[test]
fn an_image_has_the_same_result_in_every_batch() {
    let device = Device::flex();
    on_every_set(|| {
        for (channels, side) in [(16, 16), (8, 9), (24, 32), (33, 8), (9, 4), (8, 64)] {
            let x = tensor([7, channels, side, side], 1, &device);
            let (w, b) = (tensor([13, channels, 3, 3], 2, &device), tensor([13], 3, &device));
            let gamma = tensor([13], 4, &device);
            let run = |x: Tensor<4>| {
                let y = kernels::conv2d(x, w.clone(), Some(b.clone()), 1, 1);
                let y = kernels::group_norm(y, gamma.clone(), b.clone(), 13, 1e-5, true);
                let y = kernels::pixel_attention(y.clone(), y.clone(), y, 1, 0.3);
                kernels::linear(y.swap_dims(1, 3), tensor([5, 13], 5, &device), None)
            };
            let all = vector(run(x.clone()));
            let one = vector(run(x.narrow(0, 3, 1)));
            let len = one.len();
            assert_eq!(all[3 * len..4 * len], one);
        }
    });
}

/// Everything that a small network computes, as bits.
fn everything() -> Vec<u32> {
    let device = Device::flex().autodiff();
    let x = tensor([5, 16, 16, 16], 1, &device).require_grad();
    let w = tensor([22, 16, 3, 3], 2, &device).require_grad();
    let b = tensor([22], 3, &device).require_grad();
    let d = tensor([70, 22, 3, 3], 4, &device).require_grad();
    let l = tensor([9, 70], 5, &device).require_grad();
    let y = kernels::conv2d(x.clone(), w.clone(), Some(b.clone()), 1, 1);
    let y = kernels::group_norm(y, b.clone(), b.clone(), 11, 1e-5, true);
    let y = kernels::conv2d(y, d.clone(), None, 2, 1);
    let y = kernels::linear(kernels::silu(y).reshape([5, 70, 64]).swap_dims(1, 2), l.clone(), None);
    let y = kernels::attention(
        y.clone().reshape([5, 1, 64, 9]),
        y.clone().reshape([5, 1, 64, 9]),
        y.reshape([5, 1, 64, 9]),
        0.3,
    );
    let grads = y.clone().powi_scalar(2).sum().backward();
    let parts = [
        vector(y),
        vector(x.grad(&grads).unwrap()),
        vector(w.grad(&grads).unwrap()),
        vector(b.grad(&grads).unwrap()),
        vector(d.grad(&grads).unwrap()),
        vector(l.grad(&grads).unwrap()),
    ];
    parts.concat().into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for set in InstructionSet::available() {
        let run = |threads| pool(threads).install(|| set.force(everything));
        let one = run(1);
        assert_eq!(one, run(1));
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn convolutions_of_any_shape(
        batch in 1usize..4, channels in 1usize..20, outputs in 1usize..20,
        height in 1usize..34, width in 1usize..34,
        kernel in prop::sample::select(vec![1usize, 3]), stride in 1usize..3, padding in 0usize..2,
    ) {
        prop_assume!(height + 2 * padding >= kernel && width + 2 * padding >= kernel);
        on_every_set(|| check_conv(Conv { batch, channels, outputs, height, width, kernel, stride, padding }));
    }

    #[test]
    fn normalisations_of_any_shape(
        batch in 1usize..4, groups in 1usize..6, each in 1usize..6,
        height in 1usize..18, width in 1usize..18, silu: bool,
    ) {
        // A group of one number has no spread, and its gradient is nothing but rounding.
        prop_assume!(each * height * width > 3);
        on_every_set(|| check_norm([batch, groups * each, height, width], groups, silu));
    }

    #[test]
    fn attention_of_any_shape(
        // With one position the weights are 1 and the gradients of query and key nothing but rounding.
        batch in 1usize..3, heads in 1usize..4, size in 1usize..20, length in 2usize..140,
    ) {
        on_every_set(|| check_attention([batch, heads * size, length], heads));
    }

    #[test]
    fn linear_layers_of_any_shape(
        batch in 1usize..4, length in 1usize..70, inputs in 1usize..70, outputs in 1usize..70,
    ) {
        on_every_set(|| check_linear([batch, length], inputs, outputs));
    }
}

/// Finite differences of the sum of `y` weighted unevenly, against the gradient.
#[test]
fn gradients_are_slopes() {
    let device = Device::flex().autodiff();
    let run = |x: Vec<f32>| {
        let x = Tensor::<4>::from_data(TensorData::new(x, [1, 2, 5, 4]), &device).require_grad();
        let w = tensor([4, 2, 3, 3], 2, &device);
        let gamma = tensor([4], 3, &device);
        let y = kernels::conv2d(x.clone(), w, None, 1, 1);
        let y = kernels::group_norm(y, gamma.clone(), gamma, 2, 1e-5, true);
        let loss = (y.clone() * tensor(y.dims(), 7, &device)).sum();
        (loss, x)
    };
    let x = numbers(40, 1);
    let (loss, input) = run(x.clone());
    let gradient = vector(input.grad(&loss.backward()).unwrap());
    const STEP: f32 = 1.0 / 128.0;
    for i in 0..x.len() {
        let loss_at = |offset: f32| {
            let mut moved = x.clone();
            moved[i] += offset;
            f64::from(run(moved).0.into_scalar::<f32>())
        };
        let slope = (loss_at(STEP) - loss_at(-STEP)) / f64::from(2.0 * STEP);
        assert!((slope - f64::from(gradient[i])).abs() < 5e-3, "{i}: {slope} for {}", gradient[i]);
    }
}

#[test]
fn checkpointing_devices_work() {
    use burn::tensor::GradientCheckpointingStrategy;
    let device = Device::flex().autodiff();
    let x = tensor([1, 2, 6, 6], 1, &device)
        .with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced)
        .require_grad();
    let w = tensor([3, 2, 3, 3], 2, &Device::flex());
    let y = kernels::conv2d(x.clone() * 2.0, w, None, 1, 1);
    let grads = y.powi_scalar(2).sum().backward();
    assert!(vector(x.grad(&grads).unwrap()).iter().any(|g| *g != 0.0));
}
