//! 8-bit optimiser states: block-wise dynamic quantisation.
//!
//! A row of numbers is cut into blocks; each block is divided by its largest absolute value, and each number becomes the
//! 8-bit code of the nearest value of a [`DynamicMap`]. Two bytes a parameter replace eight, with the relative precision
//! kept over seven decades. Source: Dettmers, Lewis, Shleifer and Zettlemoyer 2022, "8-bit Optimizers via Block-wise
//! Quantization", <https://arxiv.org/abs/2110.02861>, sections 2 and 2.1; the maps and the rounding are bitsandbytes'.

use std::sync::LazyLock;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::adam::Moments;
use super::config::OptimizerConfig;
use crate::parameters::{from_slice, to_vec};

/// States of parameters with fewer values than this stay 32-bit, as in bitsandbytes: they are small, and their blocks
/// would be cut short.
pub const SMALLEST_QUANTIZED: usize = 4096;

/// The 256 values that codes stand for, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicMap {
    values: [f32; 256],
    /// The middles between neighbours.
    bounds: [f32; 255],
}

impl DynamicMap {
    /// For numbers of both signs, from -0.993 to 1: a sign, an exponent of 0 to 6 zeros, and a fraction of the bits left.
    pub fn signed() -> &'static Self {
        static MAP: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
        &MAP
    }

    /// For numbers of 0 or more: the bit of the sign goes to the fraction.
    pub fn unsigned() -> &'static Self {
        static MAP: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));
        &MAP
    }

    /// bitsandbytes' `create_dynamic_map`: for each power of ten from -6 to 0, the middles of 2^i (unsigned: 2^(i+1))
    /// equal parts of 0.1 to 1, with both signs if signed; and 0 and 1.
    fn new(signed: bool) -> Self {
        let mut values = Vec::with_capacity(256);
        for exponent in 0..7 {
            let parts = 1usize << if signed { exponent } else { exponent + 1 };
            let power = 10f64.powi(exponent - 6) as f32;
            for part in 0..parts {
                let middle = (tenth_to_one(part, parts) + tenth_to_one(part + 1, parts)) / 2.0;
                values.push(power * middle);
                if signed {
                    values.push(-power * middle);
                }
            }
        }
        values.extend([0.0, 1.0]);
        values.sort_unstable_by(f32::total_cmp);
        // 2 (1 + 2 + ... + 64) + 2 = 256 in both cases.
        let values: [f32; 256] = std::array::from_fn(|i| values[i]);
        let bounds = std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0);
        Self { values, bounds }
    }

    /// The value of each code, ascending.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    /// The code of the nearest value; of two as near, the smaller. `number` is in [-1, 1].
    pub fn code(&self, number: f32) -> u8 {
        // At most 255, the number of bounds.
        self.bounds.partition_point(|&bound| bound < number) as u8
    }

    /// Codes of `numbers`, block by block.
    pub fn quantize(&self, numbers: &[f32], block_size: usize) -> QuantizedRow {
        let mut codes = vec![0; numbers.len()];
        let scales = codes
            .par_chunks_mut(block_size)
            .zip(numbers.par_chunks(block_size))
            .map(|(codes, numbers)| {
                let largest = numbers.iter().fold(0.0f32, |m, n| m.max(n.abs()));
                let inverse = 1.0 / largest.max(1e-38);
                for (code, number) in codes.iter_mut().zip(numbers) {
                    *code = self.code((number * inverse).clamp(-1.0, 1.0));
                }
                largest
            })
            .collect();
        QuantizedRow { codes, scales }
    }

    /// The numbers that a row of codes stands for.
    pub fn dequantize(&self, row: &QuantizedRow, block_size: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; row.codes.len()];
        numbers.par_chunks_mut(block_size).zip(row.codes.par_chunks(block_size)).zip(&row.scales).for_each(
            |((numbers, codes), scale)| {
                for (number, &code) in numbers.iter_mut().zip(codes) {
                    *number = self.values[usize::from(code)] * scale;
                }
            },
        );
        numbers
    }
}

