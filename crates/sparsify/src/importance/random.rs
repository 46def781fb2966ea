//! Ranks by lot.

use streams::{Streams, uniform};

use crate::DependencyGraph;

/// [`Importance::Random`](super::Importance::Random) of every channel: numbers in [0, 1), those of a group from stream
/// (`importance of` and its name, 0).
pub(super) fn scores(graph: &DependencyGraph, streams: &Streams) -> Vec<Vec<f64>> {
    let groups = graph.groups().iter();
    let of_group = |group: &crate::Group| {
        let mut rng = streams.rng(&format!("importance of {}", group.name), 0);
        (0..group.channels).map(|_| uniform(&mut rng)).collect()
    };
    groups.map(of_group).collect()
}

#[cfg(test)]
mod tests {
    use diffusion_core::UNet2DConfig;

    use super::*;

    #[test]
    fn the_seed_alone_decides() {
        let graph = DependencyGraph::of(&UNet2DConfig::small(16, &[16, 32])).unwrap();
        let scores = super::scores(&graph, &Streams::new(1));
        assert_eq!(super::scores(&graph, &Streams::new(1)), scores);
        let other = super::scores(&graph, &Streams::new(2));
        for ((group, scores), other) in graph.groups().iter().zip(&scores).zip(&other) {
            assert_eq!(scores.len(), group.channels);
            assert_ne!(scores, other, "{}", group.name);
        }
        // Two groups of one width do not share their ranks.
        let of = |name: &str| &scores[graph.groups().iter().position(|group| group.name == name).unwrap()];
        assert_ne!(of("mid_block.resnets.0.conv1"), of("mid_block.resnets.1.conv1"));
    }
}
