//! Options of `tribute run` and `tribute plan` that choose what scores are estimated from.

use attribution_lds::{Estimator, StoppingRule};
use clap::Args;
use removal::{RemovalDistribution, RemovalError};
use study::{CoalitionChoice, Overrides};

/// Keys of `[coalitions]` as options.
#[derive(Debug, Args)]
pub struct CoalitionArgs {
    /// Draws, at most (coalitions.count)
    #[arg(long)]
    coalitions: Option<usize>,
    /// Distribution of the draws: shapley, leverage_paired, uniform, datamodel, loo, add_one_in... (coalitions.distribution)
    #[arg(long, value_parser = distribution)]
    removal_dist: Option<RemovalDistribution>,
    /// Share of contributors in draws of the datamodel distribution, 0.5 when left out
    #[arg(long, requires = "removal_dist")]
    datamodel_alpha: Option<f64>,
    /// How scores are estimated; what suits the distribution when left out (coalitions.estimator)
    #[arg(long, value_parser = word::<Estimator>)]
    estimator: Option<Estimator>,
    /// drawn, or active: each coalition is the one of several whose utility is known least (coalitions.choice)
    #[arg(long, value_parser = word::<CoalitionChoice>)]
    choice: Option<CoalitionChoice>,
    /// Candidates for each draw, with --choice active (coalitions.candidates)
    #[arg(long)]
    candidates: Option<usize>,
    /// Stop before all draws once scores are sure: half_width=X, rank_stability=X, kendall_tau=X or top_agreement=TOP:X
    /// (coalitions.until)
    #[arg(long, value_name = "RULE", value_parser = rule)]
    until: Option<StoppingRule>,
}

impl CoalitionArgs {
    /// What is set.
    ///
    /// # Errors
    /// A share without its distribution.
    pub fn overrides(&self) -> anyhow::Result<Overrides> {
        let distribution = match (self.removal_dist, self.datamodel_alpha) {
            (Some(RemovalDistribution::Datamodel { .. }), Some(alpha)) => {
                Some(RemovalDistribution::Datamodel { alpha })
            }
            (_, Some(_)) => {
                return Err(terminal::usage("--datamodel-alpha is for --removal-dist datamodel only"));
            }
            (distribution, None) => distribution,
        };
        let mut set = Overrides::default();
        set.set("coalitions.count", self.coalitions);
        set.set("coalitions.distribution", distribution);
        set.set("coalitions.estimator", self.estimator);
        set.set("coalitions.choice", self.choice);
        set.set("coalitions.candidates", self.candidates);
        set.set("coalitions.until", self.until);
        Ok(set)
    }
}

fn word<T: serde::de::DeserializeOwned>(word: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(word.replace('-', "_")))
}

fn distribution(word: &str) -> Result<RemovalDistribution, RemovalError> {
    match word.replace('-', "_").as_str() {
        "datamodel" => Ok(RemovalDistribution::Datamodel { alpha: 0.5 }),
        "aoi" => Ok(RemovalDistribution::AddOneIn),
        word => word.parse(),
    }
}

fn rule(text: &str) -> Result<StoppingRule, String> {
    const FORMS: &str = "must be half_width=X, rank_stability=X, kendall_tau=X or top_agreement=TOP:X";
    let (name, value) = text.split_once('=').ok_or(FORMS)?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{text} is no number; {FORMS}"));
    let (splits, resamples, seed) = (50, 200, 0);
    Ok(match name.replace('-', "_").as_str() {
        "half_width" => StoppingRule::HalfWidth { most: number(value)? },
        "rank_stability" => StoppingRule::RankStability { least: number(value)?, splits, seed },
        "kendall_tau" => StoppingRule::KendallTau { least: number(value)?, resamples, seed },
        "top_agreement" => {
            let (top, least) = value.split_once(':').ok_or(FORMS)?;
            let top = top.parse().map_err(|_| format!("{top} is no number of contributors; {FORMS}"))?;
            StoppingRule::TopAgreement { top, least: number(least)?, resamples, seed }
        }
        _ => return Err(FORMS.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_mistakes_are_told() {
        assert_eq!(rule("half-width=0.5"), Ok(StoppingRule::HalfWidth { most: 0.5 }));
        let top = StoppingRule::TopAgreement { top: 3, least: 0.9, resamples: 200, seed: 0 };
        assert_eq!(rule("top_agreement=3:0.9"), Ok(top));
        for text in ["half_width", "half_width=x", "top_agreement=0.9", "top_agreement=a:0.9", "luck=1"] {
            assert!(rule(text).unwrap_err().contains("kendall_tau=X"), "{text}");
        }
    }
}
