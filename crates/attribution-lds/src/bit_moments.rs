//! Second moments and products with matrices of a 0/1 matrix, by counting and looking up bits.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m512d, __m512i};

use ndarray::{Array1, Array2};
#[cfg(target_arch = "x86_64")]
use pulp::x86::V4;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::bits::Bits;
use crate::upper::{Aligned, STRIP, Upper};

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
/// Rows that are looked up at once in [`Columns::times`].
const NIBBLE: usize = 4;
/// Nibbles of a word.
const TABLES: usize = WORD / NIBBLE;
/// Rows whose quadratic forms are summed together.
const ROWS_AT_A_TIME: usize = 256;
/// Largest number of times a row may count in [`Columns::upper_gram`].
pub(crate) const MOST_TIMES: u32 = 255;

/// So many numbers of a row.
type Lanes = [f64; LANES];
/// A word of each of eight columns.
type Octet = [u64; LANES];

/// The columns of a 0/1 matrix, eight side by side, 64 rows a word.
pub(crate) struct Columns {
    count: usize,
    /// Words of one column.
    words: usize,
    /// Eight columns at a time, as many as whole strips have: for each 64 rows, the word of each column.
    bits: Vec<Octet>,
}

impl Columns {
    /// The columns of a matrix.
    pub(crate) fn of(matrix: &Bits) -> Columns {
        let (rows, count) = (matrix.rows(), matrix.columns());
        let words = rows.div_ceil(WORD).max(1);
        let mut bits = vec![[0u64; LANES]; count.next_multiple_of(STRIP) / LANES * words];
        let mut squares = [[0u64; LANES]; WORD];
        for first in (0..count).step_by(WORD) {
            for block in (0..words).step_by(LANES) {
                let lanes = LANES.min(words - block);
                for lane in 0..lanes {
                    let top = (block + lane) * WORD;
                    for (place, words) in squares.iter_mut().enumerate() {
                        words[lane] =
                            if top + place < rows { word(&matrix.row(top + place)[first / 8..]) } else { 0 };
                    }
                }
                Arch::new().dispatch(Transpose { squares: &mut squares });
                for (column, square) in (first..count).zip(&squares) {
                    let column_bits = &mut bits[column / LANES * words + block..][..lanes];
                    for (octet, word) in column_bits.iter_mut().zip(square) {
                        octet[column % LANES] = *word;
                    }
                }
            }
        }
        Columns { count, words, bits }
    }

    /// The words of eight columns.
    fn eight(&self, group: usize) -> &[Octet] {
        &self.bits[group * self.words..][..self.words]
    }

    /// `X' diag(times) X / total`: how often both of two columns are one when row r occurs `times[r]` times, at most
    /// [`MOST_TIMES`]. Counted for each binary digit of `times`, and exact before the division.
    pub(crate) fn upper_gram(&self, times: &[u32], total: f64) -> Upper {
        let (n, words) = (self.count, self.words);
        let digits = u32::BITS - times.iter().fold(0, |all, times| all | times).leading_zeros();
        // For each digit, the rows that have it.
        let digits: Vec<Vec<u64>> = (0..digits)
            .map(|digit| {
                let has = |place: usize, times: &u32| u64::from(times >> digit & 1) << place;
                let of_word = |times: &[u32]| {
                    times.iter().enumerate().fold(0, |all, (place, times)| all | has(place, times))
                };
                times.chunks(WORD).map(of_word).collect()
            })
            .collect();
        let mut gram = Upper::zeros(n);
        let mut strips: Vec<(usize, &mut [f64])> = gram.strips_mut().into_iter().enumerate().collect();
        // A long one, a short one: halves take equally long.
        let last = strips.len().saturating_sub(1);
        strips.sort_by_key(|(strip, _)| if 2 * strip <= last { 2 * strip } else { 2 * (last - strip) + 1 });
        strips.into_par_iter().for_each(|(strip, rows)| {
            let stride = Upper::stride(n, strip);
            let mut own = Vec::with_capacity(digits.len() * words);
            for (half, rows) in rows.chunks_exact_mut(LANES * stride).enumerate() {
                own.clear();
                for digit in &digits {
                    let words = self.eight(2 * strip + half).iter().zip(digit);
                    own.extend(words.map(|(words, rows)| words.map(|word| word & rows)));
                }
                let others = &self.bits[2 * strip * words..];
                CountCommon { own: &own, others, words, total, rows, stride }.run();
            }
        });
        gram
    }

