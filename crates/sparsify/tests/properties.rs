//! What must hold for every network and ratio.

mod synthetic_weights;

use std::collections::BTreeMap;

use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, TensorF32, UNet2DConfig};
use proptest::prelude::*;
use sparsify::{
    DependencyGraph, Importance, Plan, PruningReport, PruningSettings, Ratio, Rounding, Scope, Side,
    SparsifyError, prune, surgery,
};
use streams::Streams;
use synthetic_weights::weights;

/// Networks of one to three levels with widths that are multiples of the norm groups.
fn configs() -> impl Strategy<Value = UNet2DConfig> {
    let groups = prop::sample::select(vec![1usize, 2, 4]);
    let widths = prop::collection::vec(1usize..=4, 1..=3);
    let attention = prop::collection::vec(any::<bool>(), 3);
    let head_dim = prop::option::of(prop::sample::select(vec![2usize, 4]));
    (groups, widths, attention, head_dim, 1usize..=2, any::<bool>()).prop_map(
        |(groups, widths, attention, head_dim, layers, middle)| {
            let widths: Vec<usize> = widths.iter().map(|width| 4 * width).collect();
            let attended: Vec<usize> = (0..widths.len()).filter(|&level| attention[level]).collect();
            UNet2DConfig {
                norm_num_groups: groups,
                attn_norm_num_groups: middle.then_some(2),
                attention_head_dim: head_dim,
                layers_per_block: layers,
                add_attention: middle,
                ..UNet2DConfig::small(8, &widths).with_attention_at(&attended)
            }
        },
    )
}

fn settings() -> impl Strategy<Value = PruningSettings> {
    (1u32..100, any::<bool>(), any::<bool>()).prop_map(|(percent, up, global)| PruningSettings {
        rounding: if up { Rounding::Up } else { Rounding::Down },
        scope: if global { Scope::Global } else { Scope::Group },
        ..PruningSettings::new(Ratio::new(f64::from(percent) / 100.0).unwrap())
    })
}

