//! Scores by what unlearning a contributor does to the likelihood of the model's own pictures.

use diffusion_core::UNet2DModel;
use diffusion_core::samplers::SampledImages;
use removal::Coalition;

use crate::context::Context;
use crate::error::StudyError;
use crate::local::losses;
use crate::progress::Progress;
use crate::unlearning::{Saves, Wanted, coalition_model};

/// For each contributor g the mean over pictures x_k of the full model of
/// ```text
/// L(x_k; theta without g) - L(x_k; theta of everybody)
/// ```
/// where L is the mean squared error of the predicted noise over timesteps and noises that all models share: minus the
/// evidence lower bound, up to a constant and with every timestep weighing alike (Ho et al. 2020, equation 14). A contributor
/// whose unlearning makes the pictures less likely has a positive score.
///
/// Models without g are made by the study's unlearning method from `parent`, and so is that of everybody, so that what
/// the method does to all models alike is not credited to anybody.
///
/// Source: Murata et al. 2026, GUDA, <https://arxiv.org/abs/2601.22651>, which compares with the full model itself.
///
/// # Errors
/// Those of the method; [`StudyError::Stopped`] if the user asked to stop.
pub(crate) fn unlearned_likelihoods(
    context: &Context,
    parent: Option<&UNet2DModel>,
    samples: &SampledImages,
    progress: &dyn Progress,
) -> Result<Vec<f64>, StudyError> {
    let everybody = Coalition::full(context.contributors());
    let loss = |coalition: &Coalition| -> Result<f64, StudyError> {
        let label = format!("without {}", coalition.complement());
        let method = context.config.unlearn.method;
        let (folder, saves) = (None, Saves::AgainstLoss);
        let wanted = Wanted { method, coalition, repetition: 0, parent, label: &label, folder, saves };
        let (model, _) = coalition_model(context, &wanted, progress)?;
        let losses = losses(context, &model, samples)?;
        Ok(losses.iter().sum::<f64>() / losses.len() as f64)
    };
    let all = loss(&everybody)?;
    (0..context.contributors())
        .map(|contributor| {
            let alone = Coalition::from_members(everybody.n(), [contributor])?;
            Ok(loss(&alone.complement())? - all)
        })
        .collect()
}
