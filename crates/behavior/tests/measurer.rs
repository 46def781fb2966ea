//! The whole way from pixels to scores.

use std::collections::BTreeMap;
use std::path::Path;

use behavior::{
    Behavior, BehaviorError, CommandConfig, Direction, HeldOutImages, HeldOutLoss, HeldOutLossConfig,
    Ingredients, Measurer, Samples, Score, ScoreDetail, WeightFiles,
};
use burn::tensor::Device;
use diffusion_core::schedule::NoiseScheduleConfig;
use streams::Streams;

fn weights() -> WeightFiles {
    WeightFiles::shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/weights"))
}

fn behaviors(keys: &[&str]) -> Vec<Behavior> {
    keys.iter().map(|key| key.parse().unwrap()).collect()
}

/// Images `[count, 12, 12, 3]` of coloured waves, all different.
fn waves(count: usize, phase: f64) -> Vec<u8> {
    (0..count * 432)
        .map(|i| {
            let (image, pixel, channel) = ((i / 432) as f64, (i % 432 / 3) as f64, (i % 3) as f64);
            let (x, y) = (pixel % 12.0, (pixel / 12.0).floor());
            let wave =
                (x * (0.2 + 0.13 * (image % 7.0)) + y * (0.05 * image) + channel * image + phase).sin();
            (127.5 + 127.0 * wave) as u8
        })
        .collect()
}

fn measure(measurer: &Measurer, pixels: &[u8]) -> Vec<Score> {
    let samples = Samples::new(pixels, [pixels.len() / 432, 12, 12, 3]).unwrap();
    measurer.measure(&samples, None, &mut |_, _, _| {}).unwrap()
}

