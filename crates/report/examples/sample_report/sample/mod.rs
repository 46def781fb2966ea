//! Report data in which every field is filled, with invented numbers.

mod comparison;
mod drawings;

use std::collections::BTreeMap;

use drawings::{Numbers, drawing, grid};
use report::*;

const NAMES: [&str; 12] = [
    "Annika Berg",
    "jcartier",
    "Dr. Maximiliane Oberhuber-Lindqvist",
    "molumen",
    "Řehoř Žák",
    "aiga & friends",
    "田中 陽子",
    "mystica",
    "liftarn",
    "Gerald G.",
    "warszawianka",
    "O\u{2019}Leary",
];

/// The whole sample.
pub fn sample() -> Result<ReportData, ReportError> {
    let mut numbers = Numbers(7);
    let mut contributors = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        let works = (0..6)
            .map(|k| {
                Picture::from_rgb8(&drawing(index, &mut numbers), 32, 32, format!("Work {} by {name}", k + 1))
            })
            .collect::<Result<_, _>>()?;
        contributors.push(Contributor { name: (*name).into(), images: 149 - 9 * index as u64, works });
    }
    let everybody: Vec<usize> = (0..12).collect();
    let without =
        |absent: &[usize]| everybody.iter().copied().filter(|i| !absent.contains(i)).collect::<Vec<_>>();
    let model = |parameters, macs, steps, loss: f64, seconds: f64, samples| Model {
        parameters,
        macs,
        steps,
        final_loss: loss.into(),
        seconds: seconds.into(),
        samples: Some(samples),
    };
    let coalition = |method: &str, members: Vec<usize>, seed| -> Result<CoalitionModel, ReportError> {
        let samples = grid(&members, seed, 9.0, "36 samples of a coalition\u{2019}s model")?;
        Ok(CoalitionModel { method: method.into(), members, samples })
    };
    let scores: [f64; 12] =
        [0.412, 0.307, 0.251, 0.198, 0.142, 0.120, 0.081, 0.049, 0.012, -0.018, -0.044, -0.09];
    let colour: [f64; 12] = [-0.4, 2.9, 6.1, 0.3, 1.8, -3.4, 4.2, 2.2, -0.9, -2.8, 3.1, f64::NAN];
    Ok(ReportData {
        format: FORMAT,
        header: Header {
            title: "Who taught this model to draw?".into(),
            study: "openclipart32, twelve contributors".into(),
            created: "2026-01-31T12:00:00Z".into(),
            tool_version: "0.1.0".into(),
            device: "cpu (2 threads)".into(),
            dataset: DatasetInfo {
                name: "openclipart32".into(),
                licence: "public domain".into(),
                credit: "Drawings from the Open Clip Art Library.".into(),
                images: contributors.iter().map(|c| c.images).sum(),
                resolution: [32, 32],
                contributor_key: vec!["contributor".into()],
                content_hash: "9f2c4e1b7a6d5f8390b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d".into(),
            },
            show_only: Some(
                "This page was filled with invented numbers to show what a report looks like.".into(),
            ),
            notes: vec![
                Note {
                    level: NoteLevel::Warning,
                    text: "One of 64 coalitions failed and was left out.".into(),
                },
                Note {
                    level: NoteLevel::Info,
                    text: "Truth records come with the data pack; they were not retrained here.".into(),
                },
            ],
        },
        behaviors: vec![
            behavior(
                "is_lite0",
                "Variety and clarity",
                None,
                Direction::HigherIsBetter,
                &scores,
                [4.31, 2.89],
                &mut numbers,
            ),
            behavior(
                "colourfulness",
                "Colourfulness",
                Some("levels"),
                Direction::Neutral,
                &colour,
                [61.2, 47.9],
                &mut numbers,
            ),
        ],
        models: Models {
            full: model(
                1_830_211,
                92_400_000,
                2_400,
                0.0412,
                148.0,
                grid(&everybody, 3, 6.0, "36 samples of the full model")?,
            ),
            pruned: Some(PrunedModel {
                ratio: 0.3,
                model: model(
                    921_603,
                    46_100_000,
                    400,
                    0.0437,
                    14.5,
                    grid(&everybody, 3, 12.0, "36 samples of the pruned model")?,
                ),
            }),
            coalitions: vec![
                coalition("retrained from scratch", without(&[0, 1, 2]), 5)?,
                coalition("sparsified fine-tuning", without(&[0, 1, 2]), 6)?,
                coalition("sparsified fine-tuning", vec![2, 5], 8)?,
                coalition("sparsified fine-tuning", vec![0, 3, 4, 6, 9, 11], 9)?,
            ],
        },
        comparison: Some(comparison::comparison()),
        help: Some(HelpMatrix {
            scores: (0..12)
                .map(|i| {
                    (0..12)
                        .map(|j| {
                            let own = if i == j { -0.004 } else { 0.0 };
                            Number::from(own + numbers.normal() * 0.0006)
                        })
                        .collect()
                })
                .collect(),
            explanation: "Shapley scores of the held-out diffusion loss, from 64 coalitions.".into(),
        }),
        costs: costs(),
        provenance: provenance(),
        contributors,
    })
}

