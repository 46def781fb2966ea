//! Second moments and products with matrices of a 0/1 matrix, by counting and looking up bits.

use ndarray::{Array1, Array2};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::bits::Bits;

/// Numbers that are added at once.
const LANES: usize = 8;
/// Entries of a row that are looked up at once in [`Bits::times_matrix`].
const FIELD: usize = 6;
/// Sums there are of a field's entries.
const SUMS: usize = 1 << FIELD;
/// Fields that are looked up before the next row: their tables (4 KiB each) stay in the cache nearest to a core.
const FIELDS: usize = 8;
/// Rows of a word.
const WORD: usize = u64::BITS as usize;
/// Words of a column counted at a time.
const WORDS: usize = 8;
/// Rows that are looked up at once in [`Columns::times`].
const NIBBLE: usize = 4;
/// Largest number of times a row may count in [`Columns::upper_gram`].
pub(crate) const MOST_TIMES: u32 = 255;

/// So many numbers of a row.
type Lanes = [f64; LANES];

/// The columns of a 0/1 matrix, 64 rows a word.
pub(crate) struct Columns {
    count: usize,
    rows: usize,
    /// Words of one column, a multiple of [`WORDS`].
    words: usize,
    bits: Vec<u64>,
}

impl Columns {
    /// The columns of a matrix.
    pub(crate) fn of(matrix: &Bits) -> Columns {
        let (rows, count) = (matrix.rows(), matrix.columns());
        let words = rows.div_ceil(WORD * WORDS) * WORDS;
        let mut bits = vec![0u64; count * words];
        for block in 0..rows.div_ceil(WORD) {
            for first in (0..count).step_by(WORD) {
                let mut square = [0u64; WORD];
                for (word, row) in square.iter_mut().zip(block * WORD..rows) {
                    let bytes = &matrix.row(row)[first / 8..];
                    let mut whole = [0; 8];
                    let known = bytes.len().min(8);
                    whole[..known].copy_from_slice(&bytes[..known]);
                    *word = u64::from_le_bytes(whole);
                }
                Arch::new().dispatch(Transpose { square: &mut square });
                for (column, word) in (first..count).zip(square) {
                    bits[column * words + block] = word;
                }
            }
        }
        Columns { count, rows, words, bits }
    }

    /// `X' diag(times) X / total`, on and above the diagonal, and zero below: how often both of two columns are one when row r
    /// occurs `times[r]` times, at most [`MOST_TIMES`]. Counted for each binary digit of `times`, and exact before the division.
    pub(crate) fn upper_gram(&self, times: &[u32], total: f64) -> Array2<f64> {
        let (n, words) = (self.count, self.words);
        let digits = u32::BITS - times.iter().fold(0, |all, times| all | times).leading_zeros();
        // For each digit, the rows that have it; without, if all rows do.
        let digits: Vec<(u32, Option<Vec<u64>>)> = (0..digits)
            .map(|digit| {
                let has = |times: &u32| times >> digit & 1 == 1;
                let mut rows = vec![0u64; words];
                for (row, _) in times.iter().enumerate().filter(|(_, times)| has(times)) {
                    rows[row / WORD] |= 1 << (row % WORD);
                }
                (digit, (!times.iter().all(has) || times.len() < self.rows).then_some(rows))
            })
            .collect();
        let mut gram = vec![0.0; n * n];
        gram.par_chunks_mut(n.max(1)).with_min_len(16).enumerate().for_each_init(
            || vec![0u64; words],
            |masked, (column, sums)| {
                let (own, others) = (&self.bits[column * words..][..words], &self.bits[column * words..]);
                let sums = &mut sums[column..];
                for (digit, rows) in &digits {
                    let own = match rows {
                        None => own,
                        Some(rows) => {
                            masked
                                .iter_mut()
                                .zip(own)
                                .zip(rows)
                                .for_each(|((to, own), rows)| *to = own & rows);
                            &masked[..]
                        }
                    };
                    let scale = f64::from(1u32 << digit);
                    CountCommon { own, others, scale, sums }.run();
                }
                sums.iter_mut().for_each(|sum| *sum /= total);
            },
        );
        Array2::from_shape_vec((n, n), gram).unwrap_or_default()
    }

