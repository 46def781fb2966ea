//! From findings to the data of the report.

mod behaviors;
mod costs;
mod models;
mod provenance;
mod summary;

pub use summary::{Share, Summary};

use std::collections::BTreeMap;

use attribution_lds::CounterfactualRemoval;
use report::{Contributor, DatasetInfo, FORMAT, Header, HelpMatrix, Note, NoteLevel, Picture, ReportData};

use crate::compare::read_comparison;
use crate::context::Context;
use crate::enough::Stopped;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::measuring::{by_contributor_key, rgb_images};
use crate::plan::CoalitionPlan;
use crate::records::Records;
use crate::runs::Run;
use crate::scores::{Evaluated, Utilities};
use crate::study::StudyModels;

/// Works of a contributor shown in the report.
const WORKS: usize = 6;

/// Everything a finished study knows.
pub(crate) struct Findings<'a> {
    pub context: &'a Context,
    pub dir: &'a StudyDir,
    pub records: &'a Records,
    pub plan: &'a CoalitionPlan,
    /// Where the draws ended, if the study has a rule for that.
    pub stopped: Option<&'a Stopped>,
    pub models: &'a StudyModels,
    pub utilities: &'a Utilities<'a>,
    pub evaluated: &'a [Evaluated],
    pub removals: &'a [CounterfactualRemoval],
    /// Runs for the scores, of the test, of the baseline, and without some contributors.
    pub stages: [&'a [Run]; 4],
}

/// Fills the report.
pub(crate) fn report_data(findings: &Findings<'_>) -> Result<ReportData, StudyError> {
    let behaviors = findings
        .evaluated
        .iter()
        .enumerate()
        .map(|(place, evaluated)| behaviors::behavior_report(findings, evaluated, place == 0))
        .collect::<Result<_, _>>()?;
    Ok(ReportData {
        format: FORMAT,
        header: header(findings)?,
        contributors: contributors(findings)?,
        behaviors,
        models: models::models(findings)?,
        help: help(findings)?,
        comparison: read_comparison(findings.dir, &findings.context.config)?,
        costs: costs::costs(findings)?,
        provenance: provenance::provenance(findings)?,
    })
}

fn header(findings: &Findings<'_>) -> Result<Header, StudyError> {
    let context = findings.context;
    let description = context.dataset.description();
    let folder_name = || {
        let path = context.dataset.path();
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (width, height) = context.dataset.size();
    let dataset = DatasetInfo {
        name: description.map_or_else(folder_name, |d| d.name.clone()),
        licence: description.map_or_else(|| "not stated".to_owned(), |d| d.licence.clone()),
        credit: description.map_or_else(String::new, |d| d.credit.clone()),
        images: context.split.train.len() as u64,
        resolution: [height, width],
        contributor_key: context.dataset.key().columns().to_vec(),
        content_hash: context.data_hash.clone(),
    };
    let show_only = context.config.for_show.then(|| {
        "These numbers are for show only: the study is far too small to conclude anything from. Run the full study for \
         numbers that mean something."
            .to_owned()
    });
    Ok(Header {
        title: "Who taught this model to draw?".to_owned(),
        study: context.config.name.clone(),
        created: provenance::newest_record(findings)?,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        device: context.device_name.clone(),
        dataset,
        show_only,
        notes: notes(findings)?,
    })
}

fn notes(findings: &Findings<'_>) -> Result<Vec<Note>, StudyError> {
    let mut notes = Vec::new();
    let mut add = |level, text: String| notes.push(Note { level, text });
    let mut warnings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for evaluated in findings.evaluated {
        for warning in evaluated.ours.diagnostics.warnings() {
            warnings.entry(warning).or_default().push(evaluated.behavior.key());
        }
    }
    for (warning, keys) in warnings {
        let everywhere = keys.len() == findings.evaluated.len();
        add(NoteLevel::Warning, if everywhere { warning } else { format!("{}: {warning}", keys.join(", ")) });
    }
    if findings.plan.dropped > 0 {
        let dropped = findings.plan.dropped;
        add(
            NoteLevel::Info,
            format!("{dropped} training draws are test coalitions and were left out of the estimate."),
        );
    }
    if let Some(stopped) = findings.stopped {
        let level = if stopped.stopping.reached { NoteLevel::Info } else { NoteLevel::Warning };
        add(level, stopped.in_words());
    }
    let shipped = costs::shipped_count(findings)?;
    if shipped > 0 {
        add(
            NoteLevel::Info,
            format!(
                "{shipped} retrained models were not trained here: their records come with the study. \
                 `--truth recompute` retrains them all."
            ),
        );
    }
    Ok(notes)
}

fn contributors(findings: &Findings<'_>) -> Result<Vec<Contributor>, StudyError> {
    let context = findings.context;
    let counts = findings.utilities.training_images();
    context
        .dataset
        .contributors()
        .iter()
        .zip(counts)
        .map(|(contributor, images)| {
            let shown = spread(&contributor.images, WORKS);
            let works = shown
                .iter()
                .map(|&image| {
                    let (pixels, [_, height, width, _]) = rgb_images(&context.dataset, &[image])?;
                    let alt = format!("a work by {}", contributor.name);
                    Ok(Picture::from_rgb8(&pixels, height, width, alt)?)
                })
                .collect::<Result<_, StudyError>>()?;
            Ok(Contributor { name: contributor.name.clone(), images: images as u64, works })
        })
        .collect()
}

/// At most `count` of the items, evenly spread.
fn spread(items: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(items.len());
    (0..count).map(|k| items[k * items.len() / count]).collect()
}

fn help(findings: &Findings<'_>) -> Result<Option<HelpMatrix>, StudyError> {
    let key = behavior::Behavior::DiffusionLoss.key();
    let measured = findings.evaluated.iter().any(|evaluated| evaluated.behavior.key() == key);
    if !measured {
        return Ok(None);
    }
    let matrix = findings.utilities.help_matrix(&by_contributor_key(&key))?;
    let scores = matrix.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
    let explanation = format!(
        "{} for the noise-prediction loss on each contributor's held-out images, from {} coalitions.",
        behaviors::scores_in_words(findings.context.config.coalitions.estimator()),
        findings.plan.training.len()
    );
    Ok(Some(HelpMatrix { scores, explanation }))
}