/// Weights that spell out their own place: the row and the column.
fn places(config: &UNet2DConfig) -> StateDict {
    let shapes = Layout::of(config).unwrap().parameter_shapes();
    let place = |shape: &[usize], i: usize| {
        let kernel: usize = shape.iter().skip(2).product();
        let columns = shape.get(1).copied().unwrap_or(1);
        (1000 * (i / kernel / columns) + i / kernel % columns) as f32
    };
    let tensor = |shape: Vec<usize>| {
        let data = (0..shape.iter().product()).map(|i| place(&shape, i)).collect();
        TensorF32::new(shape, data).unwrap()
    };
    shapes.into_iter().map(|(name, shape)| (name, tensor(shape))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn surgery_gives_a_network(config in configs(), settings in settings()) {
        let weights = weights(&config);
        let plan = Plan::new(&config, &weights, settings).unwrap();
        for (name, group) in &plan.groups {
            let kept = group.kept.as_slice();
            prop_assert!(!kept.is_empty() && kept.len() <= group.channels, "{name}");
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]) && kept[kept.len() - 1] < group.channels);
            prop_assert_eq!(kept.len() % group.blocks, 0, "{}", name);
            if (settings.rounding, settings.scope) == (Rounding::Down, Scope::Group) {
                prop_assert!(group.channels - kept.len() <= (group.channels as f64 * settings.ratio.get()).ceil() as usize);
            }
        }
        let (pruned_config, pruned) = surgery(&config, &weights, &plan).unwrap();
        pruned_config.validate().unwrap();
        pruned.check_shapes(&Layout::of(&pruned_config).unwrap().parameter_shapes()).unwrap();
        prop_assert_eq!(pruned_config.in_channels, config.in_channels);
        prop_assert_eq!(pruned.get("conv_out.bias").unwrap(), weights.get("conv_out.bias").unwrap());
        let report = PruningReport::of(&config, &pruned_config).unwrap();
        prop_assert_eq!(report.after.parameters, pruned.parameter_count());
        prop_assert!(report.parameters_left() <= 1.0 && report.macs_left() <= 1.0);

        // Through files, and again on what is left.
        prop_assert_eq!(&Plan::from_json(&plan.to_json(), "plan").unwrap(), &plan);
        let read = UNet2DConfig::from_json(&pruned_config.to_json(), "config.json").unwrap();
        prop_assert_eq!(&read, &pruned_config);
        let again = Plan::new(&read, &pruned, settings).unwrap();
        let (twice_config, twice) = surgery(&read, &pruned, &again).unwrap();
        twice.check_shapes(&Layout::of(&twice_config).unwrap().parameter_shapes()).unwrap();
        prop_assert!(surgery(&read, &pruned, &plan).is_err() || plan.whole_groups().count() == plan.groups.len());
    }

    /// However it was ranked and in however many steps: the plan, carried out at once, gives the same network, and rounded
    /// down, the steps never take more than the ratio.
    #[test]
    fn steps_add_up_to_a_plan(config in configs(), settings in settings(), steps in 1u32..5, lot in any::<bool>()) {
        let importance = if lot { Importance::Random } else { Importance::Magnitude };
        let settings = PruningSettings { iterative_steps: steps, importance, ..settings };
        let weights = weights(&config);
        let pruned = prune(&config, &weights, settings, &Streams::new(3), &mut |_, _| {
            Err(SparsifyError::NoGradients { importance })
        })
        .unwrap();
        let (cut_config, cut) = surgery(&config, &weights, &pruned.plan).unwrap();
        prop_assert_eq!(&cut_config, &pruned.config);
        prop_assert_eq!(&cut, &pruned.weights);
        if (settings.rounding, settings.scope) == (Rounding::Down, Scope::Group) {
            for (name, group) in &pruned.plan.groups {
                let most = (group.channels as f64 * settings.ratio.get()).ceil() as usize;
                prop_assert!(group.channels - group.kept.len() <= most, "{}", name);
            }
        }
    }

    /// Each value that is left stands where the plan says: row and column of every tensor are kept ones, in order.
    #[test]
    fn surgery_moves_values_as_the_plan_says(config in configs(), settings in settings()) {
        let plan = Plan::new(&config, &weights(&config), settings).unwrap();
        let (_, pruned) = surgery(&config, &places(&config), &plan).unwrap();
        let mut kept: BTreeMap<(String, usize), Vec<usize>> = BTreeMap::new();
        for group in DependencyGraph::of(&config).unwrap().groups() {
            for slice in &group.slices {
                for parameter in slice.parameters() {
                    let channels = plan.groups[&group.name].kept.as_slice().iter().map(|c| slice.offset + c);
                    kept.entry(parameter).or_default().extend(channels);
                }
            }
        }
        for (name, tensor) in pruned.iter() {
            let side = |axis: usize| {
                let mut side = kept.get(&(name.to_owned(), axis)).cloned();
                side.iter_mut().for_each(|channels| channels.sort_unstable());
                side.unwrap_or_else(|| (0..tensor.shape().get(axis).copied().unwrap_or(1)).collect())
            };
            let (rows, columns) = (side(0), side(1));
            let kernel: usize = tensor.shape().iter().skip(2).product();
            let expected = rows.iter().flat_map(|row| columns.iter().map(move |column| (1000 * row + column) as f32));
            prop_assert!(
                tensor.data().iter().copied().eq(expected.flat_map(|value| std::iter::repeat_n(value, kernel))),
                "{}", name
            );
        }
    }

    #[test]
    fn a_ratio_that_removes_nothing_is_the_identity(config in configs()) {
        let weights = weights(&config);
        let plan = Plan::new(&config, &weights, PruningSettings::new(Ratio::new(1e-17).unwrap())).unwrap();
        prop_assert_eq!(plan.whole_groups().count(), plan.groups.len());
        prop_assert_eq!(surgery(&config, &weights, &plan).unwrap(), (config, weights));
    }
}

#[test]
fn plans_and_weights_of_other_networks_are_refused() {
    let config = UNet2DConfig::small(8, &[8, 16]);
    let other = UNet2DConfig::small(8, &[8, 24]);
    let settings = PruningSettings::new(Ratio::new(0.5).unwrap());
    let plan = Plan::new(&config, &weights(&config), settings).unwrap();
    let error = surgery(&other, &weights(&other), &plan).unwrap_err().to_string();
    assert!(error.contains("does not fit this network") && error.contains("make a new plan"), "{error}");

    let mut longer = plan.clone();
    longer.groups.insert("up_blocks.9.conv".to_owned(), plan.groups["conv_in"].clone());
    assert!(
        surgery(&config, &weights(&config), &longer).unwrap_err().to_string().contains("up_blocks.9.conv")
    );
    let mut shorter = plan.clone();
    shorter.groups.remove("conv_in");
    assert!(surgery(&config, &weights(&config), &shorter).unwrap_err().to_string().contains("`conv_in`"));

    let error = Plan::new(&config, &weights(&other), settings).unwrap_err().to_string();
    assert!(error.contains("same model"), "{error}");
    let mut lacking = weights(&config);
    lacking.remove("conv_out.bias");
    assert!(surgery(&config, &lacking, &plan).unwrap_err().to_string().contains("conv_out.bias"));
}

/// Nothing the network reads or writes is ever cut, even at the highest ratios.
#[test]
fn inputs_and_outputs_are_in_no_group() {
    for config in [UNet2DConfig::cifar(), UNet2DConfig::celeba_latent(), UNet2DConfig::small(8, &[8])] {
        for group in DependencyGraph::of(&config).unwrap().groups() {
            for slice in &group.slices {
                let end = (slice.layer.as_str(), slice.side);
                assert!(![("conv_out", Side::Output), ("conv_in", Side::Input)].contains(&end));
                assert_ne!(end, ("time_embedding.linear_1", Side::Input));
            }
        }
    }
}
