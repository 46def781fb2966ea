//! Products of a matrix of rows with a weight in PyTorch's layout.

use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, multiply};
use crate::parallel;
use crate::storage::Output;
use crate::transpose::transpose;

/// `rows` vectors of `inputs` numbers to vectors of `outputs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// Rows that are summed before their sum is written; fixes the order of the sums.
const SUMMED_ROWS: usize = 256;

impl Linear {
    /// `y = x W^T + b`.
    pub(crate) fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let &Self { rows, inputs, outputs } = self;
        assert_eq!(x.len(), rows * inputs);
        assert_eq!(weight.len(), outputs * inputs);
        assert!(bias.is_none_or(|bias| bias.len() == outputs));
        let set = InstructionSet::current();
        let mut turned = vec![0.0; inputs * outputs];
        transpose(set, weight, outputs, inputs, outputs, &mut turned);
        let start = bias.map_or(Start::Zero, |bias| Start::Columns(bias.as_ptr()));
        self.rows_times(set, x, inputs, &turned, outputs, start)
    }

    /// The gradient of `x`: `dx = dy W`.
    pub(crate) fn input_gradient(&self, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
        assert_eq!(gradient.len(), self.rows * self.outputs);
        assert_eq!(weight.len(), self.outputs * self.inputs);
        let set = InstructionSet::current();
        self.rows_times(set, gradient, self.outputs, weight, self.inputs, Start::Zero)
    }

    /// `[rows, k]` times `[k, n]`.
    fn rows_times(
        &self,
        set: InstructionSet,
        left: &[f32],
        k: usize,
        right: &[f32],
        n: usize,
        start: Start,
    ) -> Vec<f32> {
        let mut output = Output::new(self.rows * n);
        let place = output.pointer();
        let pieces = pieces(self.rows);
        let start = Shared(start);
        parallel::for_each(pieces, 2 * self.rows * n * k / pieces, |piece| {
            let rows = parallel::part(self.rows, pieces, piece);
            // SAFETY: the callers checked the lengths; each piece writes its own rows.
            unsafe {
                let product = Product {
                    m: rows.len(),
                    n,
                    k,
                    a: left.as_ptr().add(rows.start * k),
                    a_rows: LeftRows::Stride(k),
                    a_step: 1,
                    b: right.as_ptr(),
                    b_rows: RightRows::Stride(n),
                    c: place.at(rows.start * n),
                    c_stride: n,
                    start: start.get(),
                };
                multiply(set, &product);
            }
        });
        // SAFETY: the pieces cover all rows.
        unsafe { output.finish() }
    }

    /// The gradient of the weight: `dW = dy^T x`.
    pub(crate) fn weight_gradient(&self, gradient: &[f32], x: &[f32]) -> Vec<f32> {
        let &Self { rows, inputs, outputs } = self;
        assert_eq!(x.len(), rows * inputs);
        assert_eq!(gradient.len(), rows * outputs);
        let set = InstructionSet::current();
        let mut output = Output::new(outputs * inputs);
        let place = output.pointer();
        let pieces = pieces(outputs);
        parallel::for_each(pieces, 2 * rows * inputs * outputs / pieces, |piece| {
            let part = parallel::part(outputs, pieces, piece);
            for first in (0..rows).step_by(SUMMED_ROWS) {
                // SAFETY: the lengths were checked; each piece writes its own outputs.
                unsafe {
                    let product = Product {
                        m: part.len(),
                        n: inputs,
                        k: SUMMED_ROWS.min(rows - first),
                        a: gradient.as_ptr().add(first * outputs + part.start),
                        a_rows: LeftRows::Stride(1),
                        a_step: outputs,
                        b: x.as_ptr().add(first * inputs),
                        b_rows: RightRows::Stride(inputs),
                        c: place.at(part.start * inputs),
                        c_stride: inputs,
                        start: if first == 0 { Start::Zero } else { Start::Previous },
                    };
                    multiply(set, &product);
                }
            }
        });
        // SAFETY: there is at least one row, so all of it was written.
        unsafe { output.finish() }
    }

    /// The gradient of the bias: the sum of the rows.
    pub(crate) fn bias_gradient(&self, gradient: &[f32]) -> Vec<f32> {
        assert_eq!(gradient.len(), self.rows * self.outputs);
        let blocks = self.rows.div_ceil(SUMMED_ROWS);
        let mut sums = vec![0.0f32; blocks * self.outputs];
        let place = crate::storage::SharedMut(sums.as_mut_ptr());
        parallel::for_each(blocks, SUMMED_ROWS * self.outputs, |block| {
            // SAFETY: each block has a sum of its own.
            let sum = unsafe { place.slice(block * self.outputs, self.outputs) };
            let rows = &gradient[block * SUMMED_ROWS * self.outputs..];
            for row in rows.chunks_exact(self.outputs).take(SUMMED_ROWS) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        });
        let (total, others) = sums.split_at_mut(self.outputs);
        for sum in others.chunks_exact(self.outputs) {
            for (total, value) in total.iter_mut().zip(sum) {
                *total += value;
            }
        }
        sums.truncate(self.outputs);
        sums
    }
}

/// Into how many parts to cut rows of a result; which one computes a row does not change it.
fn pieces(rows: usize) -> usize {
    (4 * rayon::current_num_threads()).min(rows.div_ceil(6)).max(1)
}

/// A start that threads may read: the bias outlives the call.
#[derive(Clone, Copy)]
struct Shared(Start);
// SAFETY: the pointer inside is only read, while the bias it points to is borrowed by the caller.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(self) -> Start {
        self.0
    }
}
