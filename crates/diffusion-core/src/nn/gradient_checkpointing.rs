//! Gradient checkpointing: what a part of a network computes on the way to its result is not kept for the backward pass, but
//! computed again in it.
//!
//! Of burn's two strategies, `BalancedCheckpointing` computes cheap operations again, such as sums; the operations of
//! `kernels` keep what their gradients need all the same, and they are nearly all of a network. Here a whole [`Segment`] is
//! one step of burn's graph, as `torch.utils.checkpoint` does it: the forward pass runs it without a graph and keeps its
//! inputs; the backward pass runs it again, with a graph of its own, from the result's gradient to those of its inputs and
//! parameters. Time is spent on a second forward pass; the operations are the same, and so are the bits.
//!
//! Source: Chen et al. 2016, <https://arxiv.org/abs/1604.06174>.

use std::cell::Cell;
use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor, DispatchTensorKind, Flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::precision::{MixedPrecision, precision, with_precision};
use super::scoped::scoped;

thread_local! {
    static CHECKPOINTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with the segments of this thread checkpointed or not, and the former way again afterwards, also after a panic.
pub(crate) fn with_gradient_checkpointing<R>(on: bool, work: impl FnOnce() -> R) -> R {
    scoped(&CHECKPOINTING, on, work)
}

/// Whether a segment with this input is to be checkpointed.
pub(crate) fn checkpoints(input: &Tensor<4>) -> bool {
    CHECKPOINTING.get() && input.is_autodiff()
}

/// What goes into a segment.
#[derive(Debug, Clone)]
pub(crate) struct SegmentInput {
    /// `[batch, channels, height, width]`
    pub x: Tensor<4>,
    /// A map beside it, `[batch, more channels, height, width]`.
    pub skip: Option<Tensor<4>>,
    /// A shift of channels, `[batch, width]`.
    pub shift: Option<Tensor<2>>,
}

impl SegmentInput {
    /// A map alone.
    pub fn of(x: Tensor<4>) -> Self {
        Self { x, skip: None, shift: None }
    }

    fn without_autodiff(self) -> Self {
        Self {
            x: self.x.without_autodiff(),
            skip: self.skip.map(Tensor::without_autodiff),
            shift: self.shift.map(Tensor::without_autodiff),
        }
    }

    fn is_tracked(&self) -> bool {
        self.x.is_tracked()
            || self.skip.as_ref().is_some_and(Tensor::is_tracked)
            || self.shift.as_ref().is_some_and(Tensor::is_tracked)
    }
}

/// A part of a network that can run twice to the same bits.
pub(crate) trait Segment: Module + 'static {
    /// Its result, `[batch, channels, height, width]`.
    fn run(&self, input: SegmentInput) -> Tensor<4>;
}

/// The result of `segment`, as one step of the graph. Inputs must be on an autodiff device.
pub(crate) fn checkpointed<S: Segment>(segment: &S, mut input: SegmentInput) -> Tensor<4> {
    let parameters = parameter_nodes(segment);
    let anchored = !input.is_tracked() && parameters.iter().any(Option::is_some);
    if anchored {
        // A step of the graph needs an input that takes part in it; nobody asks for this one's gradient.
        input.x = input.x.detach().require_grad();
    }
    let kept = Kept {
        segment: segment.valid(),
        input: input.clone().without_autodiff(),
        anchored,
        parameters,
        precision: precision(),
    };
    match backend_of(&input.x) {
        Some(DispatchTensorKind::Flex(_)) => record::<Flex, S>(kept, input),
        #[cfg(feature = "ndarray")]
        Some(DispatchTensorKind::NdArray(_)) => record::<burn::backend::NdArray, S>(kept, input),
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        Some(DispatchTensorKind::Cube(_)) => record::<burn::backend::Cube, S>(kept, input),
        // Devices are opened on these backends alone.
        #[allow(unreachable_patterns)]
        other => unreachable!("gradient checkpointing on {other:?}"),
    }
}

/// The tensor's kind below autodiff.
fn backend_of(x: &Tensor<4>) -> Option<DispatchTensorKind> {
    match x.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(inner) => Some(*inner),
        _ => None,
    }
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
struct Kept<S> {
    /// Without autodiff, as the inputs.
    segment: S,
    input: SegmentInput,
    /// Whether the first input has a place in the graph only for the parameters' sake.
    anchored: bool,
    /// The place of each parameter in the graph, if it is trained.
    parameters: Vec<Option<NodeId>>,
    precision: MixedPrecision,
}

