//! TensorBoard event files with scalar summaries.
//!
//! A file is a sequence of records: length as u64, its masked CRC-32C, the bytes, their masked CRC-32C, little endian
//! (TFRecord). Each record is a protocol buffer of the message `Event`: fields 1 `wall_time` (double), 2 `step` (int64),
//! 3 `file_version` (string) in the first record, 5 `summary` with repeated field 1 `value` of 1 `tag` (string) and
//! 2 `simple_value` (float).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes an event file.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Begins a file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = diffusion_core::create_file(path)?;
        let mut event = wall_time();
        bytes_field(&mut event, 3, b"brain.Event:2");
        file.write_all(&record(&event))?;
        Ok(Self { file })
    }

    /// Adds scalars of one step.
    ///
    /// # Errors
    /// A full disk.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut one = Vec::new();
            bytes_field(&mut one, 1, tag.as_bytes());
            // Wire type 5: 32 bits.
            one.push(2 << 3 | 5);
            one.extend(value.to_le_bytes());
            bytes_field(&mut summary, 1, &one);
        }
        let mut event = wall_time();
        event.push(2 << 3);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.file.write_all(&record(&event))
    }
}

/// Field 1, wire type 1: 64 bits.
fn wall_time() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let mut event = vec![1 << 3 | 1];
    event.extend(now.to_le_bytes());
    event
}

/// Wire type 2: a length, then bytes.
fn bytes_field(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(event);
    bytes.extend(masked_crc(event).to_le_bytes());
    bytes
}

/// Rotated and offset, so that checksums of data that holds checksums stay good.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_as_tensorboard_reads_them() {
        // The check value of CRC-32C (RFC 3720, B.4) and its mask.
        assert_eq!(crc32c::crc32c(&[0u8; 32]), 0x8a91_36aa);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.0");
        let mut file = EventFile::create(&path).unwrap();
        file.scalars(300, &[("loss", 0.5), ("gradient norm", 2.0)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut events = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let number = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap());
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            assert_eq!(number(at + 8), masked_crc(&bytes[at..at + 8]));
            let event = &bytes[at + 12..at + 12 + length];
            assert_eq!(number(at + 12 + length), masked_crc(event));
            events.push(event.to_vec());
            at += 16 + length;
        }
        assert_eq!(events.len(), 2);
        assert!(events[0].ends_with(b"brain.Event:2"));
        // After the time: step 300 as a varint, then the summary.
        assert_eq!(events[1][9..12], [0x10, 0xac, 0x02]);
        let loss = [&[0x0a, 11, 0x0a, 4][..], b"loss", &[0x15], &0.5f32.to_le_bytes()].concat();
        assert!(events[1].windows(loss.len()).any(|window| window == loss), "{:?}", events[1]);
    }
}