/// Point `i` of `parts + 1` from 0.1 to 1, as `torch.linspace` has it in 32 bits: counted from the nearer end.
fn tenth_to_one(i: usize, parts: usize) -> f32 {
    let step = (1.0f32 - 0.1) / parts as f32;
    // Fused, as torch's vectorised code is.
    if i < parts.div_ceil(2) { step.mul_add(i as f32, 0.1) } else { (-step).mul_add((parts - i) as f32, 1.0) }
}

/// A row of numbers in 8 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedRow {
    /// One code a number.
    pub codes: Vec<u8>,
    /// The largest absolute value of each block.
    pub scales: Vec<f32>,
}

/// The state of one parameter, on the host where it is 8-bit.
#[derive(Debug, Clone)]
// One a parameter, and moved in every step: a box would cost more than the space.
#[allow(clippy::large_enum_variant)]
pub(super) enum State {
    /// 32-bit, on the parameter's device.
    Full(Moments),
    /// 8-bit.
    Quantized {
        /// m, by the signed map.
        first: QuantizedRow,
        /// v, by the unsigned map.
        second: QuantizedRow,
    },
}

impl State {
    /// Zeros for a parameter.
    pub(super) fn zeros(config: &OptimizerConfig, values: &Tensor<1>) -> Self {
        let count = values.dims()[0];
        if !config.quantizes(count) {
            return Self::Full(Moments { first: values.zeros_like(), second: values.zeros_like() });
        }
        let zeros = vec![0.0; count];
        Self::Quantized {
            first: DynamicMap::signed().quantize(&zeros, config.block_size),
            second: DynamicMap::unsigned().quantize(&zeros, config.block_size),
        }
    }

    /// The moments as 32-bit rows on `device`.
    pub(super) fn unpack(self, config: &OptimizerConfig, device: &Device) -> Moments {
        match self {
            Self::Full(moments) => moments,
            Self::Quantized { first, second } => Moments {
                first: from_slice(&DynamicMap::signed().dequantize(&first, config.block_size), device),
                second: from_slice(&DynamicMap::unsigned().dequantize(&second, config.block_size), device),
            },
        }
    }

    /// Moments as they are kept between steps. If the device fails to deliver them they stay 32-bit: what it computes next
    /// tells of the failure.
    pub(super) fn pack(config: &OptimizerConfig, moments: Moments) -> Self {
        if !config.quantizes(moments.first.dims()[0]) {
            return Self::Full(moments);
        }
        match (to_vec(moments.first.clone()), to_vec(moments.second.clone())) {
            (Ok(first), Ok(second)) => Self::Quantized {
                first: DynamicMap::signed().quantize(&first, config.block_size),
                second: DynamicMap::unsigned().quantize(&second, config.block_size),
            },
            _ => Self::Full(moments),
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Full(moments) => 4 * (moments.first.dims()[0] + moments.second.dims()[0]),
            Self::Quantized { first, second } => {
                [first, second].map(|row| row.codes.len() + 4 * row.scales.len()).iter().sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_their_own_codes() {
        for map in [DynamicMap::signed(), DynamicMap::unsigned()] {
            assert!(map.values().is_sorted_by(|a, b| a < b));
            for (code, &value) in map.values().iter().enumerate() {
                assert_eq!(usize::from(map.code(value)), code);
            }
        }
        assert_eq!(DynamicMap::signed().values()[255], 1.0);
        assert_eq!(DynamicMap::unsigned().values()[0], 0.0);
    }

    #[test]
    fn each_block_has_a_scale_of_its_own() {
        let map = DynamicMap::signed();
        let numbers: Vec<f32> = (0..10).map(|i| if i < 4 { 1e-6 } else { -(i as f32) }).collect();
        let row = map.quantize(&numbers, 4);
        assert_eq!(row.scales, [1e-6, 7.0, 9.0]);
        for (back, number) in map.dequantize(&row, 4).iter().zip(&numbers) {
            // The widest gap between values in the upper decade is 0.9 / 64 of the scale.
            assert!((back - number).abs() <= number.abs().max(1e-6) * 0.02, "{back} {number}");
        }
        let zeros = map.quantize(&[0.0; 5], 2);
        assert_eq!(map.dequantize(&zeros, 2), [0.0; 5]);
    }
}