    /// `X'v`, of a vector with one entry a row.
    ///
    /// The sums of all subsets of four entries of v are tabled, so that four rows cost one addition. Each entry is summed in an
    /// order of its own.
    pub(crate) fn times(&self, vector: &[f64]) -> Vec<f64> {
        let mut tables = Aligned::zeros((self.words * TABLES) << NIBBLE);
        let (of_nibbles, _) = tables.as_chunks_mut::<{ 1 << NIBBLE }>();
        for (table, values) in of_nibbles.iter_mut().zip(vector.chunks(NIBBLE)) {
            for (place, value) in values.iter().enumerate() {
                let (known, new) = table.split_at_mut(1 << place);
                new.iter_mut().zip(known).for_each(|(new, known)| *new = *known + value);
            }
        }
        let (tables, _) = tables.as_chunks().0.as_chunks();
        let mut product = vec![[0.0; LANES]; self.count.next_multiple_of(STRIP) / LANES];
        SumRows { columns: self, tables, product: &mut product }.run();
        let mut product = product.into_flattened();
        product.truncate(self.count);
        product
    }
}

/// The first eight bytes as one number, with zeros for those that are missing.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(whole) => u64::from_le_bytes(*whole),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Transposes eight squares of 64 x 64 bits side by side, bit j of word i being entry (i, j) (Warren, "Hacker's Delight",
/// section 7-3).
struct Transpose<'a> {
    squares: &'a mut [Octet; WORD],
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (mut half, mut mask) = (WORD / 2, u64::MAX >> (WORD / 2));
        while half > 0 {
            for pair in self.squares.chunks_exact_mut(2 * half) {
                let (upper, lower) = pair.split_at_mut(half);
                for (upper, lower) in upper.as_flattened_mut().iter_mut().zip(lower.as_flattened_mut()) {
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

/// Counts the ones that eight columns have in common with each of the `others`, divided by `total`.
struct CountCommon<'a> {
    /// For each binary digit of the rows' times, lowest first: the words of the eight columns, with ones in the rows that have
    /// the digit only.
    own: &'a [Octet],
    /// Sixteen columns for each strip of a row.
    others: &'a [Octet],
    /// Words of a column.
    words: usize,
    total: f64,
    /// A row for each of the eight.
    rows: &'a mut [f64],
    /// Length of a row.
    stride: usize,
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
        /// Columns whose counts stay in registers, each with sixteen others.
        const TOGETHER: usize = 4;
        let Self { own, others, words, total, rows, stride } = self;
        for (part, rows) in rows.chunks_exact_mut(TOGETHER * stride).enumerate() {
            for (place, others) in others.chunks_exact(2 * words).enumerate() {
                let (near, far) = others.split_at(words);
                let mut sums = [[[0u64; LANES]; 2]; TOGETHER];
                for (digit, own) in own.chunks_exact(words).enumerate() {
                    let mut counts = [[[0u64; LANES]; 2]; TOGETHER];
                    for ((own, near), far) in own.iter().zip(near).zip(far) {
                        for (counts, one) in counts.iter_mut().zip(&own[part * TOGETHER..][..TOGETHER]) {
                            for lane in 0..LANES {
                                counts[0][lane] += u64::from((one & near[lane]).count_ones());
                            }
                            for lane in 0..LANES {
                                counts[1][lane] += u64::from((one & far[lane]).count_ones());
                            }
                        }
                    }
                    for (sums, counts) in sums.as_flattened_mut().iter_mut().zip(counts.as_flattened()) {
                        for lane in 0..LANES {
                            sums[lane] += counts[lane] << digit;
                        }
                    }
                }
                for (row, sums) in rows.chunks_exact_mut(stride).zip(&sums) {
                    let (into, _) = row[place * STRIP..][..STRIP].as_chunks_mut::<LANES>();
                    for (into, sums) in into.iter_mut().zip(sums) {
                        let mut shares = [0.0; LANES];
                        for lane in 0..LANES {
                            shares[lane] = sums[lane] as f64 / total;
                        }
                        *into = shares;
                    }
                }
            }
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

/// Sums tabled entries by the nibbles of eight columns.
struct SumRows<'a> {
    columns: &'a Columns,
    /// For each word: the sums of the subsets of each four entries.
    tables: &'a [[[f64; 1 << NIBBLE]; TABLES]],
    /// Of as many groups as whole strips have.
    product: &'a mut [Lanes],
}

impl SumRows<'_> {
    /// By the fastest instructions that the processor has. All add in the same order.
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = V4::try_new() {
            return simd.vectorize(Permuting { simd, sum: self });
        }
        self.look_up();
    }

    fn look_up(self) {
        for (group, sums) in self.product.iter_mut().enumerate() {
            for (words, tables) in self.columns.eight(group).iter().zip(self.tables) {
                for (sum, word) in sums.iter_mut().zip(words) {
                    let known =
                        |table: usize| tables[table][(word >> (table * NIBBLE)) as usize % (1 << NIBBLE)];
                    let quarters: [f64; 4] = std::array::from_fn(|quarter| {
                        let first = 4 * quarter;
                        (known(first) + known(first + 1)) + (known(first + 2) + known(first + 3))
                    });
                    *sum += (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
                }
            }
        }
    }
}

/// [`SumRows`] where a table is two registers, which eight nibbles choose from by one instruction.
#[cfg(target_arch = "x86_64")]
struct Permuting<'a> {
    simd: V4,
    sum: SumRows<'a>,
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for Permuting<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, sum: SumRows { columns, tables, product } } = self;
        let avx512f = simd.avx512f;
        // Two groups at a time: a table is loaded once for both.
        for (pair, into) in product.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (near, far) = (columns.eight(2 * pair), columns.eight(2 * pair + 1));
            let mut sums = [avx512f._mm512_setzero_pd(); 2];
            for ((near, far), tables) in near.iter().zip(far).zip(tables) {
                let mut words: [__m512i; 2] = [pulp::cast(*near), pulp::cast(*far)];
                let mut quarters = [sums; 4];
                // Loops and no closures, which would not be compiled for this processor.
                for (quarter, tables) in quarters.iter_mut().zip(tables.as_chunks::<4>().0) {
                    let mut known = [sums; 4];
                    for (known, table) in known.iter_mut().zip(tables) {
                        let [low, high]: [__m512d; 2] = pulp::cast(*table);
                        for group in 0..2 {
                            // Of an index, the lowest four bits count.
                            known[group] = avx512f._mm512_permutex2var_pd(low, words[group], high);
                            words[group] = avx512f._mm512_srli_epi64::<{ NIBBLE as u32 }>(words[group]);
                        }
                    }
                    *quarter = pairwise(simd, known);
                }
                let word = pairwise(simd, quarters);
                for group in 0..2 {
                    sums[group] = avx512f._mm512_add_pd(sums[group], word[group]);
                }
            }
            *into = [pulp::cast(sums[0]), pulp::cast(sums[1])];
        }
    }
}