impl<S: Segment> Kept<S> {
    /// Runs the segment with a graph of its own, whose leaves are its parameters and the inputs that `wanted` names.
    fn replay(self, wanted: [bool; 3], gradient: Tensor<4>) -> Replay<S> {
        let [x, skip, shift] = wanted;
        let segment = self.segment.train();
        let input = SegmentInput {
            x: leaf(self.input.x, x && !self.anchored),
            skip: self.input.skip.map(|map| leaf(map, skip)),
            shift: self.input.shift.map(|map| leaf(map, shift)),
        };
        let result = with_gradient_checkpointing(false, || {
            with_precision(self.precision, || segment.run(input.clone()))
        });
        // The gradient of this sum with respect to the result is `gradient`, to the bit.
        let gradients = (result * gradient.autodiff()).sum().backward();
        Replay { segment, input, gradients }
    }
}

fn leaf<const D: usize>(x: Tensor<D>, wanted: bool) -> Tensor<D> {
    x.autodiff().set_require_grad(wanted)
}

/// A segment that ran again, and its gradients.
struct Replay<S> {
    segment: S,
    input: SegmentInput,
    gradients: burn::tensor::Gradients,
}

fn record<B, S>(kept: Kept<S>, input: SegmentInput) -> Tensor<4>
where
    B: Backend,
    S: Segment,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    // An input that is not there takes its place among the parents without being tracked.
    let nobody = || tracked::<B, 4>(input.x.clone().detach());
    let nodes = [
        tracked::<B, 4>(input.x.clone()).node(),
        input.skip.clone().map_or_else(nobody, tracked::<B, 4>).node(),
        input.shift.clone().map_or_else(nobody, tracked::<B, 2>).node(),
    ];
    drop(input);
    let output = primitive::<B, 4>(kept.segment.run(kept.input.clone()));
    // The step itself holds what it needs, so that burn's own strategy plays no part.
    let step = Step::<S>(PhantomData).prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
    let output = match step {
        OpsKind::Tracked(prepared) => prepared.finish(kept, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<B>>(output)
}

fn tracked<B, const D: usize>(x: Tensor<D>) -> FloatTensor<Autodiff<B>>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<Autodiff<B>>,
{
    // `checkpointed` chose the backend by the first input, and a network's tensors are all on one.
    x.autodiff().try_into_primitive::<Autodiff<B>>().expect("all tensors of a network are on one backend")
}

fn primitive<B, const D: usize>(x: Tensor<D>) -> FloatTensor<B>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    // As above.
    x.try_into_primitive::<B>().expect("all tensors of a network are on one backend")
}

/// The backward step of a segment; it keeps nothing itself, as burn asks.
struct Step<S>(PhantomData<fn() -> S>);

impl<S> Debug for Step<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<S>())
    }
}

impl<B, S> Backward<B, 3> for Step<S>
where
    B: Backend,
    S: Segment,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    type State = Kept<S>;

    fn backward(self, ops: Ops<Kept<S>, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = Tensor::from_primitive::<B>(grads.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let parameters = ops.state.parameters.clone();
        let Replay { segment, input, mut gradients } = ops.state.replay(wanted, gradient);
        let nodes = ops.parents.map(|parent| parent.map(|node| node.id));
        let mut hand_over = HandOver::<B> { from: &mut gradients, to: grads, backend: PhantomData };
        hand_over.gradient(&input.x, nodes[0]);
        if let Some(skip) = &input.skip {
            hand_over.gradient(skip, nodes[1]);
        }
        if let Some(shift) = &input.shift {
            hand_over.gradient(shift, nodes[2]);
        }
        segment.visit(&mut ParameterHandOver { hand_over, nodes: parameters.into_iter() });
    }
}

/// Moves gradients from the graph of a segment to the one that the segment is a step of.
struct HandOver<'a, B> {
    from: &'a mut burn::tensor::Gradients,
    to: &'a mut Gradients,
    backend: PhantomData<B>,
}

impl<B> HandOver<'_, B>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn gradient<const D: usize>(&mut self, of: &Tensor<D>, node: Option<NodeId>) {
        if let (Some(node), Some(gradient)) = (node, of.grad_remove(self.from)) {
            self.to.register::<B>(node, primitive::<B, D>(gradient));
        }
    }
}

struct ParameterHandOver<'a, B> {
    hand_over: HandOver<'a, B>,
    nodes: std::vec::IntoIter<Option<NodeId>>,
}

impl<B> ModuleVisitor for ParameterHandOver<'_, B>
where
    B: Backend,
    DispatchTensor: DispatchKindConversion<B>,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let node = self.nodes.next().flatten();
        self.hand_over.gradient(&param.base(), node);
    }
}

/// The place in the graph of each parameter that is trained, in the module's order.
fn parameter_nodes<S: Module>(segment: &S) -> Vec<Option<NodeId>> {
    struct Nodes(Vec<Option<NodeId>>);
    impl ModuleVisitor for Nodes {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.base();
            self.0.push(value.is_require_grad().then(|| node_of(value.clone())).flatten());
        }
    }
    let mut visitor = Nodes(Vec::new());
    segment.visit(&mut visitor);
    visitor.0
}