    /// `X'v`, of a vector with one entry a row.
    ///
    /// The sums of all subsets of four entries of v are tabled, so that four rows cost one addition. Each entry is summed in an
    /// order of its own.
    pub(crate) fn times(&self, vector: &[f64]) -> Vec<f64> {
        const TABLES: usize = WORD / NIBBLE;
        let mut tables = vec![[0.0; 1 << NIBBLE]; self.words * TABLES];
        for (table, values) in tables.iter_mut().zip(vector.chunks(NIBBLE)) {
            for (place, value) in values.iter().enumerate() {
                let (known, new) = table.split_at_mut(1 << place);
                new.iter_mut().zip(known).for_each(|(new, known)| *new = *known + value);
            }
        }
        let (tables, _) = tables.as_chunks::<TABLES>();
        let mut product = vec![0.0; self.count];
        let columns = self.bits.chunks_exact(self.words.max(1));
        for (sum, column) in product.iter_mut().zip(columns) {
            for (word, tables) in column.iter().zip(tables) {
                let known = |table: usize| tables[table][(word >> (table * NIBBLE)) as usize % (1 << NIBBLE)];
                let quarters: [f64; 4] = std::array::from_fn(|quarter| {
                    let first = 4 * quarter;
                    (known(first) + known(first + 1)) + (known(first + 2) + known(first + 3))
                });
                *sum += (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
            }
        }
        product
    }
}

/// Transposes 64 x 64 bits, bit j of word i being entry (i, j) (Warren, "Hacker's Delight", section 7-3).
struct Transpose<'a> {
    square: &'a mut [u64; WORD],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (mut half, mut mask) = (WORD / 2, u64::MAX >> (WORD / 2));
        while half > 0 {
            for pair in self.square.chunks_exact_mut(2 * half) {
                let (upper, lower) = pair.split_at_mut(half);
                for (upper, lower) in upper.iter_mut().zip(lower) {
                    let changed = (*upper >> half ^ *lower) & mask;
                    *upper ^= changed << half;
                    *lower ^= changed;
                }
            }
            half /= 2;
            mask ^= mask << half;
        }
    }
}

#[cfg(target_arch = "x86_64")]
pulp::simd_type!({
    /// Processors that count the ones of eight words by one instruction.
    struct Counting {
        f: target_feature!("avx512f"),
        bw: target_feature!("avx512bw"),
        dq: target_feature!("avx512dq"),
        vl: target_feature!("avx512vl"),
        count: target_feature!("avx512vpopcntdq"),
    }
});

/// Adds `scale` times the number of ones that `own` has in common with each of the `others` to `sums`.
struct CountCommon<'a> {
    own: &'a [u64],
    others: &'a [u64],
    scale: f64,
    sums: &'a mut [f64],
}

impl CountCommon<'_> {
    /// By the fastest instructions that the processor has. Counts are exact: all give the same.
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = Counting::try_new() {
            return simd.vectorize(self);
        }
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn count(self) {
        let (own, _) = self.own.as_chunks::<WORDS>();
        for (sum, other) in self.sums.iter_mut().zip(self.others.chunks_exact(self.own.len())) {
            let mut counts = [0u64; WORDS];
            for (own, other) in own.iter().zip(other.as_chunks::<WORDS>().0) {
                for lane in 0..WORDS {
                    counts[lane] += u64::from((own[lane] & other[lane]).count_ones());
                }
            }
            *sum += self.scale * counts.iter().sum::<u64>() as f64;
        }
    }
}

impl pulp::NullaryFnOnce for CountCommon<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.count();
    }
}

/// A product of bits with a matrix, [`LANES`] columns at a time.
pub(crate) struct Product {
    rows: usize,
    columns: usize,
    /// For each eight columns: its rows.
    chunks: Vec<Lanes>,
}

/// The rows of a 0/1 matrix in fields of [`FIELD`] bits.
struct Fields {
    /// Fields of a row.
    count: usize,
    fields: Vec<u8>,
}

impl Fields {
    fn of(bits: &Bits) -> Fields {
        let count = bits.columns().div_ceil(FIELD);
        let mut fields = Vec::with_capacity(count * bits.rows());
        for row in 0..bits.rows() {
            let bytes = bits.row(row);
            fields.extend((0..count).map(|field| {
                let (byte, shift) = (field * FIELD / 8, field * FIELD % 8);
                let pair = u16::from_le_bytes([bytes[byte], bytes.get(byte + 1).copied().unwrap_or(0)]);
                (pair >> shift) as u8 % SUMS as u8
            }));
        }
        Fields { count, fields }
    }
}

