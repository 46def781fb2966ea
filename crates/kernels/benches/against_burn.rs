//! Each function against burn's own operations on Flex: forward alone, and forward with backward.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor, activation, module};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let tensor = Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// Times `layer` on the inputs made by `inputs`, without and with its gradients.
fn layer<I>(
    c: &mut Criterion,
    name: &str,
    inputs: impl Fn(&Device) -> I,
    ours: impl Fn(&I) -> Tensor<4>,
    burn: impl Fn(&I) -> Tensor<4>,
) {
    let mut group = c.benchmark_group(name);
    let plain = inputs(&Device::flex());
    let tracked = inputs(&Device::flex().autodiff());
    for (who, layer) in [("ours", &ours as &dyn Fn(&I) -> Tensor<4>), ("burn", &burn)] {
        group.bench_function(format!("{who} forward"), |b| {
            b.iter(|| black_box(layer(&plain)));
        });
        group.bench_function(format!("{who} forward and backward"), |b| {
            b.iter(|| black_box(layer(&tracked).sum().backward()));
        });
    }
    group.finish();
}

/// A convolution's batch, channels, side, outputs, kernel and stride.
const CONVOLUTIONS: [[usize; 6]; 12] = [
    [64, 3, 16, 16, 3, 1],
    [64, 16, 16, 16, 3, 1],
    [64, 22, 16, 22, 3, 1],
    [64, 32, 16, 32, 3, 1],
    [64, 32, 8, 64, 3, 1],
    [64, 64, 4, 64, 3, 1],
    [64, 32, 16, 32, 3, 2],
    [64, 64, 16, 64, 1, 1],
    [32, 64, 32, 64, 3, 1],
    [32, 128, 16, 128, 3, 1],
    [16, 256, 16, 256, 3, 1],
    [16, 512, 8, 256, 3, 1],
];

fn convolutions(c: &mut Criterion) {
    for [batch, channels, side, outputs, kernel, stride] in CONVOLUTIONS {
        let padding = kernel / 2;
        layer(
            c,
            &format!("conv {batch}x{channels}x{side}x{side} to {outputs}, {kernel}x{kernel} by {stride}"),
            |device| {
                (
                    random([batch, channels, side, side], device),
                    random([outputs, channels, kernel, kernel], device),
                    random([outputs], device),
                )
            },
            |(x, w, b)| kernels::conv2d(x.clone(), w.clone(), Some(b.clone()), stride, padding),
            |(x, w, b)| {
                let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
                module::conv2d(x.clone(), w.clone(), Some(b.clone()), options)
            },
        );
    }
}

fn normalisations(c: &mut Criterion) {
    for [batch, channels, side, groups] in [[64, 32, 16, 8], [32, 128, 16, 32]] {
        layer(
            c,
            &format!("group norm and silu {batch}x{channels}x{side}x{side} in {groups}"),
            |device| {
                (
                    random([batch, channels, side, side], device),
                    random([channels], device),
                    random([channels], device),
                )
            },
            |(x, gamma, beta)| {
                kernels::group_norm(x.clone(), gamma.clone(), beta.clone(), groups, 1e-5, true)
            },
            |(x, gamma, beta)| {
                let block = channels / groups * side * side;
                let grouped = x.clone().reshape([batch, groups, block]);
                let centred = grouped.clone() - grouped.mean_dim(2);
                let variance = centred.clone().powi_scalar(2).mean_dim(2);
                let normal = centred / (variance + 1e-5).sqrt();
                let shape = [1, channels, 1, 1];
                let normal = normal.reshape([batch, channels, side, side]);
                activation::silu(normal * gamma.clone().reshape(shape) + beta.clone().reshape(shape))
            },
        );
    }
}

fn linear_layers(c: &mut Criterion) {
    for [rows, inputs, outputs] in [[64, 64, 256], [8192, 64, 64], [8192, 128, 128]] {
        layer(
            c,
            &format!("linear {rows}x{inputs} to {outputs}"),
            |device| {
                (
                    random([1, 1, rows, inputs], device),
                    random([outputs, inputs], device),
                    random([outputs], device),
                )
            },
            |(x, w, b)| kernels::linear(x.clone(), w.clone(), Some(b.clone())),
            |(x, w, b)| {
                let y = x.clone().reshape([rows, inputs]).matmul(w.clone().transpose());
                (y + b.clone().unsqueeze()).reshape([1, 1, rows, outputs])
            },
        );
    }
}

fn attentions(c: &mut Criterion) {
    for [batch, channels, side, heads] in [[64, 64, 8, 8], [32, 128, 16, 16], [16, 256, 16, 1]] {
        let size = channels / heads;
        let scale = 1.0 / (size as f64).sqrt();
        layer(
            c,
            &format!("attention {batch}x{channels}x{side}x{side}, {heads} heads"),
            |device| [(); 3].map(|()| random([batch, channels, side, side], device)),
            |[q, k, v]| kernels::pixel_attention(q.clone(), k.clone(), v.clone(), heads, scale),
            |inputs| {
                let [q, k, v] = inputs
                    .each_ref()
                    .map(|t| t.clone().reshape([batch, heads, size, side * side]).swap_dims(2, 3));
                let weights = activation::softmax(q.matmul(k.swap_dims(2, 3)) * scale, 3);
                let y = weights.matmul(v).swap_dims(2, 3);
                y.reshape([batch, channels, side, side])
            },
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = convolutions, normalisations, linear_layers, attentions
}
criterion_main!(benches);
