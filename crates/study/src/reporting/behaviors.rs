//! One behaviour's part of the report.

use attribution_lds::{
    CounterfactualRemoval, End, Estimator, Interval as Bounds, IntervalMethod, NoiseCeiling,
};
use behavior::{Behavior, Direction as Better, LocalMeasure, Statistic};
use removal::Coalition;
use report::{
    BehaviorReport, ContributorScore, Counterfactual, Diagnostic, Direction, Estimate, Interval, LdsReport,
    MethodLds, Number, RemovalOrder, ScatterPoint, assign_ranks,
};
use unlearn::Method;

use super::{Findings, costs};
use crate::error::StudyError;
use crate::runs::Run;
use crate::scores::{Baseline, Evaluated, Judged};

pub(super) fn behavior_report(
    findings: &Findings<'_>,
    evaluated: &Evaluated,
    primary: bool,
) -> Result<BehaviorReport, StudyError> {
    let behavior = evaluated.behavior;
    let direction = match evaluated.direction {
        Better::HigherIsBetter => Direction::HigherIsBetter,
        Better::LowerIsBetter => Direction::LowerIsBetter,
        Better::Neutral => Direction::Neutral,
    };
    let (name, explanation, unit) = in_words(behavior);
    let config = &findings.context.config;
    Ok(BehaviorReport {
        key: behavior.key(),
        name,
        explanation,
        unit,
        direction,
        primary,
        samples: config.sample.count as u64,
        value_all: evaluated.endpoints.0.into(),
        value_none: evaluated.endpoints.1.into(),
        method: method_name(findings),
        coalitions: findings.plan.training.len() as u64,
        confidence: config.coalitions.confidence,
        interval_method: interval_method(evaluated),
        scores: scores(evaluated, direction),
        diagnostics: diagnostics(evaluated),
        lds: Some(lds_report(findings, evaluated)?),
        counterfactuals: if primary { counterfactuals(findings, behavior)? } else { Vec::new() },
    })
}

/// How the study's own scores are called.
pub(super) fn method_name(findings: &Findings<'_>) -> String {
    let (method, suffix) = method_words(findings);
    format!("{method}-{}{suffix}", estimator_word(findings.context.config.coalitions.estimator()))
}

/// How the models of coalitions are made, in a word, and what to say of their parent.
pub(super) fn method_words(findings: &Findings<'_>) -> (String, &'static str) {
    let unlearn = &findings.context.config.unlearn;
    match (unlearn.method, unlearn.parent) {
        (Method::Gd, unlearn::ParentModel::Pruned) => ("sFT".to_owned(), ""),
        (Method::Gd, unlearn::ParentModel::Full) => ("FT".to_owned(), ""),
        (Method::Retrain, _) => ("Retrain".to_owned(), ""),
        // No method of a study, as its validation says.
        (Method::PruneFineTune, _) => ("FT".to_owned(), ""),
        (method, unlearn::ParentModel::Pruned) => (method.to_string(), " (pruned)"),
        (method, unlearn::ParentModel::Full) => (method.to_string(), ""),
    }
}

fn estimator_word(estimator: Estimator) -> &'static str {
    match estimator {
        Estimator::Datamodel | Estimator::Lasso => "datamodel",
        Estimator::Banzhaf | Estimator::BanzhafSampleReuse | Estimator::ExactBanzhaf => "Banzhaf",
        Estimator::BetaShapley => "Beta-Shapley",
        Estimator::LeaveOneOut => "leave-one-out",
        Estimator::AddOneIn => "add-one-in",
        _ => "Shapley",
    }
}

/// What an estimator's scores are, in words that begin a sentence.
pub(super) fn scores_in_words(estimator: Estimator) -> &'static str {
    match estimator_word(estimator) {
        "datamodel" => "Datamodel coefficients",
        "Banzhaf" => "Banzhaf values",
        "Beta-Shapley" => "Beta-Shapley values",
        "leave-one-out" => "Leave-one-out differences",
        "add-one-in" => "Add-one-in differences",
        _ => "Shapley values",
    }
}