fn node_of<const D: usize>(x: Tensor<D>) -> Option<NodeId> {
    let DispatchTensorKind::Autodiff(inner) = x.into_dispatch().kind else { return None };
    #[allow(unreachable_patterns)]
    match *inner {
        DispatchTensorKind::Flex(tensor) => Some(tensor.as_autodiff().id()),
        #[cfg(feature = "ndarray")]
        DispatchTensorKind::NdArray(tensor) => Some(tensor.as_autodiff().id()),
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        DispatchTensorKind::Cube(tensor) => Some(tensor.as_autodiff().id()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use burn::tensor::{Device, activation};

    use super::*;

    /// silu(scale x) scale + skip + shift, counting how often it is computed.
    #[derive(Module, Debug)]
    struct Counted {
        scale: Param<Tensor<4>>,
        #[module(skip)]
        runs: Arc<AtomicUsize>,
    }

    impl Segment for Counted {
        fn run(&self, input: SegmentInput) -> Tensor<4> {
            self.runs.fetch_add(1, Ordering::Relaxed);
            let scale = self.scale.val();
            let y = activation::silu(input.x * scale.clone()) * scale;
            let y = input.skip.map_or(y.clone(), |skip| y + skip);
            input.shift.map_or(y.clone(), |shift| y + shift.reshape([2, 1, 1, 1]))
        }
    }

    fn map(values: [f32; 2], device: &Device) -> Tensor<4> {
        Tensor::<1>::from_data(values, device).reshape([2, 1, 1, 1])
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.try_into_vec_as::<f32>().unwrap()
    }

    /// The result, the gradients of the scale and of all three inputs, and the number of runs before and after the
    /// backward pass. `tracked` are the inputs that want gradients.
    fn results(checkpointing: bool, tracked: bool, frozen: bool) -> (Vec<Option<Vec<f32>>>, [usize; 2]) {
        let device = Device::flex().autodiff();
        let segment = Counted {
            scale: Param::from_tensor(map([0.7, -1.3], &device)).set_require_grad(!frozen),
            runs: Arc::default(),
        };
        let x = map([1.5, 0.3], &device).set_require_grad(tracked);
        let skip = map([0.1, 0.2], &device).set_require_grad(tracked);
        let shift = Tensor::<2>::from_data([[3.0], [4.0]], &device).set_require_grad(tracked);
        let input = SegmentInput { x: x.clone(), skip: Some(skip.clone()), shift: Some(shift.clone()) };
        let y = with_gradient_checkpointing(checkpointing, || {
            if checkpoints(&input.x) { checkpointed(&segment, input) } else { segment.run(input) }
        });
        let once = segment.runs.load(Ordering::Relaxed);
        let result = Some(values(y.clone()));
        // Used twice, so that the gradient of the result is a sum.
        let mut gradients = (y.clone() * y.clone() + y * 3.0).sum().backward();
        let runs = [once, segment.runs.load(Ordering::Relaxed)];
        let found = vec![
            result,
            segment.scale.val().grad_remove(&mut gradients).map(values),
            x.grad_remove(&mut gradients).map(values),
            skip.grad_remove(&mut gradients).map(values),
            shift.grad_remove(&mut gradients).map(values),
        ];
        (found, runs)
    }

    #[test]
    fn gradients_are_the_same_bits_from_a_second_run() {
        for (tracked, frozen) in [(true, false), (true, true), (false, false)] {
            let (kept, runs) = results(false, tracked, frozen);
            assert_eq!(runs, [1, 1]);
            let (again, runs) = results(true, tracked, frozen);
            assert_eq!(runs, [1, 2]);
            assert_eq!(again, kept, "inputs tracked: {tracked}, parameters frozen: {frozen}");
            assert_eq!((kept[1].is_none(), kept[2].is_none()), (frozen, !tracked));
        }
    }

    #[test]
    fn checkpointing_ends_with_its_scope_and_is_for_tracked_devices() {
        let on = |device: &Device| checkpoints(&map([1.0, 2.0], device));
        let (plain, tracked) = (Device::flex(), Device::flex().autodiff());
        let panicked =
            std::panic::catch_unwind(|| with_gradient_checkpointing(true, || panic!("on purpose")));
        assert!(panicked.is_err() && !on(&tracked));
        with_gradient_checkpointing(true, || {
            assert!(on(&tracked) && !on(&plain));
            with_gradient_checkpointing(false, || assert!(!on(&tracked)));
            assert!(on(&tracked));
        });
    }
}
