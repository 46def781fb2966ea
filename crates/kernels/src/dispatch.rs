//! How a tensor function finds its way to a kernel.
//!
//! An operation whose tensors all live on Flex as `f32` runs its kernels; on an autodiff device
//! its backward kernels are recorded as one step of burn's graph. Anything else is handed back,
//! and the caller runs burn's own operations.

// Which patterns can match depends on the backends compiled in.
#![allow(unreachable_patterns)]

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    Flex,
};
use burn::tensor::DType;
use std::fmt::Debug;
use std::marker::PhantomData;

use crate::flex::contiguous;

/// An operation on `N` tensors with a hand-written gradient.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the backward pass needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, and what to save. The inputs have no gaps.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// The result alone.
    fn infer(&self, inputs: [FlexTensor; N]) -> FlexTensor {
        self.forward(inputs).0
    }

    /// The gradient with respect to each input that `needed` names. `gradient` has no gaps.
    fn backward(
        &self,
        saved: Self::Saved,
        gradient: FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Runs `operation` on its kernels, or gives the inputs back where it has none.
pub(crate) fn apply<const N: usize, O: Operation<N>>(
    operation: O,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]> {
    if !inputs.iter().all(|input| runs_here(&input.kind)) {
        return Err(inputs);
    }
    let context = inputs
        .iter()
        .find(|input| input.autodiff != DispatchAutodiffContext::Disabled)
        .map_or(DispatchAutodiffContext::Disabled, |input| input.autodiff);
    let mixed = inputs
        .iter()
        .any(|input| input.autodiff != context && input.autodiff != DispatchAutodiffContext::Disabled);
    if mixed {
        // Two checkpointing strategies: burn says so better than we could.
        return Err(inputs);
    }
    if context == DispatchAutodiffContext::Disabled {
        let output = operation.infer(inputs.map(|input| contiguous(plain(input.kind))));
        return Ok(wrap_plain(output));
    }
    let inputs = inputs.map(|input| tracked(input.kind));
    let output = record(operation, inputs);
    Ok(DispatchTensor {
        kind: DispatchTensorKind::Autodiff(Box::new(DispatchTensorKind::Flex(BackendTensor::Autodiff(
            output,
        )))),
        autodiff: context,
    })
}

/// A Flex tensor as burn's tensors hold it.
pub(crate) fn wrap_plain(tensor: FlexTensor) -> DispatchTensor {
    DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    }
}

/// The Flex tensors inside, if all are `f32` on Flex without autodiff.
pub(crate) fn unwrap_plain<const N: usize>(
    inputs: [DispatchTensor; N],
) -> Result<[FlexTensor; N], [DispatchTensor; N]> {
    let here = |input: &DispatchTensor| {
        runs_here(&input.kind) && !matches!(input.kind, DispatchTensorKind::Autodiff(_))
    };
    if inputs.iter().all(here) { Ok(inputs.map(|input| plain(input.kind))) } else { Err(inputs) }
}

fn runs_here(kind: &DispatchTensorKind) -> bool {
    match kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor.dtype() == DType::F32,
        DispatchTensorKind::Autodiff(inner) => match &**inner {
            DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) => {
                tensor.primitive().dtype() == DType::F32
            }
            _ => false,
        },
        _ => false,
    }
}

fn plain(kind: DispatchTensorKind) -> FlexTensor {
    match kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        _ => unreachable!("only called on what `runs_here` accepted, without autodiff"),
    }
}

fn tracked(kind: DispatchTensorKind) -> FloatTensor<Autodiff<Flex>> {
    match kind {
        DispatchTensorKind::Flex(tensor) => Autodiff::<Flex>::from_inner(tensor.float()),
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            _ => unreachable!("only called on what `runs_here` accepted"),
        },
        _ => unreachable!("only called on what `runs_here` accepted"),
    }
}

/// The backward step of an operation; it keeps nothing itself, as burn asks.
struct Step<O>(PhantomData<fn() -> O>);

impl<O> Debug for Step<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<O>())
    }
}

impl<const N: usize, O: Operation<N>> Backward<Flex, N> for Step<O> {
    type State = (O, O::Saved);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = contiguous(grads.consume::<Flex>(&ops.node));
        let (operation, saved) = ops.state;
        let needed = std::array::from_fn(|i| ops.parents[i].is_some());
        let gradients = operation.backward(saved, gradient, needed);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

fn record<const N: usize, O: Operation<N>>(
    operation: O,
    inputs: [FloatTensor<Autodiff<Flex>>; N],
) -> FloatTensor<Autodiff<Flex>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| contiguous(input.into_primitive()));
    // What a step saves is held by the step itself, so the checkpointing strategy plays no part.
    match Step::<O>(PhantomData).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, saved) = operation.forward(inputs);
            prepared.finish((operation, saved), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.infer(inputs)),
    }
}