fn behavior(
    key: &str,
    name: &str,
    unit: Option<&str>,
    direction: Direction,
    values: &[f64; 12],
    [value_all, value_none]: [f64; 2],
    numbers: &mut Numbers,
) -> BehaviorReport {
    let scale = values.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let mut scores: Vec<ContributorScore> = values
        .iter()
        .enumerate()
        .map(|(contributor, &value)| {
            let error = scale * (0.06 + 0.05 * numbers.next());
            ContributorScore {
                contributor,
                value: value.into(),
                standard_error: error.into(),
                interval: Interval::new(value - 1.96 * error, value + 1.96 * error),
                rank: 0,
                rank_interval: None,
            }
        })
        .collect();
    assign_ranks(&mut scores, direction);
    for score in &mut scores {
        score.rank_interval = Some([score.rank.saturating_sub(2).max(1), (score.rank + 1).min(12)]);
    }
    let removal = |order, fraction: f64, change: f64, removed: &[usize]| Counterfactual {
        fraction,
        order,
        removed: removed.to_vec(),
        value: (value_all * (1.0 + change)).into(),
        reference: value_all.into(),
        relative_change: change.into(),
        interval: Interval::new(change - 0.02, change + 0.02),
        retraining_seeds: 2,
    };
    let primary = direction == Direction::HigherIsBetter;
    BehaviorReport {
        key: key.into(),
        name: name.into(),
        explanation: if primary {
            "The Inception score of the samples: it grows when a classifier recognises each sample clearly and sees many different things.".into()
        } else {
            "How strong and how varied the colours of the samples are.".into()
        },
        unit: unit.map(str::to_owned),
        direction,
        primary,
        samples: 1_024,
        value_all: value_all.into(),
        value_none: value_none.into(),
        method: "sFT-Shapley".into(),
        coalitions: 63,
        confidence: 0.95,
        interval_method: "bootstrap over coalitions".into(),
        scores,
        diagnostics: vec![
            Diagnostic {
                name: "Agreement of two halves".into(),
                value: 0.83.into(),
                explanation:
                    "Rank correlation of scores from two halves of the coalitions; near 1 is steady.".into(),
            },
            Diagnostic {
                name: "Coalitions for each contributor".into(),
                value: 5.25.into(),
                explanation: "Below 1 the scores are not determined; above 4 intervals are sound.".into(),
            },
            Diagnostic {
                name: "Part of the variance explained".into(),
                value: 0.71.into(),
                explanation: "How much of the coalitions\u{2019} differences an additive score can describe."
                    .into(),
            },
        ],
        lds: Some(lds(primary, [value_all, value_none], numbers)),
        counterfactuals: vec![
            removal(RemovalOrder::Top, 0.2, -0.061, &[0, 1]),
            removal(RemovalOrder::Top, 0.4, -0.142, &[0, 1, 2, 3, 4]),
            removal(RemovalOrder::Top, 0.6, -0.231, &[0, 1, 2, 3, 4, 5, 6]),
            removal(RemovalOrder::Random, 0.2, -0.034, &[3, 8]),
            removal(RemovalOrder::Random, 0.4, -0.071, &[3, 8, 0, 11, 7]),
            removal(RemovalOrder::Random, 0.6, -0.128, &[3, 8, 0, 11, 7, 2, 10]),
            removal(RemovalOrder::Bottom, 0.2, 0.012, &[11, 10]),
            removal(RemovalOrder::Bottom, 0.4, -0.009, &[11, 10, 9, 8, 7]),
            removal(RemovalOrder::Bottom, 0.6, -0.048, &[11, 10, 9, 8, 7, 6, 5]),
        ],
    }
}

