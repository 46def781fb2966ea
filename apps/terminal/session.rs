//! What a binary sets up before its work.

use std::path::Path;

use diffusion_core::Device;
use study::{Context, StudyConfig};

use crate::bars::Bars;
use crate::compute::ComputeArgs;
use crate::output::tell;
use crate::stop::StopFlag;

/// An open device, a listener for Ctrl-C, and progress on stderr.
pub struct Session {
    /// The device, without autodiff.
    pub device: Device,
    /// The device in words.
    pub device_name: String,
    /// Progress on stderr.
    pub progress: Bars,
}

impl Session {
    /// Opens the device and listens for Ctrl-C.
    ///
    /// # Errors
    /// As [`ComputeArgs::open`] and [`StopFlag::install`].
    pub fn start(compute: &ComputeArgs) -> anyhow::Result<Self> {
        let device = compute.open()?;
        let stop = StopFlag::install()?;
        let progress = Bars::new(compute.quiet, stop);
        Ok(Self { device, device_name: compute.device.to_string(), progress })
    }

    /// Reads a study file and opens its images and feature extractors.
    ///
    /// # Errors
    /// As [`StudyConfig::read`] and [`Context::open`].
    pub fn open_study(&self, path: &Path) -> anyhow::Result<Context> {
        self.open(StudyConfig::read(path)?)
    }

    /// Opens the images and feature extractors of a study. What was done to images that their makers might not expect is
    /// printed, even where progress is not.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open(&self, config: StudyConfig) -> anyhow::Result<Context> {
        let (device, name) = (self.device.clone(), self.device_name.clone());
        let context = Context::open_with(config, device, name, &self.progress)?;
        for notice in context.dataset.notices() {
            tell(format_args!("warning: {notice}"));
        }
        Ok(context)
    }
}