/// `(a + b) + (c + d)`, twice.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pairwise(V4 { avx512f, .. }: V4, [a, b, c, d]: [[__m512d; 2]; 4]) -> [__m512d; 2] {
    let mut sums = a;
    for group in 0..2 {
        let near = avx512f._mm512_add_pd(a[group], b[group]);
        let far = avx512f._mm512_add_pd(c[group], d[group]);
        sums[group] = avx512f._mm512_add_pd(near, far);
    }
    sums
}

/// A product of bits with a matrix, [`LANES`] columns at a time.
pub(crate) struct Product {
    rows: usize,
    columns: usize,
    /// For each eight columns: its rows.
    chunks: Vec<Aligned>,
}

/// The rows of a 0/1 matrix in fields of [`FIELD`] bits.
struct Fields {
    /// Fields of a row.
    count: usize,
    /// For each [`FIELDS`] fields, row by row: where the sums of a field's entries start in its table.
    places: Vec<[u16; FIELDS]>,
}

impl Fields {
    fn of(bits: &Bits) -> Fields {
        let (rows, count) = (bits.rows(), bits.columns().div_ceil(FIELD));
        let mut places = vec![[0; FIELDS]; rows * count.div_ceil(FIELDS)];
        for row in 0..rows {
            // Three bytes are four fields, half of what is looked up at once.
            for (half, bytes) in bits.row(row).chunks(3).enumerate() {
                let bits = bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
                let four = &mut places[half / 2 * rows + row].as_chunks_mut::<{ FIELDS / 2 }>().0[half % 2];
                for (field, place) in four.iter_mut().enumerate() {
                    *place = (bits >> (field * FIELD)) as u16 % SUMS as u16 * LANES as u16;
                }
            }
        }
        Fields { count, places }
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
        let eight = |chunk: usize| {
            let mut into = Aligned::zeros(rows * LANES);
            Arch::new().dispatch(LookUp { fields: &fields, matrix, first: chunk * LANES, into: &mut into });
            into
        };
        let chunks = (0..columns.div_ceil(LANES)).into_par_iter().map(eight).collect();
        Product { rows, columns, chunks }
    }
}

