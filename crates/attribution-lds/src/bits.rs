//! A 0/1 matrix with one bit an entry, and its product with a vector.

use rayon::prelude::*;

/// Entries of a row that are looked up at once.
const BYTE: usize = u8::BITS as usize;
/// Sums there are of a byte's entries.
const SUMS: usize = 1 << BYTE;
/// Bytes whose tables of sums (2 KiB each) are in use at a time: they stay in the cache nearest to a core.
const BYTES_AT_A_TIME: usize = 16;
/// Rows one thread takes at a time.
const ROWS_AT_A_TIME: usize = 256;

/// A 0/1 matrix, `ceil(columns / 8)` bytes a row: bit `j % 8` of byte `j / 8` is column j.
pub(crate) struct Bits {
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

impl Bits {
    /// The matrix whose rows have ones in the columns given, each below `columns`.
    pub(crate) fn new<Ones: Iterator<Item = usize>>(
        columns: usize,
        rows: impl ExactSizeIterator<Item = Ones>,
    ) -> Bits {
        let (count, width) = (rows.len(), columns.div_ceil(BYTE));
        let mut bytes = vec![0u8; count * width];
        for (row, ones) in rows.enumerate() {
            let bytes = &mut bytes[row * width..(row + 1) * width];
            ones.for_each(|column| bytes[column / BYTE] |= 1 << (column % BYTE));
        }
        Bits { rows: count, columns, bytes }
    }

    /// The indicators of coalitions of `columns` contributors.
    pub(crate) fn of_coalitions<'a>(
        columns: usize,
        coalitions: impl ExactSizeIterator<Item = &'a removal::Coalition>,
    ) -> Bits {
        let (rows, width) = (coalitions.len(), columns.div_ceil(BYTE));
        let mut bytes = Vec::with_capacity(rows * width);
        for coalition in coalitions {
            let end = bytes.len() + width;
            coalition.words().iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            bytes.truncate(end);
        }
        Bits { rows, columns, bytes }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let width = self.columns.div_ceil(BYTE);
        &self.bytes[row * width..(row + 1) * width]
    }

    /// Its transpose.
    pub(crate) fn transposed(&self) -> Bits {
        let (width, tall) = (self.columns.div_ceil(BYTE), self.rows.div_ceil(BYTE));
        let mut bytes = vec![0u8; self.columns * tall];
        // Eight columns a byte of this matrix: eight rows of the transpose.
        bytes.par_chunks_mut(BYTE * tall).enumerate().for_each(|(byte, columns)| {
            for group in 0..tall {
                let rows = group * BYTE..((group + 1) * BYTE).min(self.rows);
                let mut block = [0u8; BYTE];
                block.iter_mut().zip(rows).for_each(|(into, row)| *into = self.bytes[row * width + byte]);
                let block = transposed_block(u64::from_le_bytes(block)).to_le_bytes();
                columns.chunks_mut(tall).zip(block).for_each(|(column, bits)| column[group] = bits);
            }
        });
        Bits { rows: self.columns, columns: self.rows, bytes }
    }

    /// M v, of a vector with one entry a column.
    ///
    /// The sums of all subsets of eight entries of v are tabled (the "method of four Russians", Arlazarov, Dinic, Kronrod &
    /// Faradzev 1970), so that a row costs one addition for eight columns. Each entry of the product is summed by one thread
    /// in the order of the columns: its bits do not depend on the number of threads.
    pub(crate) fn times(&self, vector: &[f64]) -> Vec<f64> {
        let width = self.columns.div_ceil(BYTE);
        let mut product = vec![0.0; self.rows];
        if width == 0 {
            return product;
        }
        let tables: Vec<[f64; SUMS]> = vector.par_chunks(BYTE).map(subset_sums).collect();
        let of_rows = self.bytes.par_chunks(ROWS_AT_A_TIME * width);
        product.par_chunks_mut(ROWS_AT_A_TIME).zip(of_rows).for_each(|(sums, bytes)| {
            for start in (0..width).step_by(BYTES_AT_A_TIME) {
                let end = (start + BYTES_AT_A_TIME).min(width);
                for (sum, row) in sums.iter_mut().zip(bytes.chunks(width)) {
                    // Four sums, so that an addition need not wait for the one before.
                    let (bytes, rest) = row[start..end].as_chunks::<4>();
                    let (of_bytes, of_rest) = tables[start..end].as_chunks::<4>();
                    let mut quarters = [0.0; 4];
                    for (bytes, tables) in bytes.iter().zip(of_bytes) {
                        for quarter in 0..4 {
                            quarters[quarter] += tables[quarter][usize::from(bytes[quarter])];
                        }
                    }
                    let rest = rest.iter().zip(of_rest).map(|(&byte, table)| table[usize::from(byte)]);
                    *sum += (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]) + rest.sum::<f64>();
                }
            }
        });
        product
    }
}

/// Entry b is the sum of the values whose bit is set in b.
fn subset_sums(values: &[f64]) -> [f64; SUMS] {
    let mut sums = [0.0; SUMS];
    for subset in 1..SUMS {
        // Bits beyond the last value are zero in every row: what stands there is never read.
        let last = values.get(subset.trailing_zeros() as usize).copied().unwrap_or(0.0);
        sums[subset] = sums[subset & (subset - 1)] + last;
    }
    sums
}

/// The transpose of 8 x 8 bits, bit j of byte i being entry (i, j) (Warren, "Hacker's Delight", section 7-3).
fn transposed_block(mut block: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let changed = (block ^ (block >> shift)) & mask;
        block ^= changed ^ (changed << shift);
    }
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_are_the_plain_sums(rows in 0usize..600, columns in 0usize..300, seed in any::<u64>()) {
            let one = |row: usize, column: usize| {
                let mixed = (seed ^ (row * 300 + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                mixed >> 62 == 0
            };
            let bits = Bits::new(columns, (0..rows).map(|row| (0..columns).filter(move |&column| one(row, column))));
            let sum = |ones: &mut dyn Iterator<Item = usize>| ones.map(|place| (1 + place) as f64).sum::<f64>();
            let numbers = |count: usize| (1..=count).map(|place| place as f64).collect::<Vec<_>>();
            // Sums of integers are exact in any order.
            for (row, product) in bits.times(&numbers(columns)).into_iter().enumerate() {
                prop_assert_eq!(product, sum(&mut (0..columns).filter(|&column| one(row, column))));
            }
            for (column, product) in bits.transposed().times(&numbers(rows)).into_iter().enumerate() {
                prop_assert_eq!(product, sum(&mut (0..rows).filter(|&row| one(row, column))));
            }
            prop_assert_eq!((bits.transposed().rows, bits.transposed().columns), (columns, rows));
        }
    }
}
