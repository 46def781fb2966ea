//! Second moments and products with matrices of a 0/1 matrix, by counting and looking up bits.

use ndarray::{Array1, Array2};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::bits::Bits;

/// Entries of a row that are looked up at once in [`Bits::times_matrix`].
const NIBBLE: usize = 4;
/// Columns of the other matrix multiplied at a time: their tables of sums stay in a core's cache.
const CHUNK: usize = 32;
/// Words of a column counted at a time.
const WORDS: usize = 8;
/// Largest number of times a row may count in [`Columns::gram`].
pub(crate) const MOST_TIMES: u32 = 255;

/// The columns of a 0/1 matrix, 64 rows a word.
pub(crate) struct Columns {
    count: usize,
    rows: usize,
    /// Words of one column, a multiple of [`WORDS`].
    words: usize,
    bits: Vec<u64>,
}

impl Columns {
    /// The columns of a matrix given by its transpose.
    pub(crate) fn of(transposed: &Bits) -> Columns {
        let (count, rows) = (transposed.rows(), transposed.columns());
        let words = rows.div_ceil(64 * WORDS) * WORDS;
        let mut bits = vec![0u64; count * words];
        for (column, into) in bits.chunks_exact_mut(words.max(1)).enumerate() {
            for (word, bytes) in into.iter_mut().zip(transposed.row(column).chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(whole);
            }
        }
        Columns { count, rows, words, bits }
    }

    /// `X' diag(times) X`: how often both of two columns are one when row r occurs `times[r]` times, at most [`MOST_TIMES`].
    /// Counted for each binary digit of `times`, and exact.
    pub(crate) fn gram(&self, times: &[u32]) -> Array2<f64> {
        let (n, words) = (self.count, self.words);
        let digits = u32::BITS - times.iter().fold(0, |all, times| all | times).leading_zeros();
        // For each digit, the rows that have it; without, if all rows do.
        let digits: Vec<(u32, Option<Vec<u64>>)> = (0..digits)
            .map(|digit| {
                let has = |times: &u32| times >> digit & 1 == 1;
                let mut rows = vec![0u64; words];
                for (row, _) in times.iter().enumerate().filter(|(_, times)| has(times)) {
                    rows[row / 64] |= 1 << (row % 64);
                }
                (digit, (!times.iter().all(has) || times.len() < self.rows).then_some(rows))
            })
            .collect();
        let mut gram = vec![0.0; n * n];
        gram.par_chunks_mut(n.max(1)).enumerate().for_each_init(
            || vec![0u64; words],
            |masked, (column, sums)| {
                for (digit, rows) in &digits {
                    let own = &self.bits[column * words..][..words];
                    match rows {
                        None => masked.copy_from_slice(own),
                        Some(rows) => {
                            masked
                                .iter_mut()
                                .zip(own)
                                .zip(rows)
                                .for_each(|((to, own), rows)| *to = own & rows);
                        }
                    }
                    let others = &self.bits[..(column + 1) * words];
                    let scale = f64::from(1u32 << digit);
                    Arch::new().dispatch(CountCommon { own: masked, others, scale, sums });
                }
            },
        );
        let mut gram = Array2::from_shape_vec((n, n), gram).unwrap_or_default();
        for row in 0..n {
            for column in row + 1..n {
                gram[[row, column]] = gram[[column, row]];
            }
        }
        gram
    }
}

/// Adds `scale` times the number of ones that `own` has in common with each of the `others` to `sums`.
struct CountCommon<'a> {
    own: &'a [u64],
    others: &'a [u64],
    scale: f64,
    sums: &'a mut [f64],
}

impl WithSimd for CountCommon<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (sum, other) in self.sums.iter_mut().zip(self.others.chunks_exact(self.own.len())) {
            let mut counts = [0u64; WORDS];
            for (own, other) in self.own.chunks_exact(WORDS).zip(other.chunks_exact(WORDS)) {
                for lane in 0..WORDS {
                    counts[lane] += u64::from((own[lane] & other[lane]).count_ones());
                }
            }
            *sum += self.scale * counts.iter().sum::<u64>() as f64;
        }
    }
}

/// A product of bits with a matrix, [`CHUNK`] columns at a time.
pub(crate) struct Product {
    rows: usize,
    columns: usize,
    /// For each chunk of columns: its rows, each [`CHUNK`] long.
    chunks: Vec<f64>,
}

impl Bits {
    /// `X M`, for a matrix with one row a column of X.
    ///
    /// The sums of all subsets of four rows of M are tabled, so that four rows cost one addition. Each entry is summed in an
    /// order of its own.
    pub(crate) fn times_matrix(&self, matrix: &Array2<f64>) -> Product {
        let (rows, columns) = (self.rows(), matrix.ncols());
        let mut chunks = vec![0.0; columns.div_ceil(CHUNK) * rows * CHUNK];
        chunks.par_chunks_mut((rows * CHUNK).max(1)).enumerate().for_each(|(chunk, into)| {
            Arch::new().dispatch(LookUp { bits: self, matrix, first: chunk * CHUNK, into });
        });
        Product { rows, columns, chunks }
    }
}

struct LookUp<'a> {
    bits: &'a Bits,
    matrix: &'a Array2<f64>,
    first: usize,
    into: &'a mut [f64],
}

