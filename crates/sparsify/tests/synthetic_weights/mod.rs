//! Weights as a formula of the parameter's name and index: the Rust side of `fixtures/generate_torch_pruning.py`.

// Each test uses its own part of this.
#![allow(dead_code)]

use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, TensorF32, UNet2DConfig};

/// Numbers in [0, 1): SplitMix64 seeded with the FNV-1a hash of the name, top 24 bits.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, fnv);
    (1..=count as u64).map(move |i| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
    })
}

/// The value of a parameter, or of the network input `sample`.
pub fn synthetic(name: &str, shape: &[usize]) -> TensorF32 {
    let count: usize = shape.iter().product();
    let centred = uniform(name, count).map(|u| 2.0 * u - 1.0);
    let data: Vec<f32> = if name == "sample" {
        centred.map(|v| (1.5 * v) as f32).collect()
    } else if name.ends_with("bias") {
        centred.map(|v| (0.1 * v) as f32).collect()
    } else if shape.len() == 1 {
        centred.map(|v| (1.0 + 0.1 * v) as f32).collect()
    } else {
        let fan_in = count / shape[0];
        let rows: Vec<f64> = uniform(&format!("{name}/rows"), shape[0]).map(|u| 0.5 + u).collect();
        let scale = (3.0 / fan_in as f64).sqrt();
        centred.enumerate().map(|(i, v)| (v * rows[i / fan_in] * scale) as f32).collect()
    };
    TensorF32::new(shape, data).unwrap()
}

/// All parameters of a network.
pub fn weights(config: &UNet2DConfig) -> StateDict {
    let shapes = Layout::of(config).unwrap().parameter_shapes();
    shapes.into_iter().map(|(name, shape)| (name.clone(), synthetic(&name, &shape))).collect()
}