/// Sums by field, where no eight numbers lie on two lines of the cache.
#[repr(align(64))]
struct Tables([[f64; SUMS * LANES]; FIELDS]);

struct LookUp<'a> {
    fields: &'a Fields,
    matrix: &'a Array2<f64>,
    first: usize,
    into: &'a mut [f64],
}

impl WithSimd for LookUp<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { fields: Fields { count, places }, matrix, first, into } = self;
        let (members, columns) = matrix.dim();
        let (into, _) = into.as_chunks_mut::<LANES>();
        let mut tables = Tables([[0.0; SUMS * LANES]; FIELDS]);
        let tables = &mut tables.0;
        for pass in (0..*count).step_by(FIELDS) {
            let these = FIELDS.min(count - pass);
            for (table, field) in tables.iter_mut().zip(pass..pass + these) {
                let (table, _) = table.as_chunks_mut::<LANES>();
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
            let places = &places[pass / FIELDS * into.len()..];
            if these < FIELDS {
                for (into, places) in into.iter_mut().zip(places) {
                    let mut sums = *into;
                    for (table, place) in tables[..these].iter().zip(places) {
                        add(simd, &mut sums, sums_at(table, *place));
                    }
                    *into = sums;
                }
                return;
            }
            for (into, places) in into.iter_mut().zip(places) {
                for (part, into) in S::as_mut_simd_f64s(into).0.iter_mut().enumerate() {
                    // Pairs of pairs, so that an addition need not wait for the one before.
                    let mut sums = [simd.splat_f64s(0.0); FIELDS / 2];
                    for pair in 0..FIELDS / 2 {
                        let near = sums_at(&tables[2 * pair], places[2 * pair]);
                        let far = sums_at(&tables[2 * pair + 1], places[2 * pair + 1]);
                        sums[pair] =
                            simd.add_f64s(S::as_simd_f64s(near).0[part], S::as_simd_f64s(far).0[part]);
                    }
                    let sum = simd.add_f64s(simd.add_f64s(sums[0], sums[1]), simd.add_f64s(sums[2], sums[3]));
                    *into = simd.add_f64s(*into, sum);
                }
            }
        }
    }
}

/// The sums that start at a place of a table.
#[inline(always)]
fn sums_at(table: &[f64; SUMS * LANES], place: u16) -> &[f64] {
    // What is masked is zero: it tells the compiler that no place is beyond the end.
    &table[usize::from(place) & ((SUMS - 1) * LANES)..][..LANES]
}

