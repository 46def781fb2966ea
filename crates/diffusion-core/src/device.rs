//! Which device computes, chosen by name at run time among the backends compiled in.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::DiffusionError;

/// A device by name: `cpu` or `flex`, `ndarray`, `wgpu`, `wgpu:<i>`, `cuda`, `cuda:<i>`.
///
/// `flex` is always compiled in; the others need the cargo feature of their name. `i` counts from 0 in the backend's
/// own order; without it the backend chooses.
///
/// ```
/// use diffusion_core::device::DeviceChoice;
///
/// let device = "cpu".parse::<DeviceChoice>()?.open()?;
/// assert!(!device.is_autodiff());
/// # Ok::<(), diffusion_core::DiffusionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The CPU through burn's Flex backend, with our own kernels.
    #[default]
    Flex,
    /// The CPU through burn's ndarray backend: slow, a second opinion.
    NdArray,
    /// A GPU through wgpu (Vulkan, Metal or DirectX 12).
    Wgpu(Option<usize>),
    /// An NVIDIA GPU through CUDA.
    Cuda(Option<usize>),
}

impl DeviceChoice {
    /// The device, without autodiff.
    ///
    /// # Errors
    /// [`DiffusionError::BackendMissing`] if its backend was not compiled in, [`DiffusionError::NoSuchDevice`] if the
    /// machine has none such.
    pub fn open(self) -> Result<Device, DiffusionError> {
        match self {
            Self::Flex => Ok(Device::flex()),
            Self::NdArray => self.open_ndarray(),
            Self::Wgpu(index) => self.open_wgpu(index),
            Self::Cuda(index) => self.open_cuda(index),
        }
    }

    /// The devices that this build can open on this machine.
    pub fn present() -> Vec<Self> {
        let mut present = vec![Self::Flex];
        if cfg!(feature = "ndarray") {
            present.push(Self::NdArray);
        }
        present.extend((0..wgpu_devices().len()).map(|i| Self::Wgpu(Some(i))));
        present.extend((0..cuda_devices().len()).map(|i| Self::Cuda(Some(i))));
        present
    }

    #[cfg(feature = "ndarray")]
    // burn 0.22 marks ndarray as deprecated in favour of Flex; here it serves as an independent check of Flex.
    #[allow(deprecated)]
    fn open_ndarray(self) -> Result<Device, DiffusionError> {
        Ok(Device::ndarray())
    }

    #[cfg(not(feature = "ndarray"))]
    fn open_ndarray(self) -> Result<Device, DiffusionError> {
        Err(self.backend_missing("ndarray"))
    }

    #[cfg(feature = "wgpu")]
    fn open_wgpu(self, index: Option<usize>) -> Result<Device, DiffusionError> {
        let found = wgpu_devices();
        match index {
            None if !found.is_empty() => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            None => Err(self.no_such_device("no Vulkan, Metal or DirectX 12 adapter was found".to_owned())),
            Some(i) => found.get(i).cloned().ok_or_else(|| {
                self.no_such_device(format!("{} wgpu adapters were found, counted from 0", found.len()))
            }),
        }
    }

    #[cfg(not(feature = "wgpu"))]
    fn open_wgpu(self, _index: Option<usize>) -> Result<Device, DiffusionError> {
        Err(self.backend_missing("wgpu"))
    }

    #[cfg(feature = "cuda")]
    fn open_cuda(self, index: Option<usize>) -> Result<Device, DiffusionError> {
        let found = cuda_devices();
        found.get(index.unwrap_or(0)).cloned().ok_or_else(|| match found.len() {
            0 => self.no_such_device("no NVIDIA driver or GPU was found".to_owned()),
            n => self.no_such_device(format!("{n} CUDA devices were found, counted from 0")),
        })
    }

    #[cfg(not(feature = "cuda"))]
    fn open_cuda(self, _index: Option<usize>) -> Result<Device, DiffusionError> {
        Err(self.backend_missing("cuda"))
    }

    #[cfg(not(all(feature = "ndarray", feature = "wgpu", feature = "cuda")))]
    fn backend_missing(self, feature: &'static str) -> DiffusionError {
        DiffusionError::BackendMissing { device: self.to_string(), feature }
    }

    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn no_such_device(self, reason: String) -> DiffusionError {
        let present: Vec<String> = Self::present().iter().map(Self::to_string).collect();
        DiffusionError::NoSuchDevice { device: self.to_string(), reason, present: present.join(", ") }
    }
}

#[cfg(feature = "wgpu")]
fn wgpu_devices() -> Vec<Device> {
    Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec()
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_devices() -> Vec<Device> {
    Vec::new()
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Vec<Device> {
    Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Vec<Device> {
    Vec::new()
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("cpu"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(i)) => write!(f, "wgpu:{i}"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(i)) => write!(f, "cuda:{i}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DiffusionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || DiffusionError::UnknownDevice { given: text.to_owned() };
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            // Digits only: `parse` alone would take `+1`.
            Some((name, index)) if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => {
                (name, Some(index.parse().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
        };
        match (name, index) {
            ("cpu" | "flex", None) => Ok(Self::Flex),
            ("ndarray", None) => Ok(Self::NdArray),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DiffusionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in ["cpu", "ndarray", "wgpu", "wgpu:0", "wgpu:12", "cuda", "cuda:1"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert_eq!("flex".parse::<DeviceChoice>().unwrap(), DeviceChoice::Flex);
        assert_eq!(serde_json::from_str::<DeviceChoice>("\"cuda:3\"").unwrap(), DeviceChoice::Cuda(Some(3)));
    }

    #[test]
    fn other_names_are_refused_with_the_right_ones() {
        for name in
            ["", "gpu", "CPU", "cpu:0", "ndarray:1", "cuda:", "cuda:-1", "cuda:+1", "wgpu:a", "wgpu:1:2"]
        {
            let error = name.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("ndarray") && error.contains(&format!("`{name}`")), "{error}");
        }
        assert!(format!("cuda:{}9", usize::MAX).parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn flex_is_always_present() {
        DeviceChoice::Flex.open().unwrap();
        assert!(DeviceChoice::present().contains(&DeviceChoice::Flex));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn missing_backend_names_its_feature() {
        let error = DeviceChoice::Cuda(Some(0)).open().unwrap_err().to_string();
        assert!(error.contains("cuda:0") && error.contains("--features cuda"), "{error}");
    }

    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    #[test]
    fn absent_device_is_named_with_those_present() {
        #[cfg(feature = "wgpu")]
        let choice = DeviceChoice::Wgpu(Some(4096));
        #[cfg(not(feature = "wgpu"))]
        let choice = DeviceChoice::Cuda(Some(4096));
        let error = choice.open().unwrap_err().to_string();
        assert!(error.contains(&choice.to_string()) && error.contains("cpu"), "{error}");
    }
}
