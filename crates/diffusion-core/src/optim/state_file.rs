//! The state of an optimiser as a file: 32-bit states as F32, 8-bit states as U8 codes with F32 scales.
//!
//! | tensor | content |
//! | --- | --- |
//! | `exp_avg.{parameter}`, `exp_avg_sq.{parameter}` | the moments, of the parameter's shape: F32, or U8 codes |
//! | `exp_avg_absmax.{parameter}`, `exp_avg_sq_absmax.{parameter}` | for U8: the scale of each block |
//! | `step` | updates made, `[1]` |

use std::collections::HashMap;

use burn::module::Module;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::adam::{FIRST, Moments, Optimizer, SECOND, STEP};
use super::config::{OptimizerConfig, StateBits};
use super::quantized::{QuantizedRow, State};
use crate::parameters::{ParameterInfo, from_slice, module_device, parameter_infos, to_vec};
use crate::{DiffusionError, StateDict};

const FIRST_SCALES: &str = "exp_avg_absmax.";
const SECOND_SCALES: &str = "exp_avg_sq_absmax.";

/// One tensor on its way to a file.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

impl Optimizer {
    /// The bytes of the state's safetensors file. Equal states give equal bytes.
    ///
    /// # Errors
    /// [`DiffusionError::Device`] if the device fails to deliver the state.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, DiffusionError> {
        if self.config().bits == StateBits::ThirtyTwo {
            return self.state_dict()?.to_safetensors();
        }
        let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let mut entries: Vec<Entry> = vec![(STEP.into(), Dtype::F32, vec![1], f32s(&[self.steps() as f32]))];
        for (info, state) in self.states() {
            let mut add = |prefix: &str, dtype, shape: Vec<usize>, bytes| {
                entries.push((format!("{prefix}{}", info.name), dtype, shape, bytes));
            };
            match state {
                State::Full(moments) => {
                    add(FIRST, Dtype::F32, info.shape.clone(), f32s(&to_vec(moments.first.clone())?));
                    add(SECOND, Dtype::F32, info.shape.clone(), f32s(&to_vec(moments.second.clone())?));
                }
                State::Quantized { first, second } => {
                    for (prefix, scales, row) in
                        [(FIRST, FIRST_SCALES, first), (SECOND, SECOND_SCALES, second)]
                    {
                        add(prefix, Dtype::U8, info.shape.clone(), row.codes.clone());
                        add(scales, Dtype::F32, vec![row.scales.len()], f32s(&row.scales));
                    }
                }
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let refused = |error: safetensors::SafeTensorError| DiffusionError::NotSafetensors {
            origin: "the optimiser's state to be written".to_owned(),
            reason: error.to_string(),
        };
        let mut views = Vec::with_capacity(entries.len());
        for (name, dtype, shape, bytes) in &entries {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(refused)?));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).map_err(refused)
    }

    /// An optimiser that goes on from the bytes of [`to_safetensors`](Self::to_safetensors); `origin` names them in
    /// errors.
    ///
    /// # Errors
    /// [`DiffusionError::OptimizerBits`] if the file's states are 8-bit and the settings' are not, or the other way
    /// round; else as [`Optimizer::from_state_dict`] and [`StateDict::from_safetensors`].
    pub fn from_safetensors<M: Module>(
        config: OptimizerConfig,
        module: &M,
        bytes: &[u8],
        origin: &str,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| DiffusionError::NotSafetensors {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
        let infos = parameter_infos(module);
        let eight = file.iter().any(|(_, view)| view.dtype() == Dtype::U8);
        let wanted = infos.iter().any(|info| config.quantizes(info.len()));
        if eight != wanted {
            let bits = |eight| if eight { 8 } else { 32 };
            return Err(DiffusionError::OptimizerBits {
                origin: origin.to_owned(),
                saved: bits(eight),
                wanted: bits(wanted),
            });
        }
        if !eight {
            return Self::from_state_dict(config, module, StateDict::from_safetensors(bytes, origin)?);
        }
        let reader = Reader { file: &file, origin };
        let device = module_device(module)?.without_autodiff();
        let mut states = Vec::with_capacity(infos.len());
        let mut expected = 1;
        for info in &infos {
            let moment = |prefix: &str| format!("{prefix}{}", info.name);
            states.push(if config.quantizes(info.len()) {
                expected += 4;
                let row =
                    |codes, scales| reader.row(&moment(codes), &moment(scales), info, config.block_size);
                State::Quantized { first: row(FIRST, FIRST_SCALES)?, second: row(SECOND, SECOND_SCALES)? }
            } else {
                expected += 2;
                let [first, second] = [FIRST, SECOND].map(|prefix| reader.f32s(&moment(prefix), &info.shape));
                State::Full(Moments {
                    first: from_slice(&first?, &device),
                    second: from_slice(&second?, &device),
                })
            });
        }
        if file.len() != expected {
            let known = |name: &str| {
                name == STEP
                    || [FIRST, SECOND, FIRST_SCALES, SECOND_SCALES].iter().any(|prefix| {
                        name.strip_prefix(prefix).is_some_and(|own| infos.iter().any(|info| info.name == own))
                    })
            };
            let surplus = file.names().into_iter().find(|name| !known(name)).unwrap_or("");
            return Err(DiffusionError::UnexpectedTensor { tensor: surplus.to_owned() });
        }
        let steps = reader.f32s(STEP, &[1])?[0];
        Self::from_states(config, infos, states, steps)
    }
}

struct Reader<'a> {
    file: &'a SafeTensors<'a>,
    origin: &'a str,
}

impl Reader<'_> {
    fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Vec<u8>, DiffusionError> {
        let view =
            self.file.tensor(name).map_err(|_| DiffusionError::MissingTensor { tensor: name.to_owned() })?;
        if view.dtype() != dtype {
            return Err(DiffusionError::UnsupportedDtype {
                origin: self.origin.to_owned(),
                tensor: name.to_owned(),
                dtype: view.dtype().to_string(),
            });
        }
        if view.shape() != shape {
            return Err(DiffusionError::ShapeMismatch {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                actual: view.shape().to_vec(),
            });
        }
        Ok(view.data().to_vec())
    }

    fn f32s(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, DiffusionError> {
        let bytes = self.bytes(name, Dtype::F32, shape)?;
        Ok(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    fn row(
        &self,
        codes: &str,
        scales: &str,
        info: &ParameterInfo,
        block_size: usize,
    ) -> Result<QuantizedRow, DiffusionError> {
        Ok(QuantizedRow {
            codes: self.bytes(codes, Dtype::U8, &info.shape)?,
            scales: self.f32s(scales, &[info.len().div_ceil(block_size)])?,
        })
    }
}