fn lds(primary: bool, [value_all, value_none]: [f64; 2], numbers: &mut Numbers) -> LdsReport {
    let measured = |value: f64, low, high| Estimate::measured(value, Interval::new(low, high));
    let method = |name: &str, explanation: &str, lds, difference| MethodLds {
        name: name.into(),
        explanation: explanation.into(),
        lds,
        difference,
        coalitions: None,
        seconds: Number::MISSING,
    };
    let middle = value_none + (value_all - value_none) * 0.7;
    let points = (0..48)
        .map(|k| {
            let predicted = middle + numbers.normal() * 0.12 * (value_all - value_none);
            ScatterPoint {
                predicted: predicted.into(),
                actual: (predicted + numbers.normal() * 0.08 * (value_all - value_none)).into(),
                coalition_size: 3 * (1 + k % 3),
                label: format!("Coalition {}", k + 1),
            }
        })
        .collect();
    let ours = method(
        "sFT-Shapley",
        "Kernel SHAP on sparsified fine-tuning.",
        if primary { measured(0.61, 0.47, 0.72) } else { measured(0.34, 0.12, 0.53) },
        Estimate::NotMeasured,
    );
    let mut retraining = method(
        "Retraining at equal compute",
        "Kernel SHAP on as many retrained coalitions as the same time buys.",
        measured(0.22, -0.05, 0.44),
        measured(0.39, 0.17, 0.62),
    );
    (retraining.coalitions, retraining.seconds) = (Some(5), 305.0.into());
    LdsReport {
        truth: "Each was trained from scratch on its members\u{2019} images alone.".into(),
        test_coalitions: 48,
        retraining_seeds: 2,
        ours: MethodLds { coalitions: Some(63), seconds: 312.0.into(), ..ours },
        baselines: vec![
            method(
                "Images per contributor",
                "Whoever gave more images gets more credit.",
                if primary { measured(0.38, 0.19, 0.55) } else { measured(0.41, 0.2, 0.58) },
                if primary { measured(0.23, 0.06, 0.41) } else { measured(-0.07, -0.2, 0.09) },
            ),
            method(
                "Mean feature similarity",
                "Whose images resemble the samples more gets more credit.",
                Estimate::undefined("all similarities are equal"),
                Estimate::NotMeasured,
            ),
            retraining,
        ],
        ceiling: measured(0.83, 0.74, 0.9),
        points,
    }
}

fn costs() -> Costs {
    let stage = |stage: &str, purpose, runs, seconds: f64, replaces_retraining| StageCost {
        stage: stage.into(),
        purpose,
        runs,
        seconds: seconds.into(),
        replaces_retraining,
    };
    Costs {
        stages: vec![
            stage("Training the full model", StagePurpose::Model, 1, 148.0, false),
            stage("Pruning and fine-tuning", StagePurpose::Preparation, 1, 14.8, false),
            stage("Sparsified fine-tuning on coalitions", StagePurpose::Scores, 63, 195.3, true),
            stage("Sampling and measuring coalitions", StagePurpose::Scores, 63, 102.1, false),
            stage("Retraining test coalitions", StagePurpose::Validation, 96, 5_856.0, false),
            stage("Retraining for removals", StagePurpose::Validation, 18, f64::NAN, false),
        ],
        retraining_seconds: 61.0.into(),
        retraining_source: "mean of 96 retrainings".into(),
    }
}

fn provenance() -> Provenance {
    let settings = serde_json::json!({
        "study": { "name": "openclipart32", "seed": 42, "device": "cpu" },
        "model": { "block_out_channels": [32, 64, 64], "layers_per_block": 1, "norm_num_groups": 8 },
        "training": { "steps": 2400, "batch_size": 64, "learning_rate": 0.001, "ema": { "max_decay": 0.999, "power": 0.75 } },
        "pruning": { "ratio": 0.3, "importance": "magnitude" }
    });
    Provenance {
        command: Some("tribute run study.toml --device cpu --workers 2".into()),
        settings: match settings {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        },
        hashes: vec![NamedHash {
            name: "full model".into(),
            sha256: "0b1d3f5a7c9e2b4d6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6".into(),
        }],
        seeds: BTreeMap::from([("study".into(), 42), ("test coalitions".into(), 1_042)]),
        records: 178,
        failures: vec![Failure {
            run: "gd, coalition 0b0111".into(),
            error: "the loss is NaN at step 112; the last good checkpoint was kept".into(),
        }],
    }
}