/// The models behind the scores.
fn models_in_words(method: Method) -> &'static str {
    match method {
        Method::Gd | Method::PruneFineTune => "models fine-tuned for a few steps on each coalition",
        Method::Lora => "models with adapters trained on each coalition",
        Method::Ga => "models that ascend the loss of those outside of each coalition",
        Method::Iu => "models that jump to each coalition by an influence estimate",
        Method::Retrain => "models retrained from scratch on each coalition",
        Method::Conditional => "pictures of one model under the conditions of each coalition's members",
    }
}

/// How the intervals shown were made.
fn interval_method(evaluated: &Evaluated) -> String {
    let Some(shown) = evaluated.ours.closed_form.as_ref().or(evaluated.ours.bootstrap.as_ref()) else {
        return "none: this estimator has none from one run of each coalition".to_owned();
    };
    match shown.method {
        IntervalMethod::Sandwich => "closed form: delta method with HC3 residuals and Student's t".to_owned(),
        IntervalMethod::Bootstrap { resamples } => format!("percentiles of {resamples} bootstrap resamples"),
        IntervalMethod::Welch => "closed form: Welch's t".to_owned(),
        IntervalMethod::Sampling => "closed form: Student's t over independent draws".to_owned(),
    }
}

/// A behaviour's name, what it is in one sentence, and its unit.
fn in_words(behavior: Behavior) -> (String, String, Option<String>) {
    let text = |name: &str, explanation: &str, unit: Option<&str>| {
        (name.to_owned(), explanation.to_owned(), unit.map(str::to_owned))
    };
    match behavior {
        Behavior::Colourfulness => text(
            "Colourfulness",
            "How colourful the model's pictures are on average (Hasler and Süsstrunk 2003); grey is 0.",
            None,
        ),
        Behavior::Brightness => {
            text("Brightness", "How bright the model's pictures are on average, from 0 to 255.", None)
        }
        Behavior::Saturation => text("Saturation", "How saturated the model's colours are on average.", None),
        Behavior::Background => {
            text("White background", "The share of nearly white pixels in the model's pictures.", None)
        }
        Behavior::DiffusionLoss => text(
            "Error on unseen works",
            "How badly the model predicts the noise in the contributors' pictures that it was never shown.",
            Some("mean squared error"),
        ),
        Behavior::InceptionScore { extractor } => text(
            "Clarity and variety",
            &format!("An Inception-style score of the model's pictures, with {extractor} as the classifier."),
            None,
        ),
        Behavior::FrechetDistance { extractor } => text(
            "Distance to the real pictures",
            &format!(
                "The Fréchet distance between features ({extractor}) of the model's pictures and the training pictures."
            ),
            None,
        ),
        Behavior::Precision { extractor, .. } => text(
            "Realism",
            &format!(
                "The share of the model's pictures that lie among the training pictures ({extractor} features)."
            ),
            None,
        ),
        Behavior::Recall { extractor, .. } => text(
            "Coverage",
            &format!(
                "The share of the training pictures that lie among the model's pictures ({extractor} features)."
            ),
            None,
        ),
        Behavior::Density { extractor, .. } => text(
            "Density",
            &format!(
                "How many training pictures' neighbourhoods a picture of the model lies in, as a share of what is usual \
                 ({extractor} features)."
            ),
            None,
        ),
        Behavior::Coverage { extractor, .. } => text(
            "Coverage of neighbourhoods",
            &format!(
                "The share of the training pictures that have a picture of the model in their neighbourhood ({extractor} \
                 features)."
            ),
            None,
        ),
        Behavior::DemographicEntropy { extractor, k } => text(
            "Balance of labels",
            &format!(
                "How evenly the model's pictures fall to the labels of the training pictures, each by its {k} nearest \
                 ({extractor} features)."
            ),
            Some("bits"),
        ),
        Behavior::Aesthetic { statistic: Statistic::Mean } => text(
            "Taste",
            "The mean aesthetic score of the model's pictures, as CLIP's features predict it.",
            None,
        ),
        Behavior::Aesthetic { statistic: Statistic::Percentile90 } => text(
            "Taste at its best",
            "The aesthetic score that one in ten of the model's pictures passes, as CLIP's features predict it.",
            None,
        ),
        Behavior::Local { measure, image } => {
            let which = match image {
                None => "the full model's pictures, on average".to_owned(),
                Some(image) => format!("picture {image} of the full model"),
            };
            let (name, what) = match measure {
                LocalMeasure::Mse => ("Change of pictures", "The mean squared difference from"),
                LocalMeasure::Nrmse => {
                    ("Relative change of pictures", "The root mean squared difference, over the size, from")
                }
                LocalMeasure::Ssim => ("Likeness of pictures", "The structural similarity to"),
                LocalMeasure::DiffusionLoss => {
                    ("Error on the full model's pictures", "How badly the model predicts noise in")
                }
            };
            text(name, &format!("{what} {which}."), None)
        }
        Behavior::Command { name } => text(
            name.as_str(),
            &format!("What the study's command `{}` measures on the model's pictures.", name.as_str()),
            None,
        ),
        Behavior::ClusterEntropy { extractor, clusters } => text(
            "Diversity",
            &format!(
                "How evenly the model's pictures fall into {clusters} kinds of training pictures ({extractor} features)."
            ),
            Some("bits"),
        ),
    }
}

