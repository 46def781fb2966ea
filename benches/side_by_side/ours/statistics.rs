//! Estimators and the Fréchet distance.

use std::path::Path;

use attribution_lds::{
    Bootstrap, Datamodel, FnGame, Game, KernelShap, LdsSettings, Observations, UtilityTable, lds,
    predict_additive,
};
use behavior::measure::frechet_distance::{FrechetReference, Gaussian};
use diffusion_core::StateDict;
use ndarray::ArrayView2;
use removal::{Coalition, RemovalDistribution};
use serde_json::{Value, json};
use streams::{Streams, standard_normal};

use super::{Result, Work};

impl<F: FnMut() -> Result<Value>> Work for F {
    fn run(&mut self) -> Result<Value> {
        self()
    }
}

/// `draws` observations of a game that is neither additive nor symmetric.
fn observations(
    contributors: usize,
    draws: usize,
    distribution: RemovalDistribution,
) -> Result<Observations> {
    let game = FnGame::new(contributors, |coalition: &Coalition| {
        coalition.members().map(|member| (member as f64).sin()).sum::<f64>().tanh()
            + 0.01 * coalition.len() as f64
    });
    Ok(game.observe(distribution, draws, &Streams::new(1))?)
}

/// Writes a table as `masks.u8` (one byte a contributor, row by row) and `utilities.f64`.
fn write(table: &UtilityTable, name: &str, folder: &Path) -> Result<()> {
    let (mut masks, mut utilities) = (Vec::new(), Vec::new());
    for row in table.rows() {
        masks.extend((0..table.n()).map(|i| u8::from(row.coalition().contains(i))));
        utilities.extend(row.mean().to_le_bytes());
    }
    std::fs::write(folder.join(format!("{name}masks.u8")), masks)?;
    std::fs::write(folder.join(format!("{name}utilities.f64")), utilities)?;
    Ok(())
}

/// Values, alone or with the HC3 standard errors of their closed-form intervals.
pub fn kernel_shap(
    contributors: usize,
    draws: usize,
    intervals: bool,
    folder: &Path,
) -> Result<(Box<dyn Work>, Value)> {
    let observations = observations(contributors, draws, RemovalDistribution::Shapley)?;
    write(observations.draws(), "", folder)?;
    let estimator = KernelShap { bootstrap: None, ..KernelShap::default() };
    let fit = estimator.fit(&observations)?;
    let errors = fit.closed_form.map(|intervals| intervals.standard_errors).filter(|_| intervals);
    let answer = json!({
        "values": fit.values, "errors": errors,
        "full": observations.full(), "none": observations.none(), "n": contributors,
    });
    let work = move || {
        let values =
            if intervals { estimator.fit(&observations)?.values } else { estimator.values(&observations)? };
        Ok(json!({"first": values[0]}))
    };
    Ok((Box::new(work), answer))
}

/// A datamodel with 100 penalties.
pub fn ridge_cv(contributors: usize, draws: usize, folder: &Path) -> Result<(Box<dyn Work>, Value)> {
    let distribution = RemovalDistribution::Datamodel { alpha: 0.5 };
    let observations = observations(contributors, draws, distribution)?;
    write(observations.draws(), "", folder)?;
    let datamodel = Datamodel::default();
    let fit = datamodel.fit(observations.draws())?;
    let answer = json!({
        "values": fit.attribution.values, "alpha": fit.alpha, "alphas": datamodel.alphas, "n": contributors,
    });
    let work = move || Ok(json!({"alpha": datamodel.fit(observations.draws())?.alpha}));
    Ok((Box::new(work), answer))
}

/// A linear datamodel score of three test sets with its bootstrap interval.
pub fn bootstrap(coalitions: usize, resamples: usize, folder: &Path) -> Result<(Box<dyn Work>, Value)> {
    const CONTRIBUTORS: usize = 24;
    const SETS: u64 = 3;
    let values: Vec<f64> = (0..CONTRIBUTORS).map(|i| (i as f64).cos()).collect();
    let draws = observations(CONTRIBUTORS, coalitions, RemovalDistribution::Datamodel { alpha: 0.5 })?;
    let sets = (0..SETS)
        .map(|set| {
            let errors = standard_normal(&mut Streams::new(set).rng("noise", 0), coalitions);
            let pairs = draws.draws().rows().iter().zip(errors).map(|(row, error)| {
                let utility = predict_additive(&values, row.coalition()) + f64::from(error);
                (row.coalition().clone(), utility)
            });
            UtilityTable::from_pairs(CONTRIBUTORS, pairs)
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    for (place, set) in sets.iter().enumerate() {
        write(set, &format!("set{place}_"), folder)?;
    }
    let settings =
        LdsSettings { bootstrap: Bootstrap { resamples, ..Bootstrap::default() }, ..LdsSettings::default() };
    let score = move || lds(|coalition| predict_additive(&values, coalition), &sets, &settings);
    let first = score()?;
    let answer = json!({
        "mean": first.mean, "lower": first.interval.lower, "upper": first.interval.upper,
        "n": CONTRIBUTORS, "sets": SETS, "resamples": resamples,
    });
    Ok((Box::new(move || Ok(json!({"mean": score()?.mean}))), answer))
}

/// The distance between the two sets of features that the other side wrote.
pub fn frechet(features: usize, folder: &Path) -> Result<(Box<dyn Work>, Value)> {
    let arrays = StateDict::read(&folder.join("features.safetensors"))?;
    let rows = |name| -> Result<Vec<f32>> { Ok(arrays.get(name)?.data().to_vec()) };
    let (reference, samples) = (rows("reference")?, rows("samples")?);
    let view = move |rows: &[f32]| -> Result<Gaussian> {
        Ok(Gaussian::fit(ArrayView2::from_shape((rows.len() / features, features), rows)?)?)
    };
    let work = move || -> Result<Value> {
        let distance = FrechetReference::new(view(&reference)?).distance_to(&view(&samples)?)?;
        Ok(json!({"distance": distance}))
    };
    let answer = work()?;
    Ok((Box::new(work), answer))
}
