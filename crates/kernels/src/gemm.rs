//! The one micro-kernel behind convolutions and matrix products.
//!
//! It computes `C = start + A B` where row `i` of `A` starts anywhere, row `k` of `B` starts
//! anywhere (so that a convolution reads its image in place of an unfolded copy of it) and rows of
//! `C` are a fixed distance apart. Each number of `C` is one chain of multiply-adds over
//! `k = 0, 1, ...`, however the work is cut into tiles: results do not depend on tile sizes or on
//! the number of threads.

use crate::cpu::InstructionSet;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// Where each row of `A` starts, in numbers from its beginning.
#[derive(Clone, Copy)]
pub(crate) enum LeftRows<'a> {
    /// Row `i` starts at `i * stride`.
    Stride(usize),
    /// Row `i` starts at `table[i]`.
    Table(&'a [u32]),
}

/// Where each row of `B` starts, in numbers from its beginning.
#[derive(Clone, Copy)]
pub(crate) enum RightRows<'a> {
    /// Row `k` starts at `k * stride`; nothing outside its `n` columns is read.
    Stride(usize),
    /// Row `k` starts at `table[k]`; up to [`OVERREAD`] numbers after its columns may be read.
    Table(&'a [u32]),
}

/// How far past the last column of a row of `B` given by a table the kernel may read.
pub(crate) const OVERREAD: usize = 16;

/// What `C` holds before the product is added.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Zeros.
    Zero,
    /// `C[i][j] = rows[i]`.
    Rows(*const f32),
    /// `C[i][j] = columns[j]`.
    Columns(*const f32),
    /// What is in `C` already.
    Previous,
}

/// One product `C = start + A B` with `A` of `m` x `k`, `B` of `k` x `n`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: *const f32,
    pub(crate) a_rows: LeftRows<'a>,
    /// Distance between neighbours in a row of `A`.
    pub(crate) a_step: usize,
    pub(crate) b: *const f32,
    pub(crate) b_rows: RightRows<'a>,
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    pub(crate) start: Start,
}

/// The largest number of rows in a tile.
const MAX_ROWS: usize = 6;
/// The largest number of vectors across a tile.
const MAX_VECTORS: usize = 4;

struct Tile {
    k: usize,
    a: *const f32,
    a_rows: [usize; MAX_ROWS],
    a_step: usize,
    b: *const f32,
    b_table: *const u32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    columns: usize,
    start: Start,
}

type TileKernel = unsafe fn(&Tile);

/// How rows of `B` are found and whether the last vector is cut short when it is read.
const STRIDED: usize = 0;
const STRIDED_TAIL: usize = 1;
const INDIRECT: usize = 2;

struct Kernels {
    lanes: usize,
    vectors: usize,
    tiles: [[[TileKernel; MAX_VECTORS]; MAX_ROWS]; 3],
}

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const MODE: usize>(t: &Tile) {
    // SAFETY (whole body): the caller (`multiply`) gives pointers to matrices as large as the
    // product says, and the wrapper of this function has the features that `S` needs.
    unsafe {
        let last = t.columns - (VECTORS - 1) * S::LANES;
        let zero = S::splat(0.0);
        let mut sums = [[zero; VECTORS]; ROWS];
        match t.start {
            Start::Zero => {}
            Start::Rows(rows) => {
                for (i, row) in sums.iter_mut().enumerate() {
                    *row = [S::splat(*rows.add(i)); VECTORS];
                }
            }
            Start::Columns(columns) => {
                for j in 0..VECTORS {
                    let from = columns.add(j * S::LANES);
                    let value = if j + 1 == VECTORS { S::load_first(from, last) } else { S::load(from) };
                    for row in sums.iter_mut() {
                        row[j] = value;
                    }
                }
            }
            Start::Previous => {
                for (i, row) in sums.iter_mut().enumerate() {
                    let from = t.c.add(i * t.c_stride);
                    for (j, sum) in row.iter_mut().enumerate() {
                        let from = from.add(j * S::LANES);
                        *sum = if j + 1 == VECTORS { S::load_first(from, last) } else { S::load(from) };
                    }
                }
            }
        }
        let rows: [*const f32; ROWS] = std::array::from_fn(|i| t.a.add(t.a_rows[i]));
        let mut b = t.b;
        let mut at = 0;
        for k in 0..t.k {
            let from = if MODE == INDIRECT { t.b.add(*t.b_table.add(k) as usize) } else { b };
            let right: [S::V; VECTORS] = std::array::from_fn(|j| {
                let from = from.add(j * S::LANES);
                if MODE == STRIDED_TAIL && j + 1 == VECTORS {
                    S::load_first(from, last)
                } else {
                    S::load(from)
                }
            });
            for (row, sums) in rows.iter().zip(sums.iter_mut()) {
                let left = S::splat(*row.add(at));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = S::mul_add(left, right, *sum);
                }
            }
            at += t.a_step;
            if MODE != INDIRECT {
                b = b.wrapping_add(t.b_stride);
            }
        }
        for (i, row) in sums.iter().enumerate() {
            let to = t.c.add(i * t.c_stride);
            for (j, sum) in row.iter().enumerate() {
                let to = to.add(j * S::LANES);
                if j + 1 == VECTORS && last < S::LANES {
                    S::store_first(to, *sum, last);
                } else {
                    S::store(to, *sum);
                }
            }
        }
    }
}

