//! The command line.

use std::path::PathBuf;

use attribution_lds::{Estimator, FitSettings};
use clap::Parser;
use removal::RemovalDistribution;
use terminal::usage;

use crate::estimate::{parse_distribution, parse_estimator};

/// Estimate contributors' scores from records, and judge them by the linear datamodel score
#[derive(Debug, Parser)]
#[command(name = "tribute-lds", version)]
pub struct Arguments {
    /// Records to estimate from: a study's folder, a JSONL file of `tribute export`, or a JSONL database of the reference
    /// system
    #[arg(long, alias = "train-db")]
    pub train: PathBuf,
    /// Records of retrained models to judge by; those of --train when left out
    #[arg(long, alias = "test-db")]
    pub test: Option<PathBuf>,
    /// Records with the model of everybody; those of --train when left out
    #[arg(long, alias = "full-db")]
    pub full: Option<PathBuf>,
    /// Records with the model of nobody; those of --train when left out
    #[arg(long, alias = "null-db")]
    pub null: Option<PathBuf>,
    /// Study file that the training records come from: a coalition then counts as often as the study drew it. The folder of
    /// a study has its own
    #[arg(long)]
    pub study: Option<PathBuf>,

    /// Experiment of the training lines (`exp_name`) of a reference database
    #[arg(long)]
    pub train_exp_name: Option<String>,
    /// Experiments of the test lines; several make several test sets
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub test_exp_name: Vec<String>,
    /// Experiment of the line with everybody; that of the training lines if it has one
    #[arg(long)]
    pub full_exp_name: Option<String>,
    /// Experiment of the line with nobody; that of the training lines if it has one
    #[arg(long)]
    pub null_exp_name: Option<String>,
    /// Data set of the lines (`dataset`) of reference databases
    #[arg(long)]
    pub dataset: Option<String>,
    /// Method of the training records (gd, ga, iu, lora, each also as gd_u..., or retrain)
    #[arg(long, default_value = "gd")]
    pub method: String,
    /// Distribution that the training coalitions were drawn from (shapley, datamodel, uniform, loo, add_one_in...); it chooses
    /// the estimator, too
    #[arg(long, value_parser = parse_distribution)]
    pub removal_dist: Option<RemovalDistribution>,
    /// Share of contributors in each coalition of the datamodel distribution
    #[arg(long)]
    pub datamodel_alpha: Option<f64>,
    /// Steps of fine-tuning of the training records; 1000 where a reference database has several
    #[arg(long)]
    pub gd_steps: Option<u64>,
    /// Use only training records with this setting, as KEY=VALUE; may be repeated
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = key_value)]
    pub conditions: Vec<(String, String)>,
    /// Use only test records with this setting, as KEY=VALUE; may be repeated
    #[arg(long = "test-where", value_name = "KEY=VALUE", value_parser = key_value)]
    pub test_conditions: Vec<(String, String)>,
    /// Turn coalitions of images in a reference database into coalitions of classes; needs --classes
    #[arg(long)]
    pub by_class: bool,
    /// The class of every image: one a line, image 0 first, or a CSV with a column `class`, `label` or `contributor`
    #[arg(long)]
    pub classes: Option<PathBuf>,

    /// Behaviours to score; all when left out
    #[arg(long = "behavior", alias = "model-behavior-key", value_delimiter = ',')]
    pub behaviors: Vec<String>,
    /// Generated images that behaviours with a number for each image are averaged over: the first of them; all when left out
    #[arg(long)]
    pub n_samples: Option<usize>,
    /// Estimator of the scores; what fits the distribution when left out
    #[arg(long, value_parser = parse_estimator)]
    pub estimator: Option<Estimator>,
    /// alpha of the estimator beta_shapley
    #[arg(long, default_value_t = 16.0)]
    pub beta_shapley_alpha: f64,
    /// beta of the estimator beta_shapley
    #[arg(long, default_value_t = 1.0)]
    pub beta_shapley_beta: f64,
    /// Contributors times coalitions (or contributors) beyond which kernel_shap, kernel_shap_size_adjusted, banzhaf and datamodel work on bit
    /// masks: little memory, no intervals
    #[arg(long, default_value_t = FitSettings::default().large_beyond)]
    pub large_beyond: usize,
    /// Contributors that count as the top in the stability of ranks
    #[arg(long, default_value_t = 3)]
    pub top: usize,
    /// Use only this many training coalitions; several numbers give the score for each
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub max_train_size: Vec<usize>,
    /// Use only the first so many test coalitions; 32 for reference databases, all for records of Tribute, when left out
    #[arg(long)]
    pub num_test_subset: Option<usize>,
    /// Repetitions of retrained models that make the test sets; all but 0 when left out
    #[arg(long, value_delimiter = ',')]
    pub test_repetitions: Option<Vec<u64>>,

    /// Tell mean and 1.96 standard errors over a bootstrap of the test coalitions
    #[arg(long)]
    pub bootstrapped: bool,
    /// Bootstrap resamples behind each interval (1000; 100 with --bootstrapped)
    #[arg(long, alias = "num-bootstrap-iters")]
    pub bootstrap: Option<usize>,
    /// Coverage of the intervals
    #[arg(long, default_value_t = 0.95)]
    pub confidence: f64,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also write the scores to this file: .csv, .jsonl or .parquet
    #[arg(long)]
    pub scores: Option<PathBuf>,
    /// No table and no notes, only the JSON and errors
    #[arg(long, short)]
    pub quiet: bool,
}

impl Arguments {
    /// Checks the numbers.
    ///
    /// # Errors
    /// A number out of its range.
    pub fn check(&self) -> anyhow::Result<()> {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(usage(format!("--confidence is {}, must be above 0 and below 1", self.confidence)));
        }
        if !(2..=1_000_000).contains(&self.resamples()) {
            return Err(usage(format!("--bootstrap is {}, must be 2 to 1,000,000", self.resamples())));
        }
        for (option, value) in [
            ("--beta-shapley-alpha", self.beta_shapley_alpha),
            ("--beta-shapley-beta", self.beta_shapley_beta),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(usage(format!("{option} is {value}, must be a positive number")));
            }
        }
        if let Some(alpha) = self.datamodel_alpha
            && !(alpha > 0.0 && alpha < 1.0)
        {
            return Err(usage(format!("--datamodel-alpha is {alpha}, must be above 0 and below 1")));
        }
        let counts = [
            ("--max-train-size", self.max_train_size.iter().min().copied()),
            ("--num-test-subset", self.num_test_subset),
            ("--n-samples", self.n_samples),
            ("--top", Some(self.top)),
        ];
        if let Some((option, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(usage(format!("{option} is 0, must be 1 or more")));
        }
        if self.by_class && self.classes.is_none() {
            return Err(usage(
                "--by-class needs the class of every image: give them with --classes FILE, one label a line, image 0 first",
            ));
        }
        Ok(())
    }

    /// Bootstrap resamples.
    pub fn resamples(&self) -> usize {
        self.bootstrap.unwrap_or(if self.bootstrapped { 100 } else { 1000 })
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}
