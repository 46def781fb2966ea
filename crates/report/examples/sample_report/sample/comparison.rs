//! Methods side by side, with invented numbers.

use std::collections::BTreeMap;

use report::*;

/// A comparison for the sample's two behaviours.
pub fn comparison() -> Comparison {
    let lds = |first: f64, second: f64| {
        let around = |value: f64| {
            Estimate::measured(value, Interval::new((value - 0.3).max(-1.0), (value + 0.15).min(1.0)))
        };
        BTreeMap::from([("is_lite0".to_owned(), around(first)), ("colourfulness".to_owned(), around(second))])
    };
    let method =
        |name: &str, explanation: &str, kind, models, share: f64, seconds: f64, lds| ComparedMethod {
            name: name.into(),
            explanation: explanation.into(),
            kind,
            models,
            macs: (share * 4.1e14).into(),
            seconds: seconds.into(),
            peak_memory_bytes: Some(311 << 20),
            lds,
            counterfactual_area: (share / 7.0).into(),
        };
    Comparison {
        explanation:
            "Methods that make models may spend what 64 fine-tuned coalitions and their pruned parent cost."
                .into(),
        budget_macs: 4.1e14,
        ceilings: lds(0.81, 0.77),
        methods: vec![
            method(
                "gd + Kernel SHAP",
                "Fine-tunes the pruned model on each coalition.",
                ComparedKind::Coalitions,
                Some(64),
                1.0,
                312.0,
                lds(0.71, 0.55),
            ),
            method(
                "retrain + Kernel SHAP",
                "Trains a model from scratch on each coalition.",
                ComparedKind::Coalitions,
                Some(7),
                0.97,
                398.0,
                lds(0.22, -0.11),
            ),
            method(
                "TRAK",
                "Kernel regression on projected gradients.",
                ComparedKind::Gradients,
                None,
                0.2,
                71.0,
                lds(0.31, 0.04),
            ),
            method(
                "Pixel similarity",
                "Mean cosine of pixels to the model's samples.",
                ComparedKind::Similarity,
                None,
                0.0,
                0.4,
                lds(-0.2, 0.12),
            ),
        ],
    }
}
