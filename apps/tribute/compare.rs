//! `tribute compare`: many methods on one study, at equal compute.

use std::collections::BTreeMap;
use std::path::PathBuf;

use attribution_lds::Estimator;
use clap::Args;
use influence::InfluenceMethod;
use report::{ComparedMethod, Comparison, Estimate};
use study::{Overrides, StudyDir, compare_study};
use terminal::{Session, StudyArgs, print};
use unlearn::MethodOn;

use crate::run::{DriveArgs, default_out};

/// Arguments of `tribute compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Folder of the results, which may hold the study already; runs/<name of the study> when left out
    #[arg(long)]
    out: Option<PathBuf>,
    /// How models of coalitions are made: gd, gd_u, ga, iu, lora, retrain...; the study's [compare] when left out
    #[arg(long, value_delimiter = ',')]
    methods: Option<Vec<MethodOn>>,
    /// How scores are estimated from them; the study's [compare] when left out
    #[arg(long, value_delimiter = ',', value_parser = estimator)]
    estimators: Option<Vec<Estimator>>,
    /// Methods that make no models, such as trak or pixel_similarity_mean; the study's [compare] when left out
    #[arg(long, value_delimiter = ',')]
    influence: Option<Vec<InfluenceMethod>>,
    /// Shares of contributors to remove for the counterfactual area; none to leave it out
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    counterfactual: Option<Vec<f64>>,
    #[command(flatten)]
    drive: DriveArgs,
}

/// Compares, writes the report with the comparison, and prints the table.
pub fn compare(arguments: &CompareArgs) -> anyhow::Result<()> {
    let config = arguments.study.config(&Overrides::default())?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    let mut wanted = config.compare.clone().unwrap_or_default();
    set(&mut wanted.methods, &arguments.methods);
    set(&mut wanted.estimators, &arguments.estimators);
    set(&mut wanted.influence, &arguments.influence);
    if let Some(fractions) = &arguments.counterfactual {
        wanted.counterfactual = Some(fractions.clone());
    }
    arguments.drive.check()?;
    arguments.drive.compute.in_threads(|| {
        let session = Session::start(&arguments.drive.compute)?;
        let context = session.open(config)?;
        let dir = StudyDir::new(&out);
        let (_, comparison) =
            compare_study(&context, &dir, &wanted, arguments.drive.options(), &session.progress)?;
        let behaviors: Vec<String> = context.config.behaviors.iter().map(|behavior| behavior.key()).collect();
        print(format_args!(
            "Linear datamodel scores at equal compute.\n\n{}\n",
            table(&comparison, &behaviors)
        ))?;
        print(format_args!("comparison: {}", dir.comparison().display()))?;
        print(format_args!("report: {}", dir.report_html().display()))
    })
}

fn estimator(word: &str) -> Result<Estimator, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(word.replace('-', "_")))
}

fn set<T: Clone>(to: &mut Vec<T>, from: &Option<Vec<T>>) {
    if let Some(from) = from {
        to.clone_from(from);
    }
}

/// All methods, by the mean of their linear datamodel scores, best first, as a Markdown table: the first behaviour's score with
/// its interval, the others' without, and what each method cost.
fn table(comparison: &Comparison, behaviors: &[String]) -> String {
    let mut rows: Vec<(Option<f64>, &ComparedMethod)> =
        comparison.methods.iter().map(|method| (mean(&method.lds, behaviors), method)).collect();
    rows.sort_by(|(a, _), (b, _)| {
        let value = |mean: &Option<f64>| mean.unwrap_or(f64::NEG_INFINITY);
        value(b).total_cmp(&value(a))
    });
    let keys = behaviors.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" | ");
    let mut lines = vec![
        format!("| method | models | compute | {keys} | mean | area | seconds | peak MiB |"),
        format!("| --- | --: | --: |{} --: | --: | --: | --: |", " --: |".repeat(behaviors.len())),
    ];
    let empty = "| ".repeat(4);
    let ceilings = scores(&comparison.ceilings, behaviors);
    lines.push(format!("| *noise ceiling* | | | {ceilings} {empty}|"));
    for (mean, method) in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            method.name,
            method.models.map_or_else(String::new, |models| models.to_string()),
            number(method.macs.get().map(|macs| macs / comparison.budget_macs), 2),
            scores(&method.lds, behaviors),
            number(mean.map(|mean| 100.0 * mean), 0),
            number(method.counterfactual_area.get(), 3),
            number(method.seconds.get(), 0),
            number(method.peak_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0),
        ));
    }
    lines.join("\n")
}

/// The cells of the behaviours, the first with its interval.
fn scores(of: &BTreeMap<String, Estimate>, behaviors: &[String]) -> String {
    let cell = |(place, key): (usize, &String)| shown(of.get(key), place == 0);
    behaviors.iter().enumerate().map(cell).collect::<Vec<_>>().join(" | ")
}

/// The plain mean over behaviours, if each has a value.
fn mean(of: &BTreeMap<String, Estimate>, behaviors: &[String]) -> Option<f64> {
    let values: Option<Vec<f64>> =
        behaviors.iter().map(|key| of.get(key).and_then(Estimate::value)).collect();
    values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
}

/// A correlation times 100, with its interval if wanted, or why there is none.
fn shown(estimate: Option<&Estimate>, interval: bool) -> String {
    match estimate {
        Some(Estimate::Measured { value, interval: ends }) => {
            let ends = ends.filter(|_| interval).map_or_else(String::new, |ends| {
                format!(" [{:.0}, {:.0}]", ends.low * 100.0, ends.high * 100.0)
            });
            format!("{:.0}{ends}", value * 100.0)
        }
        Some(Estimate::Undefined { reason }) if interval => format!("undefined: {reason}"),
        Some(Estimate::Undefined { .. }) => "undefined".to_owned(),
        Some(Estimate::NotMeasured) | None => "not measured".to_owned(),
    }
}
