//! Features and logits against PyTorch's (`fixtures/generate_extractors.py`).

use std::path::Path;

use behavior::{BehaviorError, ExtractorNetwork, ExtractorSpec, FeatureExtractor, Samples, WeightFiles};
use burn::tensor::Device;
use safetensors::SafeTensors;

fn weights() -> WeightFiles {
    WeightFiles::shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/weights"))
}

fn fixture(network: ExtractorNetwork) -> Vec<u8> {
    let name = network.file_name().replace(".f16", "");
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn floats(file: &SafeTensors, key: &str) -> Vec<f32> {
    let data = file.tensor(key).unwrap();
    data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn worst(found: impl Iterator<Item = f32>, expected: &[f32]) -> f32 {
    let mut count = 0;
    let worst = found.zip(expected).map(|(a, b)| (a - b).abs()).inspect(|_| count += 1).fold(0.0, f32::max);
    assert_eq!(count, expected.len());
    worst
}

fn check(network: ExtractorNetwork) {
    let bytes = fixture(network);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let native = ExtractorSpec::native(network);
    let cases = [
        ("picture", "picture_features", "picture_logits", native),
        ("small", "features_64", "logits_64", ExtractorSpec::at(network, 64).unwrap()),
        ("small", "features_75", "logits_75", ExtractorSpec::at(network, 75).unwrap()),
    ];
    for (images, features, logits, spec) in cases {
        let images = file.tensor(images).unwrap();
        let samples = Samples::new(images.data(), images.shape().try_into().unwrap()).unwrap();
        let extractor = FeatureExtractor::load(spec, &weights(), &Device::flex()).unwrap();
        let mut calls = Vec::new();
        let found = extractor.extract(&samples, &mut |done, all| calls.push((done, all))).unwrap();
        assert_eq!(calls.last(), Some(&(samples.len(), samples.len())));
        assert_eq!(Some(found.features.ncols()), network.features());
        assert_eq!(found.features.nrows(), samples.len());
        let features = worst(found.features.iter().copied(), &floats(&file, features));
        let logits = worst(found.logits.iter().copied(), &floats(&file, logits));
        assert!(features <= 1e-3 && logits <= 1e-3, "{spec}: features {features}, logits {logits}");
    }
}

#[test]
fn squeezenet_agrees_with_pytorch() {
    check(ExtractorNetwork::SqueezeNet);
}

#[test]
fn lite0_agrees_with_pytorch() {
    check(ExtractorNetwork::Lite0);
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let spec = ExtractorSpec::at(ExtractorNetwork::SqueezeNet, 48).unwrap();
    let extractor = FeatureExtractor::load(spec, &weights(), &Device::flex().autodiff()).unwrap();
    let pixels: Vec<u8> =
        (0..70 * 8 * 8 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let samples = Samples::new(&pixels, [70, 8, 8, 3]).unwrap();
    let together = extractor.extract(&samples, &mut |_, _| {}).unwrap();
    for index in [0, 63, 64, 69] {
        let alone = extractor.extract(&samples.slice(index, 1), &mut |_, _| {}).unwrap();
        let expected: Vec<f32> = together.features.row(index).to_vec();
        assert!(worst(alone.features.iter().copied(), &expected) <= 1e-4);
    }
}

#[test]
fn an_empty_set_is_refused() {
    let extractor = FeatureExtractor::load(
        ExtractorSpec::native(ExtractorNetwork::SqueezeNet),
        &weights(),
        &Device::flex(),
    )
    .unwrap();
    let samples = Samples::new(&[], [0, 8, 8, 3]).unwrap();
    let error = extractor.extract(&samples, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, BehaviorError::TooFewSamples { found: 0, .. }));
}

#[test]
fn damaged_and_foreign_weights_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.safetensors");
    let lite0 = ExtractorSpec::native(ExtractorNetwork::Lite0);
    let load = || FeatureExtractor::load_file(lite0, &path, &Device::flex()).unwrap_err().to_string();

    let missing = load();
    assert!(missing.contains("weights.safetensors") && missing.contains("datasets/weights"), "{missing}");

    let whole = std::fs::read(weights().folder.join(lite0.network.file_name())).unwrap();
    for cut in [0, 7, 1000, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let damaged = load();
        assert!(damaged.contains("no whole safetensors file"), "{cut}: {damaged}");
    }

    std::fs::write(&path, std::fs::read(weights().folder.join("squeezenet1_1.f16.safetensors")).unwrap())
        .unwrap();
    let foreign = load();
    assert!(foreign.contains("`_conv_stem.weight` is missing"), "{foreign}");

    let mut edited = whole.clone();
    let key = b"_fc.weight";
    let position = edited.windows(key.len()).position(|window| window == key).unwrap();
    edited[position] = b'x';
    std::fs::write(&path, &edited).unwrap();
    assert!(load().contains("`_fc.weight` is missing"));

    let mut poisoned = whole;
    let end = poisoned.len();
    poisoned[end - 2..].copy_from_slice(&[0x00, 0x7e]);
    std::fs::write(&path, &poisoned).unwrap();
    assert!(load().contains("holds NaN"));
}
