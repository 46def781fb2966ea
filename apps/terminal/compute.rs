//! `--device`, `--threads` and `--quiet`.

use anyhow::Context;
use clap::Args;
use diffusion_core::Device;
use diffusion_core::device::DeviceChoice;

use crate::exit::usage;

/// More threads than the largest machines have cores.
const MOST_THREADS: usize = 4096;

/// Where the work runs.
#[derive(Debug, Clone, Args)]
pub struct ComputeArgs {
    /// Device: cpu, ndarray, wgpu[:index] or cuda[:index]
    #[arg(long, default_value = "cpu", global = true)]
    pub device: DeviceChoice,
    /// CPU threads of this process; all cores when left out
    #[arg(long, global = true)]
    pub threads: Option<usize>,
    /// No progress bars, only errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl ComputeArgs {
    /// Opens the device.
    ///
    /// # Errors
    /// A device that this build or machine does not have (exit code 2).
    pub fn open(&self) -> anyhow::Result<Device> {
        self.device.open().map_err(|error| usage(error.to_string()))
    }

    /// Does `work` within a pool of `--threads` threads: the kernels then use those, without handing over to another
    /// pool at every operation.
    ///
    /// # Errors
    /// `--threads` of 0 or beyond all machines (exit code 2), and whatever `work` fails with.
    pub fn in_threads(&self, work: impl FnOnce() -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
        if let Some(threads) = self.threads
            && !(1..=MOST_THREADS).contains(&threads)
        {
            return Err(usage(format!(
                "--threads is {threads}: give 1 to {MOST_THREADS}, or leave it out for all cores"
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.unwrap_or(0))
            .build()
            .context("cannot start the threads")?;
        pool.install(work)
    }
}
