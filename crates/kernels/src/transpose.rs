//! Transposing a matrix.

use crate::cpu::InstructionSet;

/// Rows and columns of the blocks that are transposed in registers.
const BLOCK: usize = 8;

/// Writes the transpose of `matrix` (`rows` x `columns`) into `into`, whose rows are `stride`
/// numbers long; those past `rows` become zero.
pub(crate) fn transpose(
    set: InstructionSet,
    matrix: &[f32],
    rows: usize,
    columns: usize,
    stride: usize,
    into: &mut [f32],
) {
    transpose_part(set, matrix, columns, rows, columns, stride, into);
}

/// As [`transpose`], for the first `columns` of a matrix whose rows are `pitch` numbers apart.
pub(crate) fn transpose_part(
    set: InstructionSet,
    matrix: &[f32],
    pitch: usize,
    rows: usize,
    columns: usize,
    stride: usize,
    into: &mut [f32],
) {
    assert!(rows > 0 && pitch >= columns && matrix.len() >= (rows - 1) * pitch + columns);
    assert!(into.len() >= columns * stride && stride >= rows);
    let block: unsafe fn(*const f32, usize, *mut f32, usize) = match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 | InstructionSet::Avx512 => avx2_block,
        _ => portable_block,
    };
    let (whole_rows, whole_columns) = (rows - rows % BLOCK, columns - columns % BLOCK);
    for row in (0..whole_rows).step_by(BLOCK) {
        for column in (0..whole_columns).step_by(BLOCK) {
            // SAFETY: the block lies inside both matrices, whose sizes were checked, and the set
            // is available.
            unsafe {
                block(
                    matrix.as_ptr().add(row * pitch + column),
                    pitch,
                    into.as_mut_ptr().add(column * stride + row),
                    stride,
                );
            }
        }
        for column in whole_columns..columns {
            for i in row..row + BLOCK {
                into[column * stride + i] = matrix[i * pitch + column];
            }
        }
    }
    if whole_rows < stride {
        for column in 0..columns {
            for row in whole_rows..rows {
                into[column * stride + row] = matrix[row * pitch + column];
            }
            into[column * stride + rows..(column + 1) * stride].fill(0.0);
        }
    }
}

unsafe fn portable_block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    for i in 0..BLOCK {
        for j in 0..BLOCK {
            // SAFETY: inside the block the caller gives.
            unsafe { *to.add(j * to_stride + i) = *from.add(i * from_stride + j) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2_block(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    use std::arch::x86_64::*;
    // SAFETY: reads and writes stay inside the blocks that the caller gives.
    unsafe {
        let row: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * from_stride)));
        // Pairs of rows, then fours, interleaved within each half; then the halves are exchanged.
        let low = |i: usize| _mm256_unpacklo_ps(row[i], row[i + 1]);
        let high = |i: usize| _mm256_unpackhi_ps(row[i], row[i + 1]);
        let four = |a: __m256, b: __m256| [_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b)];
        let [a0, a1] = four(low(0), low(2));
        let [a2, a3] = four(high(0), high(2));
        let [b0, b1] = four(low(4), low(6));
        let [b2, b3] = four(high(4), high(6));
        for (j, (a, b)) in [(a0, b0), (a1, b1), (a2, b2), (a3, b3)].into_iter().enumerate() {
            _mm256_storeu_ps(to.add(j * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
            _mm256_storeu_ps(to.add((j + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_and_pads() {
        for set in InstructionSet::available() {
            for (rows, columns, stride) in [(5, 7, 16), (8, 8, 8), (19, 33, 32), (16, 9, 16), (1, 1, 1)] {
                let matrix: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
                let mut into = vec![f32::NAN; columns * stride];
                transpose(set, &matrix, rows, columns, stride, &mut into);
                for column in 0..columns {
                    for row in 0..stride {
                        let expected = if row < rows { (row * columns + column) as f32 } else { 0.0 };
                        assert_eq!(into[column * stride + row], expected, "{set:?} {rows}x{columns}");
                    }
                }
            }
        }
    }
}
