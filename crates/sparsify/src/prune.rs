//! Pruning in one or several steps, from weights to smaller weights.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use diffusion_core::unet::initial_weights;
use diffusion_core::{StateDict, UNet2DConfig};
use streams::Streams;

use crate::selection::{Positions, choose};
use crate::{
    DependencyGraph, Evidence, GroupPlan, Importance, KeptChannels, Plan, PruningSettings, Side,
    SparsifyError, surgery,
};

/// A smaller network, and which channels of the larger one it kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// The architecture.
    pub config: UNet2DConfig,
    /// The weights: those that were kept, or new ones for [`Importance::Reinit`].
    pub weights: StateDict,
    /// The channels that stay, by their numbers in the network before the first step.
    pub plan: Plan,
}

/// Gives the gradients of the loss for a network, whose architecture and weights it is told; by its parameters' names.
/// Asked once before each step.
pub type Gradients<'a, E> = dyn FnMut(&UNet2DConfig, &StateDict) -> Result<Arc<StateDict>, E> + 'a;

/// Ranks channels, removes the least, and repeats this for as many steps as the settings say.
///
/// `gradients` is asked only by importances that [need it](Importance::needs_gradients). Random ranks, and the weights of
/// [`Importance::Reinit`], come from `streams`.
///
/// ```
/// use diffusion_core::{UNet2DConfig, unet::initial_weights};
/// use sparsify::{PruningSettings, Ratio, Scope, SparsifyError, prune};
/// use streams::Streams;
///
/// let config = UNet2DConfig::small(16, &[16, 32]);
/// let weights = initial_weights(&config, &Streams::new(0))?;
/// let settings = PruningSettings {
///     scope: Scope::Global,
///     iterative_steps: 3,
///     ..PruningSettings::new(Ratio::new(0.4)?)
/// };
/// let pruned = prune(&config, &weights, settings, &Streams::new(1), &mut |_, _| -> Result<_, SparsifyError> {
///     unreachable!("magnitude needs no gradients")
/// })?;
/// assert!(pruned.weights.parameter_count() < weights.parameter_count());
/// # Ok::<(), SparsifyError>(())
/// ```
///
/// # Errors
/// Those of [`PruningSettings::validate`], [`DependencyGraph::of`], [`Importance::scores`] and `gradients`.
pub fn prune<E: From<SparsifyError>>(
    config: &UNet2DConfig,
    weights: &StateDict,
    settings: PruningSettings,
    streams: &Streams,
    gradients: &mut Gradients<'_, E>,
) -> Result<Pruned, E> {
    settings.validate()?;
    let start = DependencyGraph::of(config)?;
    let initial = Positions::of(&start);
    let mut kept: BTreeMap<String, KeptChannels> =
        start.groups().iter().map(|group| (group.name.clone(), KeptChannels::all(group.channels))).collect();
    let mut network = (Cow::Borrowed(config), Cow::Borrowed(weights));
    for step in 0..settings.iterative_steps {
        let gradient = match settings.importance.needs_gradients() {
            true => Some(gradients(&network.0, &network.1)?),
            false => None,
        };
        let ratio = f64::from(step + 1) / f64::from(settings.iterative_steps) * settings.ratio.get();
        let (plan, graph) = one_step(&network, gradient, &initial, settings, ratio, streams, step)?;
        let (smaller, smaller_weights) = surgery(&network.0, &network.1, &plan)?;
        follow(&mut kept, &graph, &plan)?;
        network = (Cow::Owned(smaller), Cow::Owned(smaller_weights));
    }
    let (config, weights) = (network.0.into_owned(), network.1);
    let weights = match settings.importance {
        Importance::Reinit => {
            initial_weights(&config, &streams.child("initial weights", 0)).map_err(SparsifyError::from)?
        }
        _ => weights.into_owned(),
    };
    let groups = start.groups().iter().map(|group| {
        // Every group of the network was put in before the first step.
        let kept = kept.remove(&group.name).unwrap_or_else(|| KeptChannels::all(group.channels));
        (group.name.clone(), GroupPlan { channels: group.channels, blocks: group.blocks, kept })
    });
    let plan = Plan::of_groups(settings, groups);
    Ok(Pruned { config, weights, plan })
}

/// The plan of one step, in the channel numbers of the network before it, and that network's groups.
fn one_step(
    (config, weights): &(Cow<'_, UNet2DConfig>, Cow<'_, StateDict>),
    gradients: Option<Arc<StateDict>>,
    initial: &Positions,
    settings: PruningSettings,
    ratio: f64,
    streams: &Streams,
    step: u32,
) -> Result<(Plan, DependencyGraph), SparsifyError> {
    let graph = DependencyGraph::of(config)?;
    // The first step ranks as pruning at once does.
    let streams = if step == 0 { *streams } else { streams.child("pruning step", u64::from(step)) };
    let evidence = Evidence { weights, gradients: gradients.as_deref(), streams };
    let scores = settings.importance.scores(&graph, evidence)?;
    let chosen = choose(&graph, &scores, initial, settings, ratio)?;
    let names = graph.groups().iter().map(|group| group.name.clone());
    Ok((Plan::of_groups(settings, names.zip(chosen)), graph))
}

/// Takes out of `kept`, by original number, what the plan of a step removes.
fn follow(
    kept: &mut BTreeMap<String, KeptChannels>,
    graph: &DependencyGraph,
    plan: &Plan,
) -> Result<(), SparsifyError> {
    for (name, channels) in kept {
        // A group is named by a layer that writes its channels. Two groups that have become equally wide may be one by
        // now, under the name of the other.
        let holds = |slice: &crate::Slice| slice.side == Side::Output && slice.layer == *name;
        let group = graph.groups().iter().find(|group| group.slices.iter().any(holds));
        let Some(plan) = group.and_then(|group| plan.groups.get(&group.name)) else {
            let reason = "it is in the network before a step, but not in the plan of the step".to_owned();
            return Err(SparsifyError::PlanMismatch { group: name.clone(), reason });
        };
        let before = channels.as_slice();
        let after = plan.kept.as_slice().iter().filter_map(|&channel| before.get(channel).copied());
        *channels = KeptChannels::new(after.collect())?;
    }
    Ok(())
}
