//! Data-parallel training: this program several times, the first one adding up the gradients of all.
//!
//! The first rank starts the others with its own arguments and `--rank`. Each step every rank sends its row of numbers to the
//! first one through a pipe, which adds them in the order of the ranks and sends the sum back. A rank that ends closes its
//! pipes, which ends all others.

use std::ffi::OsString;
use std::io::{Read, Stdin, Stdout, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use diffusion_core::DiffusionError;
use diffusion_core::training::GradientExchange;

/// The other ranks, as the first one sees them.
#[derive(Debug)]
pub struct Leader {
    others: Vec<Other>,
}

#[derive(Debug)]
struct Other {
    rank: usize,
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Leader {
    /// Starts ranks 1 to `ranks` - 1.
    ///
    /// # Errors
    /// [`DiffusionError::Ranks`] if a process cannot be started.
    pub fn start(ranks: usize) -> Result<Self, DiffusionError> {
        // Dropped on failure, which ends those that were started.
        let mut leader = Self { others: Vec::new() };
        for rank in 1..ranks {
            leader.others.push(Other::start(rank).map_err(|error| DiffusionError::Ranks {
                reason: format!("rank {rank} cannot be started ({error})"),
            })?);
        }
        Ok(leader)
    }
}

impl Other {
    fn start(rank: usize) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // First, so that a `--` among the arguments does not hide it.
        command.args([OsString::from("--rank"), rank.to_string().into()]).args(std::env::args_os().skip(1));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the first rank, which tells the others.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let missing = || std::io::Error::other("it has no pipes");
        let to = process.stdin.take().ok_or_else(missing)?;
        let from = process.stdout.take().ok_or_else(missing)?;
        Ok(Self { rank, process, to, from })
    }

    /// Why nothing came of talking to this rank.
    fn lost(&mut self, error: std::io::Error) -> DiffusionError {
        let reason = match (error.kind(), self.process.wait()) {
            (std::io::ErrorKind::InvalidData, _) | (_, Err(_)) => format!("rank {}: {error}", self.rank),
            (_, Ok(status)) => {
                format!(
                    "rank {} ended ({status}); the same command goes on from the newest checkpoint",
                    self.rank
                )
            }
        };
        DiffusionError::Ranks { reason }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        for other in &mut self.others {
            // They keep nothing that could be lost, and may have ended already.
            let _ = other.process.kill();
            let _ = other.process.wait();
        }
    }
}

impl GradientExchange for Leader {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        self.others.len() + 1
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DiffusionError> {
        for other in &mut self.others {
            let row = read_row(&mut other.from, values.len()).map_err(|error| other.lost(error))?;
            values.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let row = row_of(values);
        for other in &mut self.others {
            other.to.write_all(&row).and_then(|()| other.to.flush()).map_err(|error| other.lost(error))?;
        }
        Ok(())
    }
}

/// The first rank, as another one sees it.
#[derive(Debug)]
pub struct Follower {
    /// The number of this rank, from 1.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
    from: Stdin,
    to: Stdout,
}

impl Follower {
    /// The rank that a [`Leader`] started.
    pub fn new(rank: usize, ranks: usize) -> Self {
        Self { rank, ranks, from: std::io::stdin(), to: std::io::stdout() }
    }
}

impl GradientExchange for Follower {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DiffusionError> {
        let lost = |error| DiffusionError::Ranks { reason: format!("rank 0 ended ({error})") };
        self.to.write_all(&row_of(values)).and_then(|()| self.to.flush()).map_err(lost)?;
        values.copy_from_slice(&read_row(&mut self.from, values.len()).map_err(lost)?);
        Ok(())
    }
}

/// A row as it goes through a pipe: its length as 64-bit and its numbers as 32-bit little-endian.
fn row_of(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 4 * values.len());
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Reads a row of `count` numbers.
fn read_row(from: &mut impl Read, count: usize) -> std::io::Result<Vec<f32>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    if u64::from_le_bytes(length) != count as u64 {
        let message = format!("it sent {} numbers, not {count}", u64::from_le_bytes(length));
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; 4 * count];
    from.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
}
