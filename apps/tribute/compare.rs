//! `tribute compare`: many methods on one study, at equal compute.

use std::path::PathBuf;

use attribution_lds::Estimator;
use clap::Args;
use influence::InfluenceMethod;
use report::{ComparedMethod, Comparison, Estimate};
use study::{Overrides, StudyDir, compare_study};
use terminal::{Session, StudyArgs};
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
        println!("{}", table(&comparison, &context.config.behaviors[0].key()));
        println!("all behaviours: {}", dir.comparison().display());
        println!("report: {}", dir.report_html().display());
        Ok(())
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

/// The methods by their LDS for one behaviour, best first, as a Markdown table.
fn table(comparison: &Comparison, key: &str) -> String {
    let mut rows: Vec<&ComparedMethod> = comparison.methods.iter().collect();
    let value = |method: &ComparedMethod| method.lds.get(key).and_then(Estimate::value);
    rows.sort_by(|a, b| {
        let low = f64::NEG_INFINITY;
        value(b).unwrap_or(low).total_cmp(&value(a).unwrap_or(low))
    });
    let mut lines = vec![
        format!("Linear datamodel score for {key}; noise ceiling {}.", shown(comparison.ceilings.get(key))),
        String::new(),
        "| method | LDS | models | compute | seconds | peak MiB | counterfactual area |".to_owned(),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |".to_owned(),
    ];
    for method in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            method.name,
            shown(method.lds.get(key)),
            method.models.unwrap_or(0),
            number(method.macs.get().map(|macs| macs / comparison.budget_macs), 2),
            number(method.seconds.get(), 0),
            number(method.peak_memory_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0),
            number(method.counterfactual_area.get(), 3),
        ));
    }
    lines.join("\n")
}

/// A correlation times 100 with its interval, or why there is none.
fn shown(estimate: Option<&Estimate>) -> String {
    match estimate {
        Some(Estimate::Measured { value, interval }) => {
            let ends = interval.map_or_else(String::new, |ends| {
                format!(" [{:.0}, {:.0}]", ends.low * 100.0, ends.high * 100.0)
            });
            format!("{:.0}{ends}", value * 100.0)
        }
        Some(Estimate::Undefined { reason }) => format!("undefined: {reason}"),
        Some(Estimate::NotMeasured) | None => "not measured".to_owned(),
    }
}
