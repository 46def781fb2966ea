//! Weights by a formula of their names: `fixtures/formula_weights.py` in Rust.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

/// A tensor by its name and shape.
pub fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed =
        name.bytes().fold(0x811C_9DC5u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let count: usize = shape.iter().product();
    let gain = name.ends_with("running_var") || (name.ends_with("weight") && shape.len() == 1);
    let shift = name.ends_with("running_mean") || name.ends_with("bias");
    let bound = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
    (0..count as u32)
        .map(|index| {
            let mut x = index.wrapping_mul(2_654_435_761).wrapping_add(seed);
            x ^= x >> 15;
            x = x.wrapping_mul(2_246_822_519);
            x ^= x >> 13;
            let u = f64::from(x >> 8) / f64::from(1 << 24);
            let value = match (shift, gain) {
                (true, _) => 0.2 * (u - 0.5),
                (false, true) => 1.0 + 0.5 * (u - 0.5),
                (false, false) => (2.0 * u - 1.0) * bound,
            };
            value as f32
        })
        .collect()
}

/// A picture by its size, `[height, width, 3]`.
pub fn picture(height: usize, width: usize) -> Vec<u8> {
    let places = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c))));
    places.map(|(y, x, c)| ((3 * x + 5 * y + 40 * c + x * y / 7) % 256) as u8).collect()
}

/// Names, shapes and values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of a list of names and shapes.
pub fn tensors(shapes: &str) -> Tensors {
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(shapes).unwrap();
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = values(&name, &shape);
            (name, (shape, values))
        })
        .collect()
}

/// Writes a safetensors file, with a counter of whole numbers as PyTorch's batch norms have.
pub fn write(path: &Path, tensors: &Tensors) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let counter = 7i64.to_le_bytes();
    let mut views: Vec<(&str, TensorView)> = tensors
        .iter()
        .map(|(name, (shape, _))| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap())
        })
        .collect();
    views.push(("bn.num_batches_tracked", TensorView::new(Dtype::I64, vec![], &counter).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