fn scores(evaluated: &Evaluated, direction: Direction) -> Vec<ContributorScore> {
    let ours = &evaluated.ours;
    let intervals = ours.closed_form.as_ref().or(ours.bootstrap.as_ref());
    let mut scores: Vec<ContributorScore> = ours
        .values
        .iter()
        .enumerate()
        .map(|(contributor, &value)| ContributorScore {
            contributor,
            value: value.into(),
            standard_error: intervals.map_or(Number::MISSING, |all| all.standard_errors[contributor].into()),
            interval: intervals.and_then(|all| interval(all.intervals[contributor], 1.0)),
            rank: 0,
            rank_interval: None,
        })
        .collect();
    assign_ranks(&mut scores, direction);
    scores
}

/// An interval of the report, unless a bound is infinite.
fn interval(bounds: Bounds, scale: f64) -> Option<Interval> {
    Interval::new(bounds.lower * scale, bounds.upper * scale)
}

fn diagnostics(evaluated: &Evaluated) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if let Some(split) = &evaluated.split_half {
        diagnostics.push(Diagnostic {
            name: "Agreement of ranks between two halves of the coalitions".to_owned(),
            value: split.correlation.into(),
            explanation: "1 would mean that half of the coalitions give the same order of contributors."
                .to_owned(),
        });
    }
    if let Some(stability) = &evaluated.stability {
        diagnostics.push(Diagnostic {
            name: "Agreement of ranks between all coalitions and resampled ones (Kendall's tau)".to_owned(),
            value: stability.kendall_tau.into(),
            explanation: format!(
                "1 would mean that coalitions drawn again with replacement always give the same order; mean of {} resamples.",
                stability.resamples
            ),
        });
        diagnostics.push(Diagnostic {
            name: format!("Share of the first {} that stays there in resampled coalitions", stability.top),
            value: stability.top_agreement.into(),
            explanation: "1 would mean that the same contributors always come first.".to_owned(),
        });
    }
    if let (Some(bootstrap), Some(closed)) = (&evaluated.ours.bootstrap, &evaluated.ours.closed_form) {
        let width = |all: &[Bounds]| all.iter().map(Bounds::width).sum::<f64>();
        diagnostics.push(Diagnostic {
            name: "Width of bootstrap intervals over that of the intervals shown".to_owned(),
            value: (width(&bootstrap.intervals) / width(&closed.intervals)).into(),
            explanation: "About 1 where the two ways to compute an interval agree; percentiles of a bootstrap tend to be a \
                          little narrower."
                .to_owned(),
        });
    }
    if let Ok(ceiling) = &evaluated.ceiling {
        diagnostics.push(Diagnostic {
            name: "Best correlation that a perfect score could reach against one retraining".to_owned(),
            value: (ceiling.attainable / 100.0).into(),
            explanation:
                "The square root of the agreement between retrainings: a score free of noise can pass that \
                          agreement, but is not expected to pass this."
                    .to_owned(),
        });
    }
    diagnostics
}