impl Bits {
    /// `X M`, for a matrix with one row a column of X.
    ///
    /// The sums of all subsets of six rows of M are tabled, so that six rows cost one addition. Each entry is summed in an order
    /// of its own.
    pub(crate) fn times_matrix(&self, matrix: &Array2<f64>) -> Product {
        let (rows, columns) = (self.rows(), matrix.ncols());
        let fields = Fields::of(self);
        let mut chunks = vec![[0.0; LANES]; columns.div_ceil(LANES) * rows];
        chunks.par_chunks_mut(rows.max(1)).enumerate().for_each(|(chunk, into)| {
            Arch::new().dispatch(LookUp { fields: &fields, matrix, first: chunk * LANES, into });
        });
        Product { rows, columns, chunks }
    }
}

/// Sums by field, where no eight numbers lie on two lines of the cache.
#[repr(align(64))]
struct Tables([[Lanes; SUMS]; FIELDS]);

struct LookUp<'a> {
    fields: &'a Fields,
    matrix: &'a Array2<f64>,
    first: usize,
    into: &'a mut [Lanes],
}

impl WithSimd for LookUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { fields: Fields { count, fields }, matrix, first, into } = self;
        let (members, columns) = matrix.dim();
        let mut tables = Tables([[[0.0; LANES]; SUMS]; FIELDS]);
        let tables = &mut tables.0;
        for pass in (0..*count).step_by(FIELDS) {
            let these = FIELDS.min(count - pass);
            for (table, field) in tables.iter_mut().zip(pass..pass + these) {
                for place in 0..FIELD {
                    let member = field * FIELD + place;
                    let row: Lanes = std::array::from_fn(|lane| {
                        let inside = member < members && first + lane < columns;
                        if inside { matrix[[member, first + lane]] } else { 0.0 }
                    });
                    let (known, new) = table.split_at_mut(1 << place);
                    for (new, known) in new.iter_mut().zip(known.iter()) {
                        *new = *known;
                        add(simd, new, &row);
                    }
                }
            }
            for (into, fields) in into.iter_mut().zip(fields.chunks_exact(*count)) {
                let fields = &fields[pass..pass + these];
                let Ok(fields) = <&[u8; FIELDS]>::try_from(fields) else {
                    for (field, table) in fields.iter().zip(&*tables) {
                        add(simd, into, &table[usize::from(*field) % SUMS]);
                    }
                    continue;
                };
                for (place, into) in S::as_mut_simd_f64s(into).0.iter_mut().enumerate() {
                    // Pairs of pairs, so that an addition need not wait for the one before.
                    let mut sums = [simd.splat_f64s(0.0); FIELDS / 2];
                    for pair in 0..FIELDS / 2 {
                        let near = &tables[2 * pair][usize::from(fields[2 * pair]) % SUMS];
                        let far = &tables[2 * pair + 1][usize::from(fields[2 * pair + 1]) % SUMS];
                        sums[pair] =
                            simd.add_f64s(S::as_simd_f64s(near).0[place], S::as_simd_f64s(far).0[place]);
                    }
                    let sum = simd.add_f64s(simd.add_f64s(sums[0], sums[1]), simd.add_f64s(sums[2], sums[3]));
                    *into = simd.add_f64s(*into, sum);
                }
            }
        }
    }
}

/// `to += lanes`.
#[inline(always)]
fn add<S: Simd>(simd: S, to: &mut Lanes, lanes: &Lanes) {
    for (to, lanes) in S::as_mut_simd_f64s(to).0.iter_mut().zip(S::as_simd_f64s(lanes).0) {
        *to = simd.add_f64s(*to, *lanes);
    }
}

/// 1 where a byte has a one, else 0.
static ONES: [Lanes; 256] = {
    let mut ones = [[0.0; LANES]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut lane = 0;
        while lane < LANES {
            if byte >> lane & 1 == 1 {
                ones[byte][lane] = 1.0;
            }
            lane += 1;
        }
        byte += 1;
    }
    ones
};

impl Product {
    /// For each row x of the bits, its product with its own row of this: `x'M x`.
    pub(crate) fn quadratic_forms(&self, bits: &Bits) -> Vec<f64> {
        Arch::new().dispatch(QuadraticForms { product: self, bits })
    }

    /// For each column, the sum over the rows r of `weights[r]` times the square of its entry.
    pub(crate) fn weighted_squares(&self, weights: &[f64]) -> Array1<f64> {
        let sums: Vec<Lanes> = self
            .chunks
            .par_chunks_exact(self.rows.max(1))
            .map(|rows| Arch::new().dispatch(Squares { rows, weights }))
            .collect();
        Array1::from_iter(sums.into_iter().flatten().take(self.columns))
    }

