//! The parameters of any module as flat arrays in a fixed order, and by name.
//!
//! Optimisers, averages and files treat a parameter as a row of numbers, whatever its rank. The order is the module's
//! own (that of its fields), the name is the path of fields, which for [`UNet2DModel`](crate::unet::UNet2DModel) is
//! diffusers' key.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::DiffusionError;
use crate::state_dict::{StateDict, TensorF32};

/// What is known of a parameter without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Path of fields, joined by dots.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// burn's identity of the parameter.
    pub id: ParamId,
}

impl ParameterInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The floating-point parameters of a module in its order.
pub fn parameter_infos<M: Module>(module: &M) -> Vec<ParameterInfo> {
    struct Infos {
        path: Vec<String>,
        found: Vec<ParameterInfo>,
    }
    impl ModuleVisitor for Infos {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().to_vec();
            self.found.push(ParameterInfo { name: self.path.join("."), shape, id: param.id });
        }
    }
    let mut visitor = Infos { path: Vec::new(), found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// The values of all parameters, each `[values]`, without autodiff; they share memory with the module.
pub fn flat_values<M: Module>(module: &M) -> Vec<Tensor<1>> {
    struct Values(Vec<Tensor<1>>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.base().without_autodiff().reshape([-1]));
        }
    }
    let mut visitor = Values(Vec::new());
    module.visit(&mut visitor);
    visitor.0
}

/// Takes the gradients of all parameters out of `gradients`, each `[values]`, without autodiff; `None` for parameters
/// that are frozen or had no part in the loss.
pub fn take_flat_gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Vec<Option<Tensor<1>>> {
    struct Taker<'a> {
        gradients: &'a mut Gradients,
        taken: Vec<Option<Tensor<1>>>,
    }
    impl ModuleVisitor for Taker<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.base().grad_remove(self.gradients);
            self.taken.push(gradient.map(|gradient| gradient.reshape([-1])));
        }
    }
    let mut visitor = Taker { gradients, taken: Vec::new() };
    module.visit(&mut visitor);
    visitor.taken
}

/// Replaces the values of each parameter: `change(i, values)` gets and gives the values of parameter `i` as
/// `[values]`, without autodiff. Identities, freezing and the autodiff context stay as they are.
///
/// The values given to `change` are owned, so that it can work in place if nothing else holds the module's memory.
pub fn map_flat_values<M: Module>(module: M, change: impl FnMut(usize, Tensor<1>) -> Tensor<1>) -> M {
    struct Changer<F> {
        change: F,
        next: usize,
    }
    impl<F: FnMut(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Changer<F> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let shape = tensor.dims();
            let strategy = tensor.gradient_checkpointing_strategy();
            let require_grad = tensor.is_require_grad();
            let values = tensor.without_autodiff().reshape([-1]);
            let mut tensor = (self.change)(self.next, values).reshape(shape);
            self.next += 1;
            if let Some(strategy) = strategy {
                tensor = tensor
                    .autodiff()
                    .with_gradient_checkpointing_strategy(strategy)
                    .set_require_grad(require_grad);
            }
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    module.map(&mut Changer { change, next: 0 })
}

/// Copies rows of numbers off their device under the names and shapes of `infos`.
///
/// # Errors
/// [`DiffusionError::Device`] if the device fails to deliver them.
pub fn named_tensors(infos: &[ParameterInfo], values: &[Tensor<1>]) -> Result<StateDict, DiffusionError> {
    infos
        .iter()
        .zip(values)
        .map(|(info, values)| {
            Ok((info.name.clone(), TensorF32::new(info.shape.clone(), to_vec(values.clone())?)?))
        })
        .collect()
}

/// Copies a module's parameters off their device.
///
/// # Errors
/// [`DiffusionError::Device`] if the device fails to deliver them.
pub fn state_dict_of<M: Module>(module: &M) -> Result<StateDict, DiffusionError> {
    named_tensors(&parameter_infos(module), &flat_values(module))
}

/// Puts named arrays onto a device as rows of numbers in the order of `infos`.
///
/// # Errors
/// [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or [`DiffusionError::UnexpectedTensor`] naming
/// the tensor, unless names and shapes are exactly those of `infos`.
pub fn flat_tensors(
    infos: &[ParameterInfo],
    weights: &StateDict,
    device: &Device,
) -> Result<Vec<Tensor<1>>, DiffusionError> {
    weights.check_shapes(&infos.iter().map(|info| (info.name.clone(), info.shape.clone())).collect())?;
    infos.iter().map(|info| Ok(from_slice(weights.get(&info.name)?.data(), device))).collect()
}

/// The module with the given parameters, which must be exactly its own by name and shape.
///
/// # Errors
/// As [`flat_tensors`].
pub fn with_state_dict<M: Module>(module: M, weights: &StateDict) -> Result<M, DiffusionError> {
    let infos = parameter_infos(&module);
    let device = module_device(&module)?.without_autodiff();
    let mut values = flat_tensors(&infos, weights, &device)?.into_iter();
    Ok(map_flat_values(module, |_, old| values.next().unwrap_or(old)))
}

/// The device of a module's first parameter, with its autodiff context.
///
/// # Errors
/// [`DiffusionError::Setting`] if the module has no parameters.
pub fn module_device<M: Module>(module: &M) -> Result<Device, DiffusionError> {
    module.devices().into_iter().next().ok_or_else(|| {
        DiffusionError::setting("model", "has no parameters, so there is nothing to train or to sample from")
    })
}

/// A row of 32-bit floats on a device.
pub(crate) fn from_slice(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// Copies a tensor off its device as 32-bit floats in row-major order.
pub(crate) fn to_vec<const D: usize>(values: Tensor<D>) -> Result<Vec<f32>, DiffusionError> {
    values.try_into_vec_as::<f32>().map_err(|error| DiffusionError::Device { reason: error.to_string() })
}
