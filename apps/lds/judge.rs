//! Scores and LDS of one behaviour.

use attribution_lds::{
    Attribution, AttributionError, Bootstrap, Estimator, Lds, LdsSettings, NoiseCeiling, UtilityTable,
    mean_lds, noise_ceiling,
};
use removal::Coalition;
use serde_json::{Map, Value as Json, json};

use crate::arguments::Arguments;
use crate::estimate::Estimation;
use crate::evidence::Evidence;
use crate::stability::Stability;
use crate::utilities::{Measured, Utilities};

/// What was found for a behaviour.
pub struct Judged {
    /// The behaviour.
    pub key: String,
    /// The estimator.
    pub estimator: Estimator,
    /// Scores, for each image if it has a number for each.
    pub scores: Vec<Attribution>,
    /// Whether it has a number for each image.
    pub by_image: bool,
    /// LDS for each number of training coalitions, the largest last.
    pub curve: Vec<(usize, Result<Lds, AttributionError>)>,
    /// The noise ceiling; `None` for behaviours with a number for each image.
    pub ceiling: Option<Result<NoiseCeiling, AttributionError>>,
    /// How far the ranks would stay with other draws; `None` for behaviours with a number for each image.
    stability: Option<Stability>,
    /// What a reader should know.
    pub warnings: Vec<String>,
    missing: Json,
    draws: u64,
}

/// Estimates and judges.
///
/// # Errors
/// A behaviour that no record has; too few coalitions for the estimator.
pub fn judge(
    evidence: &Evidence,
    key: &str,
    estimation: &Estimation,
    arguments: &Arguments,
) -> anyhow::Result<Judged> {
    let utilities = Utilities::collect(evidence, key, arguments.n_samples)?;
    let mut warnings = Vec::new();
    if !utilities.missing.is_empty() {
        warnings.push(format!("`{key}` is missing in {}; they were left out.", utilities.missing.words()));
    }
    let table = |rows: &[Measured<'_>], image: usize| -> Result<UtilityTable, AttributionError> {
        let mut table = UtilityTable::new(evidence.n);
        for (row, numbers) in rows {
            table.push_times(row.coalition.clone(), vec![numbers[image]], row.times)?;
        }
        Ok(table)
    };
    let bootstrap = Bootstrap { resamples: arguments.resamples(), seed: arguments.seed };
    let settings = LdsSettings { level: arguments.confidence, bootstrap };
    let tests = (0..utilities.images)
        .map(|image| utilities.tests.iter().map(|set| table(set, image)).collect())
        .collect::<Result<Vec<Vec<UtilityTable>>, _>>()?;

    let mut curve = Vec::new();
    let mut scores = Vec::new();
    let mut draws = 0;
    let mut stability = None;
    let sizes = sizes(utilities.train.len(), &arguments.max_train_size, &mut warnings);
    let largest = sizes.last().copied().unwrap_or(0);
    for size in sizes {
        let train = &utilities.train[..size];
        draws = train.iter().map(|(row, _)| u64::from(row.times)).sum();
        let end =
            |rows: &[Measured<'_>], image: usize| rows.iter().map(|(_, y)| y[image]).collect::<Vec<_>>();
        let observed = |image: usize| {
            let (full, none) = (end(&utilities.full, image), end(&utilities.none, image));
            estimation.observations(table(train, image)?, &full, &none)
        };
        if size == largest && !utilities.by_image {
            stability = Some(Stability::of(&observed(0)?, estimation, arguments));
        }
        let fit = |image: usize| estimation.fit(&observed(image)?);
        scores = (0..utilities.images).map(fit).collect::<anyhow::Result<Vec<_>>>().map_err(|error| {
            error.context(format!("the behaviour `{key}` from {size} training coalitions"))
        })?;
        let predict: Vec<_> =
            scores.iter().map(|fit| |coalition: &Coalition| fit.predict(coalition)).collect();
        curve.push((size, mean_lds(&predict, &tests, &settings)));
    }
    for warning in scores.iter().flat_map(|fit| fit.diagnostics.warnings()) {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(Judged {
        key: key.to_owned(),
        estimator: estimation.estimator,
        scores,
        by_image: utilities.by_image,
        curve,
        stability,
        ceiling: (!utilities.by_image).then(|| noise_ceiling(&tests[0], &settings)),
        warnings,
        missing: utilities.missing.to_json(),
        draws,
    })
}

/// Numbers of training coalitions to use, in growing order.
fn sizes(available: usize, asked: &[usize], warnings: &mut Vec<String>) -> Vec<usize> {
    if let Some(most) = asked.iter().max().filter(|most| **most > available) {
        warnings.push(format!("{most} training coalitions were asked for, there are {available}."));
    }
    let mut sizes: Vec<usize> = asked.iter().map(|size| *size.min(&available)).collect();
    if sizes.is_empty() {
        sizes.push(available);
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Judged {
    /// The LDS from the most training coalitions.
    pub fn lds(&self) -> Option<&Result<Lds, AttributionError>> {
        self.curve.last().map(|(_, lds)| lds)
    }

    /// All of it as JSON.
    ///
    /// # Errors
    /// If a number has no JSON form, which none has.
    pub fn to_json(&self) -> anyhow::Result<Json> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
        put("estimator", json!(self.estimator.name()));
        put("training_coalitions", json!(self.curve.last().map(|(size, _)| size)));
        put("training_draws", json!(self.draws));
        put(
            "scores",
            match self.scores.as_slice() {
                [one] if !self.by_image => serde_json::to_value(one)?,
                several => serde_json::to_value(several)?,
            },
        );
        put("warnings", json!(self.warnings));
        put("missing", self.missing.clone());
        if let Some(lds) = self.lds() {
            put("lds", defined(lds)?);
        }
        if let Some(stability) = &self.stability {
            put("stability", stability.to_json()?);
        }
        if let Some(ceiling) = &self.ceiling {
            put("noise_ceiling", defined(ceiling)?);
        }
        if self.curve.len() > 1 {
            let points = self
                .curve
                .iter()
                .map(|(size, lds)| Ok(json!({ "training_coalitions": size, "lds": defined(lds)? })));
            put("curve", points.collect::<anyhow::Result<_>>()?);
        }
        Ok(object.into())
    }
}

/// The result, or `{"undefined": "<why>"}`: an undefined number is said, never 0 or NaN.
pub(crate) fn defined<T: serde::Serialize>(result: &Result<T, AttributionError>) -> anyhow::Result<Json> {
    match result {
        Ok(value) => Ok(serde_json::to_value(value)?),
        Err(error) => Ok(json!({ "undefined": error.to_string() })),
    }
}