fn lds_report(findings: &Findings<'_>, evaluated: &Evaluated) -> Result<LdsReport, StudyError> {
    let config = &findings.context.config;
    let words = scores_in_words(config.coalitions.estimator());
    let ours = MethodLds {
        name: method_name(findings),
        explanation: format!("{words} from {}.", models_in_words(config.unlearn.method)),
        lds: estimate(&evaluated.judged),
        difference: Estimate::NotMeasured,
        coalitions: Some(findings.plan.training.len() as u64),
        seconds: costs::score_seconds(findings)?.into(),
    };
    let retrained = format!("Retrain-{} at equal compute", estimator_word(config.coalitions.estimator()));
    let from_scratch = format!("{words} from models retrained from scratch, as many as our compute buys.");
    let baselines = evaluated
        .baselines
        .iter()
        .map(|(baseline, judged)| {
            let (name, explanation, coalitions, seconds) = match baseline {
                Baseline::ImageCount => (
                    "Images per contributor",
                    "The number of training images, with the sign of the better direction.",
                    None,
                    Some(0.0),
                ),
                Baseline::FeatureSimilarity => (
                    "Mean feature similarity",
                    "Mean cosine similarity between a contributor's images and the full model's samples (SqueezeNet, 64 px).",
                    None,
                    None,
                ),
                Baseline::Retrained => (
                    retrained.as_str(),
                    from_scratch.as_str(),
                    Some(findings.plan.baseline.len() as u64),
                    Some(costs::seconds(findings, findings.stages[2])?),
                ),
            };
            Ok(MethodLds {
                name: name.to_owned(),
                explanation: explanation.to_owned(),
                lds: estimate(judged),
                difference: judged.difference.as_ref().map_or(Estimate::NotMeasured, |d| {
                    Estimate::measured(d.mean / 100.0, interval(d.interval, 0.01))
                }),
                coalitions,
                seconds: seconds.into(),
            })
        })
        .collect::<Result<_, StudyError>>()?;
    Ok(LdsReport {
        truth: format!(
            "Each model was trained from scratch on {:.0} % of the contributors, chosen at random.",
            config.evaluation.datamodel_alpha * 100.0
        ),
        test_coalitions: findings.plan.test.len() as u64,
        retraining_seeds: config.evaluation.test_seeds as u64,
        ours,
        baselines,
        ceiling: ceiling(&evaluated.ceiling),
        points: evaluated
            .points
            .iter()
            .map(|(coalition, predicted, actual)| ScatterPoint {
                predicted: (*predicted).into(),
                actual: (*actual).into(),
                coalition_size: coalition.len(),
                label: names(findings, coalition),
            })
            .collect(),
    })
}

fn names(findings: &Findings<'_>, coalition: &Coalition) -> String {
    let contributors = findings.context.dataset.contributors();
    coalition.members().map(|i| contributors[i].name.as_str()).collect::<Vec<_>>().join(", ")
}

fn estimate(judged: &Judged) -> Estimate {
    match &judged.lds {
        Ok(lds) => Estimate::measured(lds.mean / 100.0, interval(lds.interval, 0.01)),
        Err(reason) => Estimate::undefined(reason.clone()),
    }
}

fn ceiling(ceiling: &Result<NoiseCeiling, String>) -> Estimate {
    match ceiling {
        Ok(c) => Estimate::measured(c.between_retrainings / 100.0, interval(c.interval, 0.01)),
        Err(reason) => Estimate::undefined(reason.clone()),
    }
}

fn counterfactuals(findings: &Findings<'_>, behavior: Behavior) -> Result<Vec<Counterfactual>, StudyError> {
    let key = behavior.key();
    let n = findings.context.contributors();
    let full = findings.utilities.value(&Run::retrained(Coalition::full(n), 0), &key, 0)?;
    findings
        .removals
        .iter()
        .map(|CounterfactualRemoval { end, fraction, removed, remaining }| {
            let value = findings.utilities.value(&Run::retrained(remaining.clone(), 0), &key, 0)?;
            let change = attribution_lds::relative_change(
                &[full],
                &[value],
                findings.context.config.coalitions.confidence,
            );
            Ok(Counterfactual {
                fraction: *fraction,
                order: match end {
                    End::Top => RemovalOrder::Top,
                    End::Bottom => RemovalOrder::Bottom,
                },
                removed: removed.clone(),
                value: value.into(),
                reference: full.into(),
                relative_change: change.ok().map(|c| c.change).into(),
                interval: None,
                retraining_seeds: 1,
            })
        })
        .collect()
}