impl WithSimd for LookUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const SUMS: usize = 1 << NIBBLE;
        let (members, columns) = self.matrix.dim();
        let width = CHUNK.min(columns - self.first);
        // Two tables a byte of bits.
        let mut tables = vec![[[0.0; CHUNK]; SUMS]; 2 * members.div_ceil(2 * NIBBLE)];
        for member in 0..members {
            let (table, place) = (&mut tables[member / NIBBLE], member % NIBBLE);
            let row: [f64; CHUNK] = std::array::from_fn(|column| {
                if column < width { self.matrix[[member, self.first + column]] } else { 0.0 }
            });
            let (known, new) = table.split_at_mut(1 << place);
            for (new, known) in new.iter_mut().zip(known.iter()) {
                for lane in 0..CHUNK {
                    new[lane] = known[lane] + row[lane];
                }
            }
        }
        for (row, into) in self.into.chunks_exact_mut(CHUNK).enumerate() {
            let mut sums = [0.0; CHUNK];
            for (byte, tables) in self.bits.row(row).iter().zip(tables.chunks_exact(2)) {
                let (low, high) = (&tables[0][usize::from(byte % 16)], &tables[1][usize::from(byte / 16)]);
                for lane in 0..CHUNK {
                    sums[lane] += low[lane] + high[lane];
                }
            }
            into.copy_from_slice(&sums);
        }
    }
}

impl Product {
    /// For each row x of the bits, its product with its own row of this: `x'M x`.
    pub(crate) fn quadratic_forms(&self, bits: &Bits) -> Vec<f64> {
        let mut forms = vec![0.0; self.rows];
        for (chunk, rows) in self.chunks.chunks_exact((self.rows * CHUNK).max(1)).enumerate() {
            let start = chunk * CHUNK / 8;
            for (row, (form, values)) in forms.iter_mut().zip(rows.chunks_exact(CHUNK)).enumerate() {
                let bytes = bits.row(row);
                let bytes = &bytes[start..bytes.len().min(start + CHUNK / 8)];
                let mut lanes = [0.0; 8];
                for (byte, values) in bytes.iter().zip(values.chunks_exact(8)) {
                    for (lane, value) in values.iter().enumerate() {
                        lanes[lane] += if byte >> lane & 1 == 1 { *value } else { 0.0 };
                    }
                }
                *form += lanes.iter().sum::<f64>();
            }
        }
        forms
    }

    /// For each column, the sum over the rows r of `weights[r]` times the square of its entry.
    pub(crate) fn weighted_squares(&self, weights: &[f64]) -> Array1<f64> {
        let sums: Vec<[f64; CHUNK]> = self
            .chunks
            .par_chunks_exact((self.rows * CHUNK).max(1))
            .map(|rows| Arch::new().dispatch(Squares { rows, weights }))
            .collect();
        Array1::from_iter(sums.into_iter().flatten().take(self.columns))
    }

    /// Row by row, the entries.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = f64> + '_ {
        let chunks = self.chunks.chunks_exact((self.rows * CHUNK).max(1));
        chunks.flat_map(move |rows| rows[row * CHUNK..][..CHUNK].iter().copied()).take(self.columns)
    }
}

struct Squares<'a> {
    rows: &'a [f64],
    weights: &'a [f64],
}

impl WithSimd for Squares<'_> {
    type Output = [f64; CHUNK];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; CHUNK] {
        let mut sums = [0.0; CHUNK];
        for (row, weight) in self.rows.chunks_exact(CHUNK).zip(self.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value * value;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_and_products_are_the_plain_sums(rows in 1usize..200, columns in 1usize..80, seed in any::<u64>()) {
            let mixed = |row: usize, column: usize| {
                (seed ^ (row * 300 + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            let one = |row: usize, column: usize| f64::from(u8::from(mixed(row, column) >> 62 == 0));
            let bits = Bits::new(columns, (0..rows).map(|row| (0..columns).filter(move |&c| mixed(row, c) >> 62 == 0)));
            let times: Vec<u32> = (0..rows).map(|row| (mixed(row, 1000) >> 61) as u32).collect();
            let gram = Columns::of(&bits.transposed()).gram(&times);
            let plain = Columns::of(&bits.transposed()).gram(&vec![1; rows]);
            for i in 0..columns {
                for j in 0..columns {
                    let sum = |weight: &dyn Fn(usize) -> f64| (0..rows).map(|row| weight(row) * one(row, i) * one(row, j)).sum::<f64>();
                    prop_assert_eq!(gram[[i, j]], sum(&|row| f64::from(times[row])));
                    prop_assert_eq!(plain[[i, j]], sum(&|_| 1.0));
                }
            }
            // Sums of integers are exact in any order.
            let matrix = Array2::from_shape_fn((columns, columns), |(i, j)| (i * 7 + j) as f64);
            let product = bits.times_matrix(&matrix);
            let forms = product.quadratic_forms(&bits);
            let weights: Vec<f64> = times.iter().map(|&times| f64::from(times)).collect();
            let squares = product.weighted_squares(&weights);
            let entry = |row: usize, j: usize| (0..columns).map(|i| one(row, i) * matrix[[i, j]]).sum::<f64>();
            for (row, form) in forms.into_iter().enumerate() {
                let expected: Vec<f64> = (0..columns).map(|j| entry(row, j)).collect();
                prop_assert_eq!(product.row(row).collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(form, (0..columns).map(|j| one(row, j) * expected[j]).sum::<f64>());
            }
            for j in 0..columns {
                prop_assert_eq!(squares[j], (0..rows).map(|row| weights[row] * entry(row, j).powi(2)).sum::<f64>());
            }
        }
    }
}