/// A table of kernels for one instruction set; `$feature` is what their code may use.
macro_rules! kernels {
    ($name:ident, $simd:ty, $vectors:literal $(, $feature:literal)?) => {
        static $name: Kernels = {
            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const ROWS: usize, const VECTORS: usize, const MODE: usize>(t: &Tile) {
                // SAFETY: this function has the features of the type, and the caller's promise
                // is that of `tile`.
                unsafe { tile::<$simd, ROWS, VECTORS, MODE>(t) }
            }
            macro_rules! row {
                ($rows:literal, $mode:expr) => {
                    [
                        run::<$rows, 1, { $mode }>,
                        run::<$rows, 2, { $mode }>,
                        // Widths that the set has no registers for are never asked for.
                        run::<$rows, { if $vectors < 3 { 2 } else { 3 } }, { $mode }>,
                        run::<$rows, { if $vectors < 4 { 2 } else { 4 } }, { $mode }>,
                    ]
                };
            }
            macro_rules! mode {
                ($mode:expr) => {
                    [row!(1, $mode), row!(2, $mode), row!(3, $mode), row!(4, $mode), row!(5, $mode), row!(6, $mode)]
                };
            }
            Kernels {
                lanes: <$simd>::LANES,
                vectors: $vectors,
                tiles: [mode!(STRIDED), mode!(STRIDED_TAIL), mode!(INDIRECT)],
            }
        };
    };
}

kernels!(PORTABLE, Portable, 2);
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, Avx2, 2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernels!(AVX512, Avx512, 4, "avx512f,avx512vl,avx2,fma");

fn kernels(set: InstructionSet) -> &'static Kernels {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => &AVX512,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => &AVX2,
        _ => &PORTABLE,
    }
}

/// Numbers in one vector of the set's kernels.
pub(crate) fn lanes(set: InstructionSet) -> usize {
    kernels(set).lanes
}