#[test]
fn scores_come_in_order_and_the_reference_is_its_own_best_imitation() {
    let reference = waves(40, 0.0);
    let keys = ["recall_lite0_32px", "colourfulness", "fid_squeezenet_32px", "precision_lite0_32px_k5"];
    let more = ["entropy_squeezenet_32px_c4", "is_squeezenet_32px", "recall_lite0_32px", "background"];
    let list = behaviors(&[keys, more].concat());
    let mut calls = Vec::new();
    let measurer = Measurer::prepare(
        &list,
        Ingredients {
            reference: Some(Samples::new(&reference, [40, 12, 12, 3]).unwrap()),
            ..Ingredients::new(&weights())
        },
        &Device::flex(),
        &mut |spec, done, all| calls.push((spec.to_string(), done, all)),
    )
    .unwrap();
    // Each extractor sees the reference once.
    let finished = calls.iter().filter(|(_, done, all)| done == all).count();
    assert_eq!((finished, measurer.extractors().len()), (2, 2));

    let own = measure(&measurer, &reference);
    let labels: Vec<String> = own.iter().map(Score::label).collect();
    assert_eq!(
        labels,
        [
            "recall_lite0_32px, N = 40",
            "colourfulness, N = 40",
            "fid_squeezenet_32px, N = 40",
            "precision_lite0_32px_k5, N = 40",
            "entropy_squeezenet_32px_c4, N = 40",
            "is_squeezenet_32px, N = 40",
            "background, N = 40",
        ]
    );
    let others = measure(&measurer, &waves(30, 2.0));
    assert_eq!((own[0].value, own[3].value), (1.0, 1.0));
    assert!(own[2].value < 1e-3 * others[2].value, "{} {}", own[2].value, others[2].value);
    assert_eq!(own[2].detail, Some(ScoreDetail::Frechet { rank_deficient: true }));
    let Some(ScoreDetail::Clusters { counts, .. }) = &others[4].detail else { panic!("{:?}", others[4]) };
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (4, 30));
    assert!(own[5].value > 1.0 && own[5].value < 40.0);

    let json = serde_json::to_string(&others).unwrap();
    assert!(json.contains(r#"{"behavior":"colourfulness","value":"#), "{json}");
    assert_eq!(serde_json::from_str::<Vec<Score>>(&json).unwrap(), others);
}

#[test]
fn the_held_out_loss_reaches_the_scores_with_every_contributor() {
    let images = HeldOutImages {
        pixels: vec![0.25; 3 * 48],
        shape: [3, 4, 4],
        contributor: vec![0, 0, 2],
        contributors: 3,
    };
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let held_out =
        HeldOutLoss::new(images, HeldOutLossConfig::default(), schedule, Streams::new(1), &Device::flex())
            .unwrap();
    let list = behaviors(&["diffusion_loss"]);
    let device = Device::flex();
    let measurer = Measurer::prepare(
        &list,
        Ingredients { held_out: Some(held_out), ..Ingredients::new(&weights()) },
        &device,
        &mut |_, _, _| {},
    )
    .unwrap();
    let pixels = waves(2, 0.0);
    let samples = Samples::new(&pixels, [2, 12, 12, 3]).unwrap();
    let scores = measurer.measure(&samples, Some(&|x, _| x.zeros_like()), &mut |_, _, _| {}).unwrap();
    assert_eq!(scores[0].n_samples, 24);
    let Some(ScoreDetail::PerContributor { losses }) = &scores[0].detail else { panic!("{:?}", scores[0]) };
    assert!(losses[0].is_some() && losses[1].is_none() && losses[2].is_some());
    assert!((scores[0].value - 1.0).abs() < 0.2);

    let error = measurer.measure(&samples, None, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("diffusion_loss needs the model's noise prediction"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let prepare = |key: &str, reference: Option<Samples>, weights: &WeightFiles| {
        let ingredients = Ingredients { reference, ..Ingredients::new(weights) };
        Measurer::prepare(&behaviors(&[key]), ingredients, &Device::flex(), &mut |_, _, _| {}).unwrap_err()
    };
    let reference = prepare("fid_lite0", None, &weights()).to_string();
    assert!(reference.contains("fid_lite0 needs reference images"), "{reference}");
    let held_out = prepare("diffusion_loss", None, &weights()).to_string();
    assert!(held_out.contains("diffusion_loss needs held-out images"), "{held_out}");
    let elsewhere = prepare("is_lite0", None, &WeightFiles::shipped(Path::new("/nowhere"))).to_string();
    assert!(elsewhere.contains("/nowhere/efficientnet_lite0.f16.safetensors"), "{elsewhere}");
    let pixels = waves(3, 0.0);
    let few = Samples::new(&pixels, [3, 12, 12, 3]).unwrap();
    let error = prepare("entropy_squeezenet_32px", Some(few), &weights());
    assert!(matches!(error, BehaviorError::TooFewSamples { needed: 20, found: 3, .. }), "{error}");
    for (key, part) in [
        ("fid_inception", "measures.inception"),
        ("precision_clip", "measures.clip"),
        ("aesthetic_p90", "measures.aesthetic_head"),
        ("demographic_entropy_squeezenet_32px", "measures.labels"),
        ("command_faces", "[measures.commands.NAME]"),
    ] {
        let message = prepare(key, Some(few), &weights()).to_string();
        assert!(message.contains(part), "{key}: {message}");
    }
}

#[test]
fn labels_densities_and_commands_are_measured_beside_the_others() {
    let pixels = waves(40, 0.0);
    let reference = Samples::new(&pixels, [40, 12, 12, 3]).unwrap();
    // The images repeat with period 7 in their waves.
    let labels: Vec<usize> = (0..40).map(|image| image % 7 / 4).collect();
    let directory = std::path::PathBuf::from("/");
    let run = ["sh", "-c", "echo '{\"value\": 2, \"each\": [1, 2]}'"].map(String::from).to_vec();
    let command =
        CommandConfig { run, shell: false, timeout: 20, better: Direction::LowerIsBetter, directory };
    let list = behaviors(&[
        "density_squeezenet_32px",
        "coverage_squeezenet_32px_k3",
        "demographic_entropy_squeezenet_32px_k1",
        "command_two",
        "avg_mse",
    ]);
    let weights = weights();
    let ingredients = Ingredients {
        reference: Some(reference),
        labels: Some((&labels, 2)),
        commands: BTreeMap::from([("two".to_owned(), command)]),
        ..Ingredients::new(&weights)
    };
    let measurer = Measurer::prepare(&list, ingredients, &Device::flex(), &mut |_, _, _| {}).unwrap();
    let own = measure(&measurer, &pixels);
    // Local behaviours are about pairs of pictures.
    assert_eq!(own.len(), 4);
    assert!(own[0].value > 0.9, "{}", own[0].value);
    assert_eq!((own[1].value, own[3].value), (1.0, 2.0));
    let Some(ScoreDetail::Labels { counts, accuracy }) = &own[2].detail else { panic!("{:?}", own[2]) };
    // Every image is its own nearest neighbour.
    assert_eq!(counts[..], [24, 16]);
    assert!((0.0..=1.0).contains(accuracy));
    assert!((own[2].value - 0.970_950_594_454_668_6).abs() < 1e-12, "{}", own[2].value);
    let Some(ScoreDetail::Numbers { numbers }) = &own[3].detail else { panic!("{:?}", own[3]) };
    assert_eq!(numbers["each"], [1.0, 2.0]);
}
