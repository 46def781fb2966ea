//! Scores from models of coalitions, as many as the budget buys.

use std::collections::BTreeSet;

use diffusion_core::UNet2DConfig;
use removal::{Coalition, RemovalDistribution};
use unlearn::Method;

use super::budget::Counter;
use crate::context::Context;
use crate::error::StudyError;
use crate::plan::{BASELINE_DRAWS, CoalitionPlan, Sequence, TRAINING_DRAWS};
use crate::runs::Run;

/// Draws beyond this are not made, however cheap they are.
const MOST_DRAWS: u64 = 20_000;

/// What a budget buys of one method and estimator.
pub struct Bought {
    /// The draws in order, repeats among them, and the test coalitions in their place.
    pub plan: CoalitionPlan,
    /// The distinct runs, with nobody and everybody first.
    pub runs: Vec<Run>,
    /// Multiply-accumulates of the runs.
    pub macs: f64,
}

/// Draws coalitions as `estimator` needs them until the next would exceed `budget`. Coalitions of the test are left out.
///
/// # Errors
/// A distribution that does not fit the number of contributors.
pub fn buy(
    context: &Context,
    counter: &Counter<'_>,
    method: Method,
    parent: (&str, &UNet2DConfig),
    distribution: RemovalDistribution,
    budget: f64,
    test: &[Coalition],
) -> Result<Bought, StudyError> {
    let n = context.contributors();
    let make = |coalition: &Coalition| run_of(method, coalition, parent.0);
    let everybody = Coalition::full(n);
    let mut runs = vec![Run::null(n), make(&everybody)];
    let mut macs = counter.run(method, parent.1, &everybody)?;
    let held_out: BTreeSet<&Coalition> = test.iter().collect();
    let mut seen = BTreeSet::from([Coalition::empty(n), everybody.clone()]);
    let mut training = Vec::new();
    let mut dropped = 0;
    // The draws that the study itself makes, where it makes some: their runs are shared.
    let stream = if method == Method::Retrain { BASELINE_DRAWS } else { TRAINING_DRAWS };
    let mut sequence = Sequence::new(&context.config, n, stream, distribution)?;
    let last = match distribution {
        RemovalDistribution::Loo | RemovalDistribution::AddOneIn => n as u64,
        _ => MOST_DRAWS,
    };
    for _ in 0..last {
        let coalition = sequence.next_coalition()?;
        if held_out.contains(&coalition) {
            dropped += 1;
            continue;
        }
        if seen.insert(coalition.clone()) {
            let cost = counter.run(method, parent.1, &coalition)?;
            if macs + cost > budget {
                break;
            }
            macs += cost;
            runs.push(make(&coalition));
        }
        training.push(coalition);
    }
    let drawn = training.clone();
    let plan = CoalitionPlan { drawn, training, dropped, test: test.to_vec(), baseline: Vec::new() };
    Ok(Bought { plan, runs, macs })
}

/// The run that makes a coalition's model.
pub fn run_of(method: Method, coalition: &Coalition, parent: &str) -> Run {
    if method == Method::Retrain {
        Run::retrained(coalition.clone(), 0)
    } else {
        Run::unlearned(coalition.clone(), parent)
    }
}