/// Computes `product` on the calling thread.
///
/// # Safety
/// `set` is available; `a`, `b` and `c` point to matrices as large as the product says (rows of
/// `b` given by a table followed by [`OVERREAD`] readable numbers); `c` is written by nobody else
/// meanwhile.
pub(crate) unsafe fn multiply(set: InstructionSet, product: &Product) {
    let kernels = kernels(set);
    let Product { m, n, k, .. } = *product;
    let row_blocks = m.div_ceil(MAX_ROWS);
    let tile_columns = kernels.lanes * kernels.vectors;
    let (b_table, b_stride) = match product.b_rows {
        RightRows::Stride(stride) => (std::ptr::null(), stride),
        RightRows::Table(table) => {
            debug_assert!(table.len() >= k);
            (table.as_ptr(), 0)
        }
    };
    let mut column = 0;
    while column < n {
        let columns = tile_columns.min(n - column);
        let vectors = columns.div_ceil(kernels.lanes);
        let mode = match product.b_rows {
            RightRows::Table(_) => INDIRECT,
            RightRows::Stride(_) if columns % kernels.lanes == 0 => STRIDED,
            RightRows::Stride(_) => STRIDED_TAIL,
        };
        let mut row = 0;
        for block in 0..row_blocks {
            let rows = (m - row).div_ceil(row_blocks - block);
            let mut a_rows = [0; MAX_ROWS];
            for (i, start) in a_rows.iter_mut().enumerate().take(rows) {
                *start = match product.a_rows {
                    LeftRows::Stride(stride) => (row + i) * stride,
                    LeftRows::Table(table) => table[row + i] as usize,
                };
            }
            // SAFETY: the tile lies inside the matrices, by the bounds of the two loops.
            unsafe {
                let start = match product.start {
                    Start::Rows(rows) => Start::Rows(rows.add(row)),
                    Start::Columns(columns) => Start::Columns(columns.add(column)),
                    other => other,
                };
                kernels.tiles[mode][rows - 1][vectors - 1](&Tile {
                    k,
                    a: product.a,
                    a_rows,
                    a_step: product.a_step,
                    b: product.b.add(column),
                    b_table,
                    b_stride,
                    c: product.c.add(row * product.c_stride + column),
                    c_stride: product.c_stride,
                    columns,
                    start,
                });
            }
            row += rows;
        }
        column += columns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) % 17) as f32 - 8.0)
            .collect()
    }

    #[test]
    fn products_of_whole_numbers_are_exact_on_every_set() {
        for set in InstructionSet::available() {
            for (m, n, k) in [(1, 1, 1), (6, 64, 9), (7, 65, 3), (13, 31, 20), (5, 130, 1)] {
                let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                let bias = numbers(m.max(n), 3);
                for start in 0..4 {
                    let mut c = numbers(m * n, 4);
                    let mut expected = vec![0.0; m * n];
                    for i in 0..m {
                        for j in 0..n {
                            let from = [0.0, bias[i], bias[j], c[i * n + j]][start];
                            expected[i * n + j] =
                                (0..k).fold(from, |sum, l| sum + a[i * k + l] * b[l * n + j]);
                        }
                    }
                    let product = Product {
                        m,
                        n,
                        k,
                        a: a.as_ptr(),
                        a_rows: LeftRows::Stride(k),
                        a_step: 1,
                        b: b.as_ptr(),
                        b_rows: RightRows::Stride(n),
                        c: c.as_mut_ptr(),
                        c_stride: n,
                        start: [
                            Start::Zero,
                            Start::Rows(bias.as_ptr()),
                            Start::Columns(bias.as_ptr()),
                            Start::Previous,
                        ][start],
                    };
                    // SAFETY: the vectors have the sizes given.
                    unsafe { multiply(set, &product) };
                    assert_eq!(c, expected, "{set:?} {m}x{n}x{k} start {start}");
                }
            }
        }
    }

    #[test]
    fn tables_of_rows_give_the_same_product() {
        let (m, n, k) = (8, 70, 11);
        let (a, mut b) = (numbers(m * k, 1), numbers(k * n, 2));
        b.resize(k * n + 64 + OVERREAD, f32::NAN);
        let left: Vec<u32> = (0..m as u32).map(|i| (m as u32 - 1 - i) * k as u32).collect();
        let right: Vec<u32> = (0..k as u32).map(|i| (k as u32 - 1 - i) * n as u32).collect();
        for set in InstructionSet::available() {
            let mut c = vec![0.0; m * n];
            let product = Product {
                m,
                n,
                k,
                a: a.as_ptr(),
                a_rows: LeftRows::Table(&left),
                a_step: 1,
                b: b.as_ptr(),
                b_rows: RightRows::Table(&right),
                c: c.as_mut_ptr(),
                c_stride: n,
                start: Start::Zero,
            };
            // SAFETY: the vectors have the sizes given.
            unsafe { multiply(set, &product) };
            for i in 0..m {
                for j in 0..n {
                    let expected: f32 = (0..k).map(|l| a[(m - 1 - i) * k + l] * b[(k - 1 - l) * n + j]).sum();
                    assert_eq!(c[i * n + j], expected);
                }
            }
        }
    }
}
