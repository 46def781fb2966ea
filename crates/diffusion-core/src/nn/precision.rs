//! Mixed precision: which numbers are rounded to a 16-bit type in a forward and backward pass.

use std::cell::Cell;

use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use super::scoped::scoped;
use crate::DiffusionError;

/// The type that the layers with weights store their numbers in during training.
///
/// Convolutions and affine maps take their input, weight and bias rounded to this type and round their result to it, and
/// so they do with the gradients of all four; between, they multiply and add in 32 bits. What they hand to attention is
/// hence rounded, too. Everything else is in 32 bits as always: group norm, SiLU, softmax, sums of branches, the sinusoids
/// of the time embedding, the loss, the clipping, the optimiser with its master weights, and the average.
///
/// Source: Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>; the layers are those that `torch.autocast` runs
/// low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixedPrecision {
    /// 32 bits throughout.
    #[default]
    No,
    /// IEEE half precision: 11 significant bits, at most 65504. Its gradients need a scaled loss.
    Fp16,
    /// The upper half of 32 bits: 8 significant bits, the range of 32 bits.
    Bf16,
}

impl MixedPrecision {
    /// Whether this is [`No`](Self::No).
    // By reference, as serde's `skip_serializing_if` calls it.
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }

    /// Whether the loss is scaled: where small gradients would vanish.
    pub fn scales_loss(self) -> bool {
        self == Self::Fp16
    }

    fn low_type(self) -> Option<FloatDType> {
        match self {
            Self::No => None,
            Self::Fp16 => Some(FloatDType::F16),
            Self::Bf16 => Some(FloatDType::BF16),
        }
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }

    /// Checks that `device` has the type; `name` is how a message calls the device.
    ///
    /// # Errors
    /// [`DiffusionError::NoSuchNumbers`].
    pub fn require_on(self, device: &Device, name: &str) -> Result<(), DiffusionError> {
        self.require_of(name, |low| device.supports_dtype(low))
    }

    fn require_of(self, name: &str, has: impl Fn(FloatDType) -> bool) -> Result<(), DiffusionError> {
        match self.low_type() {
            Some(low) if !has(low) => {
                Err(DiffusionError::NoSuchNumbers { precision: self.name(), device: name.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

thread_local! {
    static PRECISION: Cell<MixedPrecision> = const { Cell::new(MixedPrecision::No) };
}

/// Runs `work` with the layers of this thread rounding as `precision` says, and the former way again afterwards, also
/// after a panic.
///
/// Gradients of what was computed in `work` are rounded wherever the backward pass runs.
pub fn with_precision<R>(precision: MixedPrecision, work: impl FnOnce() -> R) -> R {
    scoped(&PRECISION, precision, work)
}

/// How the layers of this thread round.
pub(super) fn precision() -> MixedPrecision {
    PRECISION.get()
}

/// `x` rounded to the low type of this thread, to nearest with ties to even, as 32-bit numbers; its gradient is rounded
/// likewise. Without a low type, `x` itself.
pub(super) fn rounded<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // The derivative of a cast is a cast to the type of its input: the second one's rounds, the first one's widens.
    match precision().low_type() {
        None => x,
        Some(low) => x.cast(low).cast(FloatDType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_gradients_are_rounded_to_nearest() {
        let device = Device::flex().autodiff();
        // 1 + 2^-8 lies halfway between bf16's 1 and 1 + 2^-7 (ties to even: 1), 1 + 3 * 2^-8 rounds up to 1 + 2^-6.
        let x = Tensor::<1>::from_data([1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], &device).require_grad();
        let factor = Tensor::<1>::from_data([1.005, 70000.0], &device);
        for (precision, values, gradients) in [
            (MixedPrecision::No, [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], [1.005, 70000.0]),
            (MixedPrecision::Bf16, [1.0, 1.015625], [1.0078125, 70144.0]),
            (MixedPrecision::Fp16, [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], [1.0048828, f32::INFINITY]),
        ] {
            let y = with_precision(precision, || rounded(x.clone()));
            assert_eq!(y.clone().try_into_vec_as::<f32>().unwrap(), values, "{precision:?}");
            let mut all = (y * factor.clone()).sum().backward();
            let gradient = x.grad_remove(&mut all).unwrap();
            assert_eq!(gradient.try_into_vec_as::<f32>().unwrap(), gradients, "{precision:?}");
        }
    }

    #[test]
    fn precision_ends_with_its_scope() {
        let panicked =
            std::panic::catch_unwind(|| with_precision(MixedPrecision::Bf16, || panic!("on purpose")));
        assert!(panicked.is_err());
        with_precision(MixedPrecision::Fp16, || {
            with_precision(MixedPrecision::No, || assert_eq!(PRECISION.get(), MixedPrecision::No));
            assert_eq!(PRECISION.get(), MixedPrecision::Fp16);
        });
        assert_eq!(PRECISION.get(), MixedPrecision::No);
    }

    #[test]
    fn names_are_those_of_the_reference() {
        let all = [MixedPrecision::No, MixedPrecision::Fp16, MixedPrecision::Bf16];
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["no","fp16","bf16"]"#);
        assert_eq!(all.map(MixedPrecision::name), ["no", "fp16", "bf16"]);
    }

    #[test]
    fn a_device_without_the_type_is_named_with_setting_and_remedy() {
        for (precision, type_of_it) in
            [(MixedPrecision::Fp16, FloatDType::F16), (MixedPrecision::Bf16, FloatDType::BF16)]
        {
            precision.require_on(&Device::flex(), "cpu").unwrap();
            let error = precision.require_of("wgpu:1", |low| low != type_of_it).unwrap_err().to_string();
            for part in ["mixed_precision", precision.name(), "`wgpu:1`", "`no`", "--device"] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        MixedPrecision::No.require_of("wgpu:1", |_| false).unwrap();
    }
}