    /// Row by row, the entries.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = f64> + '_ {
        let chunks = self.chunks.chunks_exact(self.rows.max(1));
        chunks.flat_map(move |rows| rows[row]).take(self.columns)
    }
}

struct QuadraticForms<'a> {
    product: &'a Product,
    bits: &'a Bits,
}

impl WithSimd for QuadraticForms<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f64> {
        let Self { product, bits } = self;
        let mut forms = vec![[0.0; LANES]; product.rows];
        // A byte of a row has the lanes of a chunk.
        for (chunk, rows) in product.chunks.chunks_exact(product.rows.max(1)).enumerate() {
            for (row, (form, values)) in forms.iter_mut().zip(rows).enumerate() {
                let ones = &ONES[usize::from(bits.row(row)[chunk])];
                let pairs = S::as_simd_f64s(ones).0.iter().zip(S::as_simd_f64s(values).0);
                for (form, (ones, values)) in S::as_mut_simd_f64s(form).0.iter_mut().zip(pairs) {
                    *form = simd.add_f64s(*form, simd.mul_f64s(*ones, *values));
                }
            }
        }
        forms.iter().map(|form| form.iter().sum()).collect()
    }
}

struct Squares<'a> {
    rows: &'a [Lanes],
    weights: &'a [f64],
}

impl WithSimd for Squares<'_> {
    type Output = Lanes;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Lanes {
        /// Rows whose sums do not wait for each other.
        const APART: usize = 4;
        let mut sums = [[0.0; LANES]; APART];
        for (rows, weights) in self.rows.chunks(APART).zip(self.weights.chunks(APART)) {
            for ((row, weight), sums) in rows.iter().zip(weights).zip(&mut sums) {
                let weight = simd.splat_f64s(*weight);
                for (sum, value) in S::as_mut_simd_f64s(sums).0.iter_mut().zip(S::as_simd_f64s(row).0) {
                    *sum = simd.add_f64s(*sum, simd.mul_f64s(simd.mul_f64s(weight, *value), *value));
                }
            }
        }
        let [a, b, c, d] = sums;
        std::array::from_fn(|lane| (a[lane] + b[lane]) + (c[lane] + d[lane]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All ways to count give the same.
    #[test]
    fn instructions_change_no_count() {
        let words = |seed: u64, count: usize| -> Vec<u64> {
            (0..count as u64).map(|k| (seed + k).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
        };
        let (own, others) = (words(1, 3 * WORDS), words(99, 5 * 3 * WORDS));
        let counted = |run: &dyn Fn(CountCommon)| {
            let mut sums = vec![0.5; 5];
            run(CountCommon { own: &own, others: &others, scale: 4.0, sums: &mut sums });
            sums
        };
        let plain = counted(&|op| op.count());
        assert_eq!(counted(&|op| op.run()), plain);
        assert_eq!(counted(&|op| Arch::new().dispatch(op)), plain);
        assert_eq!(counted(&|op| Arch::Scalar.dispatch(op)), plain);
    }

    proptest! {
        #[test]
        fn counts_and_products_are_the_plain_sums(rows in 1usize..200, columns in 1usize..150, seed in any::<u64>()) {
            let mixed = |row: usize, column: usize| {
                (seed ^ (row * 300 + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            let one = |row: usize, column: usize| f64::from(u8::from(mixed(row, column) >> 62 == 0));
            let bits = Bits::new(columns, (0..rows).map(|row| (0..columns).filter(move |&c| mixed(row, c) >> 62 == 0)));
            let times: Vec<u32> = (0..rows).map(|row| (mixed(row, 1000) >> 61) as u32).collect();
            let by_column = Columns::of(&bits);
            let gram = by_column.upper_gram(&times, 1.0);
            let plain = by_column.upper_gram(&vec![1; rows], 2.0);
            let vector: Vec<f64> = (0..rows).map(|row| row as f64).collect();
            let product = by_column.times(&vector);
            for i in 0..columns {
                for j in i..columns {
                    let sum = |weight: &dyn Fn(usize) -> f64| (0..rows).map(|row| weight(row) * one(row, i) * one(row, j)).sum::<f64>();
                    prop_assert_eq!(gram[[i, j]], sum(&|row| f64::from(times[row])));
                    prop_assert_eq!(plain[[i, j]], sum(&|_| 1.0) / 2.0);
                }
                prop_assert_eq!(product[i], (0..rows).map(|row| row as f64 * one(row, i)).sum::<f64>());
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
