//! The models and what they draw.

use std::fs;

use removal::Coalition;
use report::{CoalitionModel, Model, Models, Picture, PrunedModel};
use sparsify::NetworkSize;

use super::Findings;
use crate::config::MeasuresConfig;
use crate::error::StudyError;
use crate::measuring::held_out_loss;
use crate::models::TrainedModel;
use crate::runs::Run;

/// Coalition models shown.
const SHOWN: usize = 3;

pub(super) fn models(findings: &Findings<'_>) -> Result<Models, StudyError> {
    let config = &findings.context.config;
    let n = findings.context.contributors();
    let full_run = findings.context.full_run();
    let full = model(findings, &findings.models.full, config.train.steps, &full_run, "the full model")?;
    let pruned = match &findings.models.pruned {
        None => None,
        Some(pruned) => {
            let everybody = Run::unlearned(Coalition::full(n), &pruned.hash);
            let model = model(findings, pruned, config.fine_tune.steps, &everybody, "the pruned model")?;
            Some(PrunedModel { ratio: config.prune.ratio.get(), model })
        }
    };
    Ok(Models { full, pruned, coalitions: coalitions(findings)? })
}

fn model(
    findings: &Findings<'_>,
    trained: &TrainedModel,
    steps: u64,
    run: &Run,
    what: &str,
) -> Result<Model, StudyError> {
    let size = NetworkSize::of(trained.model.config())?;
    Ok(Model {
        parameters: size.parameters as u64,
        macs: size.macs,
        steps,
        final_loss: training_loss(findings, trained)?.into(),
        seconds: trained.seconds.into(),
        samples: sheet(findings, run, &format!("samples of {what}"))?,
    })
}

/// The loss of the averaged weights on the training images, with fixed noises.
fn training_loss(findings: &Findings<'_>, trained: &TrainedModel) -> Result<f64, StudyError> {
    use diffusion_core::Denoiser;
    let context = findings.context;
    let streams = streams::Streams::new(context.config.seed).child("training loss", 0);
    let loss = held_out_loss(
        &context.split.train,
        MeasuresConfig::default().noises,
        &context.schedule,
        streams,
        &context.device,
    )?;
    Ok(loss.evaluate(&|x, t| trained.model.predict_noise(x, t))?.total)
}

/// The sheet of samples that a run left, if it was executed here.
fn sheet(findings: &Findings<'_>, run: &Run, description: &str) -> Result<Option<Picture>, StudyError> {
    let path = findings.dir.samples(&run.id(&findings.context.run_settings())?);
    match fs::read(&path) {
        Ok(png) => Ok(Some(Picture::from_png(png, description)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StudyError::io("read", &path)(error)),
    }
}

/// A few coalition models: the first of small, of middle and of large coalitions among the draws.
fn coalitions(findings: &Findings<'_>) -> Result<Vec<CoalitionModel>, StudyError> {
    let n = findings.context.contributors();
    let parent = &findings.models.parent().hash;
    let mut shown = Vec::new();
    for part in 0..SHOWN {
        let within = |c: &&Coalition| c.len() * SHOWN >= part * n && c.len() * SHOWN < (part + 1) * n;
        let Some(coalition) = findings.plan.training.iter().find(within) else { continue };
        let run = Run::unlearned(coalition.clone(), parent);
        let description = format!("samples of the model of {} contributors", coalition.len());
        if let Some(samples) = sheet(findings, &run, &description)? {
            let (method, suffix) = super::behaviors::method_words(findings);
            let method = format!("{method}{suffix}");
            shown.push(CoalitionModel { method, members: coalition.members().collect(), samples });
        }
    }
    Ok(shown)
}
