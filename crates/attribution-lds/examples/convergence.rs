//! Error of the Shapley estimators against the number of evaluations, on games whose values are known by enumeration.
//!
//! ```sh
//! cargo run --release -p attribution-lds --example convergence > target/convergence.json
//! ```
//!
//! prints, as JSON, the games (with all their utilities, so that other programs can play the same ones) and the errors: the
//! mean over seeds of |estimate - exact| / |exact|, Euclidean norms over contributors, with the standard error of that mean.
//! `benches/side_by_side/convergence.py` draws them beside other libraries.

use attribution_lds::{
    AttributionError, Estimator, FitSettings, Observations, UtilityTable, exact_shapley, fit, utility_of_all,
};
use removal::{Coalition, RemovalDistribution};
use serde_json::{Value, json};
use streams::{Streams, standard_normal};

/// Contributors of every game.
const N: usize = 12;
/// Evaluations, v(all) and v(none) among them.
const BUDGETS: [usize; 6] = [24, 48, 96, 192, 384, 768];
/// Repetitions with other draws.
const SEEDS: u64 = 20;

/// Estimators with the draws that they are given.
const SERIES: [(Estimator, RemovalDistribution); 11] = [
    (Estimator::KernelShap, RemovalDistribution::Shapley),
    (Estimator::KernelShap, RemovalDistribution::ShapleyPaired),
    (Estimator::KernelShap, RemovalDistribution::LeveragePaired),
    (Estimator::KernelShapSizeAdjusted, RemovalDistribution::Shapley),
    (Estimator::KernelShapSizeAdjusted, RemovalDistribution::ShapleyPaired),
    (Estimator::KernelShapSizeAdjusted, RemovalDistribution::LeveragePaired),
    (Estimator::Permutation, RemovalDistribution::Permutation),
    (Estimator::Permutation, RemovalDistribution::PermutationAntithetic),
    (Estimator::SampleReuse, RemovalDistribution::LeveragePaired),
    (Estimator::RegressionAdjusted, RemovalDistribution::LeveragePaired),
    (Estimator::TreeAdjusted, RemovalDistribution::LeveragePaired),
];

/// A game by its table of utilities. Each evaluation has noise of its own.
struct TableGame {
    name: &'static str,
    noise_sd: f64,
    utilities: Vec<f64>,
    shapley: Vec<f64>,
}

impl TableGame {
    fn new(
        name: &'static str,
        noise_sd: f64,
        utility: impl Fn(&Coalition) -> f64,
    ) -> Result<TableGame, AttributionError> {
        let utilities = utility_of_all(N, utility)?;
        let shapley = exact_shapley(N, &utilities)?;
        Ok(TableGame { name, noise_sd, utilities, shapley })
    }

    /// `budget` evaluations: both ends, and as many draws as make whole units (pairs, orders) of the distribution.
    fn observe(
        &self,
        distribution: RemovalDistribution,
        budget: usize,
        streams: &Streams,
    ) -> Result<Observations, AttributionError> {
        let unit = distribution.unit_size(N);
        let draws = (budget - 2) / unit * unit;
        let mut noise = standard_normal(&mut streams.rng("noise", 0), draws + 2).into_iter();
        let mut evaluate = |coalition: &Coalition| {
            let mask: usize = coalition.members().map(|member| 1 << member).sum();
            self.utilities[mask] + self.noise_sd * f64::from(noise.next().unwrap_or_default())
        };
        let (full, none) = (evaluate(&Coalition::full(N)), evaluate(&Coalition::empty(N)));
        let mut table = UtilityTable::new(N);
        for index in 0..draws as u64 {
            let coalition = distribution.draw(N, streams, index)?.coalition;
            let utility = evaluate(&coalition);
            table.push(coalition, utility)?;
        }
        Observations::new(table, vec![full], vec![none])
    }

    /// The relative error of one estimate.
    fn error(&self, values: &[f64]) -> f64 {
        let norm = |entries: &mut dyn Iterator<Item = f64>| entries.map(|x| x * x).sum::<f64>().sqrt();
        let off = norm(&mut values.iter().zip(&self.shapley).map(|(value, exact)| value - exact));
        off / norm(&mut self.shapley.iter().copied())
    }
}

/// The largest cost among those who use the runway: 1 to 12 (Littlechild & Owen 1973).
fn airport(coalition: &Coalition) -> f64 {
    coalition.members().map(|member| member as f64 + 1.0).fold(0.0, f64::max)
}

/// A sigmoid of weights that sum to 7.5, three of them negative and one 0.
fn sigmoid(coalition: &Coalition) -> f64 {
    let weight: f64 = coalition.members().map(|member| (member as f64 - 3.0) / 4.0).sum();
    1.0 / (1.0 + (3.0 - weight).exp())
}

/// The errors of one estimator at one budget, or `None` where it asks for more draws than the budget has.
fn point(
    game: &TableGame,
    estimator: Estimator,
    distribution: RemovalDistribution,
    budget: usize,
) -> Result<Option<Value>, AttributionError> {
    let settings = FitSettings { bootstrap: None, ..FitSettings::default() };
    let (mut errors, mut evaluations) = (Vec::new(), 0);
    for seed in 0..SEEDS {
        let observations = game.observe(distribution, budget, &Streams::new(seed))?;
        evaluations = observations.draws().len() + 2;
        match fit(estimator, &observations, distribution, &settings) {
            Ok(attribution) => errors.push(game.error(&attribution.values)),
            Err(AttributionError::TooFewDraws { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let count = errors.len() as f64;
    let mean = errors.iter().sum::<f64>() / count;
    let variance = errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let standard_error = (variance / count).sqrt();
    Ok(Some(json!({
        "budget": budget, "evaluations": evaluations, "error": mean, "standard_error": standard_error,
    })))
}

fn main() -> Result<(), AttributionError> {
    let games = [
        TableGame::new("airport", 0.0, airport)?,
        TableGame::new("sigmoid", 0.0, sigmoid)?,
        TableGame::new("noisy sigmoid", 0.05, sigmoid)?,
    ];
    let mut series = Vec::new();
    for game in &games {
        for (estimator, distribution) in SERIES {
            let mut points = Vec::new();
            for budget in BUDGETS {
                points.extend(point(game, estimator, distribution, budget)?);
            }
            series.push(json!({
                "game": game.name, "estimator": estimator, "draws": distribution.to_string(), "points": points,
            }));
        }
    }
    let games: Vec<Value> = games
        .iter()
        .map(|game| {
            json!({
                "name": game.name, "noise_sd": game.noise_sd, "shapley": game.shapley, "utilities": game.utilities,
            })
        })
        .collect();
    println!(
        "{}",
        json!({ "contributors": N, "budgets": BUDGETS, "seeds": SEEDS, "games": games, "series": series })
    );
    Ok(())
}
