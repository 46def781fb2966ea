//! Clipping of the gradients by their common norm, as `torch.nn.utils.clip_grad_norm_`.

use burn::tensor::Tensor;

/// Values summed at once. Longer sums may be split among threads by chance of timing, which would change the rounding
/// from run to run.
const CHUNK: usize = 1 << 20;

/// The sum of squares of a row of numbers, `[1]`; the same bits each time on the CPU.
pub fn squared_norm(values: Tensor<1>) -> Tensor<1> {
    let count = values.dims()[0];
    let squares = values.clone() * values;
    if count <= CHUNK {
        return squares.sum();
    }
    let parts = squares.split(CHUNK, 0).into_iter().map(Tensor::sum).collect();
    Tensor::cat(parts, 0).sum()
}

/// What to multiply the gradients by so that their common norm is at most `max_norm`:
/// min(1, max_norm / (norm + 1e-6)), in 32 bits.
pub fn clip_coefficient(norm: f32, max_norm: f32) -> f32 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{from_slice, to_vec};
    use burn::tensor::Device;

    #[test]
    fn long_rows_are_summed_whole() {
        let n = 2 * CHUNK + 3;
        let ones = from_slice(&vec![2.0; n], &Device::flex());
        assert_eq!(to_vec(squared_norm(ones)).unwrap(), [4.0 * n as f32]);
        assert_eq!(to_vec(squared_norm(from_slice(&[3.0, -4.0], &Device::flex()))).unwrap(), [25.0]);
    }

    #[test]
    fn small_norms_are_left_alone() {
        assert_eq!(clip_coefficient(0.5, 1.0), 1.0);
        assert_eq!(clip_coefficient(0.0, 1.0), 1.0);
        assert!((clip_coefficient(4.0, 1.0) - 0.25).abs() < 1e-6);
    }
}
