//! `--device`, `--threads` and `--quiet`.

use anyhow::Context;
use clap::Args;
use diffusion_core::Device;
use diffusion_core::device::DeviceChoice;

use crate::exit::usage;

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
    /// Sets the size of the thread pool and opens the device.
    ///
    /// # Errors
    /// `--threads 0`, or a device that this build or machine does not have (both exit code 2).
    pub fn open(&self) -> anyhow::Result<Device> {
        if self.threads == Some(0) {
            return Err(usage("--threads is 0: give 1 or more, or leave it out for all cores"));
        }
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("the thread pool was already started")?;
        }
        self.device.open().map_err(|error| usage(error.to_string()))
    }
}