/// `to += lanes`.
#[inline(always)]
fn add<S: Simd>(simd: S, to: &mut Lanes, lanes: &[f64]) {
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
        let mut forms = vec![0.0; self.rows];
        forms.par_chunks_mut(ROWS_AT_A_TIME).enumerate().for_each(|(part, forms)| {
            Arch::new().dispatch(QuadraticForms { product: self, bits, first: part * ROWS_AT_A_TIME, forms });
        });
        forms
    }

    /// For each column, the sum over the rows r of `weights[r]` times the square of its entry.
    pub(crate) fn weighted_squares(&self, weights: &[f64]) -> Array1<f64> {
        let sums: Vec<Lanes> = self
            .chunks
            .par_iter()
            .map(|rows| Arch::new().dispatch(Squares { rows: rows.as_chunks::<LANES>().0, weights }))
            .collect();
        Array1::from_iter(sums.into_iter().flatten().take(self.columns))
    }

    /// Row by row, the entries.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = f64> + '_ {
        self.chunks.iter().flat_map(move |rows| rows.as_chunks::<LANES>().0[row]).take(self.columns)
    }
}

struct QuadraticForms<'a> {
    product: &'a Product,
    bits: &'a Bits,
    /// The row of the first of the forms.
    first: usize,
    forms: &'a mut [f64],
}

impl WithSimd for QuadraticForms<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { product, bits, first, forms } = self;
        let mut sums = [[0.0; LANES]; ROWS_AT_A_TIME];
        // A byte of a row has the lanes of a chunk.
        for (chunk, rows) in product.chunks.iter().enumerate() {
            let (rows, _) = rows.as_chunks::<LANES>();
            for (row, (sums, values)) in (first..).zip(sums[..forms.len()].iter_mut().zip(&rows[first..])) {
                let ones = &ONES[usize::from(bits.row(row)[chunk])];
                let pairs = S::as_simd_f64s(ones).0.iter().zip(S::as_simd_f64s(values).0);
                for (sum, (ones, values)) in S::as_mut_simd_f64s(sums).0.iter_mut().zip(pairs) {
                    *sum = simd.add_f64s(*sum, simd.mul_f64s(*ones, *values));
                }
            }
        }
        for (form, sums) in forms.iter_mut().zip(&sums) {
            *form = sums.iter().sum();
        }
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
        let octets = |seed: u64, count: usize| -> Vec<Octet> {
            let word = |k: usize| (seed + k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (0..count).map(|k| std::array::from_fn(|lane| word(k * LANES + lane))).collect()
        };
        let words = 3;
        let (own, others) = (octets(1, 2 * words), octets(99, 6 * words));
        let counted = |run: &dyn Fn(CountCommon)| {
            let stride = 3 * STRIP;
            let mut rows = vec![0.5; LANES * stride];
            run(CountCommon { own: &own, others: &others, words, total: 3.0, rows: &mut rows, stride });
            rows
        };
        let plain = counted(&|op| op.count());
        assert_eq!(counted(&|op| op.run()), plain);
        assert_eq!(counted(&|op| Arch::new().dispatch(op)), plain);
        assert_eq!(counted(&|op| Arch::Scalar.dispatch(op)), plain);
    }

    /// All ways to look up add in one order.
    #[test]
    fn instructions_change_no_sum() {
        let bits = Bits::new(
            150,
            (0..333usize).map(|row| (0..150usize).filter(move |column| (row * column) % 7 < 3)),
        );
        let columns = Columns::of(&bits);
        let tables: Vec<_> = (0..columns.words)
            .map(|word| {
                std::array::from_fn(|table| {
                    std::array::from_fn(|place| ((word * 256 + table * 16 + place) as f64).sin())
                })
            })
            .collect();
        let summed = |run: &dyn Fn(SumRows)| {
            let mut product = vec![[0.0; LANES]; 160 / LANES];
            run(SumRows { columns: &columns, tables: &tables, product: &mut product });
            product
        };
        assert_eq!(summed(&|op| op.run()), summed(&|op| op.look_up()));
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
