//! The matrix of gradients, one row a batch: in memory if it is small, else in a temporary file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::UnlearnError;

/// Rows up to this many bytes in all are kept in memory.
const IN_MEMORY: u64 = 256 << 20;

/// A matrix of 32-bit numbers that grows by rows and is read by rows or by blocks of columns.
#[derive(Debug)]
pub(super) struct Rows {
    capacity: usize,
    width: usize,
    count: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    /// Without a name, so that it is gone with the process.
    Disk(File),
}

impl Rows {
    /// No rows yet, of `capacity` to come.
    pub fn new(capacity: usize, width: usize) -> Result<Self, UnlearnError> {
        Self::within(IN_MEMORY, capacity, width)
    }

    /// As [`Rows::new`], on disk beyond `limit` bytes.
    pub fn within(limit: u64, capacity: usize, width: usize) -> Result<Self, UnlearnError> {
        let mut rows = Self { capacity, width, count: 0, place: Place::Memory(Vec::new()) };
        if rows.bytes() > limit {
            rows.place = Place::Disk(tempfile::tempfile().map_err(|e| rows.failed("create", e))?);
        }
        Ok(rows)
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Appends a row of `width` numbers.
    pub fn push(&mut self, row: &[f32]) -> Result<(), UnlearnError> {
        let written = match &mut self.place {
            Place::Memory(values) => {
                values.extend_from_slice(row);
                Ok(())
            }
            Place::Disk(file) => file.write_all(bytemuck::cast_slice(row)),
        };
        written.map_err(|error| self.failed("write", error))?;
        self.count += 1;
        Ok(())
    }

    /// Columns `columns` of row `row`.
    pub fn part(&self, row: usize, columns: Range<usize>) -> Result<Vec<f32>, UnlearnError> {
        let start = row * self.width + columns.start;
        match &self.place {
            Place::Memory(values) => Ok(values[start..start + columns.len()].to_vec()),
            Place::Disk(file) => {
                let mut part = vec![0.0f32; columns.len()];
                let mut file = file;
                file.seek(SeekFrom::Start(start as u64 * 4))
                    .and_then(|_| file.read_exact(bytemuck::cast_slice_mut(&mut part)))
                    .map_err(|error| self.failed("read", error))?;
                Ok(part)
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.capacity as u64 * self.width as u64 * 4
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> UnlearnError {
        UnlearnError::GradientFile {
            action,
            batches: self.capacity,
            mebibytes: self.bytes().div_ceil(1 << 20),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_the_same_from_memory_and_disk() {
        let row = |i: usize| (0..7).map(|j| (i * 10 + j) as f32).collect::<Vec<_>>();
        let filled = |limit| {
            let mut rows = Rows::within(limit, 5, 7).unwrap();
            (0..5).for_each(|i| rows.push(&row(i)).unwrap());
            rows
        };
        let (memory, disk) = (filled(5 * 7 * 4), filled(5 * 7 * 4 - 1));
        assert!(matches!(memory.place, Place::Memory(_)) && matches!(disk.place, Place::Disk(_)));
        for (i, columns) in [(3, 0..7), (0, 2..5), (4, 6..7), (1, 3..3)] {
            let expected = row(i)[columns.clone()].to_vec();
            assert_eq!(memory.part(i, columns.clone()).unwrap(), expected);
            assert_eq!(disk.part(i, columns).unwrap(), expected);
        }
        assert_eq!((disk.count(), disk.width()), (5, 7));
    }
}
