//! Networks whose weights users bring, with weights by a formula, against the code that they were published with
//! (`fixtures/generate_user_networks.py`).

mod formula_weights;

use std::path::Path;

use behavior::{
    AestheticHead, Behavior, ExtractorNetwork, ExtractorSpec, FeatureExtractor, Features, Ingredients,
    Measurer, Samples, WeightFiles,
};
use burn::tensor::Device;
use formula_weights::{Tensors, picture, tensors, write};
use safetensors::SafeTensors;

fn floats(file: &SafeTensors, key: &str) -> Vec<f32> {
    file.tensor(key).unwrap().data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn load(network: ExtractorNetwork, path: &Path) -> FeatureExtractor {
    FeatureExtractor::load_file(ExtractorSpec::native(network), path, &Device::flex()).unwrap()
}

/// Features and logits of the two pictures, each by itself as their sizes differ.
fn of_pictures(extractor: &FeatureExtractor) -> (Vec<f32>, Vec<f32>) {
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    for [height, width] in [[40, 28], [310, 320]] {
        let pixels = picture(height, width);
        let samples = Samples::new(&pixels, [1, height, width, 3]).unwrap();
        let found: Features = extractor.extract(&samples, &mut |_, _| {}).unwrap();
        features.extend(found.features);
        logits.extend(found.logits);
    }
    (features, logits)
}

/// The largest difference as a share of the largest value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest > 0.1);
    worst / largest
}

#[test]
fn inception_is_that_of_pytorch_fid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inception.safetensors");
    write(&path, &tensors(include_str!("fixtures/inception.json")));
    let extractor = load(ExtractorNetwork::Inception, &path);
    let (features, logits) = of_pictures(&extractor);
    let bytes = include_bytes!("fixtures/inception.safetensors");
    let expected = SafeTensors::deserialize(bytes).unwrap();
    // 94 layers in float32, summed in another order.
    let worst = difference(&features, &floats(&expected, "features"));
    assert!(worst < 2e-5, "features differ by {worst}");
    let worst = difference(&logits, &floats(&expected, "logits"));
    assert!(worst < 2e-5, "logits differ by {worst}");
}

/// The same tower by OpenAI's names, with a text tower beside it.
fn as_openai(hugging_face: &Tensors) -> Tensors {
    let mut named = Tensors::new();
    let get = |name: &str| hugging_face[name].clone();
    for (name, (shape, values)) in hugging_face {
        let renamed = name
            .replace("vision_model.embeddings.patch_embedding.", "visual.conv1.")
            .replace("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding")
            .replace("vision_model.embeddings.class_embedding", "visual.class_embedding")
            .replace("vision_model.pre_layrnorm", "visual.ln_pre")
            .replace("vision_model.post_layernorm", "visual.ln_post")
            .replace("vision_model.encoder.layers", "visual.transformer.resblocks")
            .replace("self_attn.out_proj", "attn.out_proj")
            .replace("layer_norm", "ln_")
            .replace("mlp.fc1", "mlp.c_fc")
            .replace("mlp.fc2", "mlp.c_proj");
        if name == "visual_projection.weight" {
            let [rows, columns] = shape[..] else { panic!("{shape:?}") };
            let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect();
            named.insert("visual.proj".to_owned(), (vec![columns, rows], turned));
        } else if !name.contains("_proj.") || name.contains("out_proj") {
            named.insert(renamed, (shape.clone(), values.clone()));
        } else if name.contains("q_proj") {
            let part = name.rsplit_once('.').unwrap().1;
            let three = ["q_proj", "k_proj", "v_proj"].map(|other| get(&name.replace("q_proj", other)));
            let mut shape = three[0].0.clone();
            shape[0] *= 3;
            let values = three.into_iter().flat_map(|(_, values)| values).collect();
            let path = renamed.split(".self_attn").next().unwrap();
            named.insert(format!("{path}.attn.in_proj_{part}"), (shape, values));
        }
    }
    named.insert("transformer.resblocks.0.ln_1.weight".to_owned(), (vec![2], vec![1.0, 1.0]));
    named.insert("logit_scale".to_owned(), (vec![], vec![4.6]));
    named
}

#[test]
fn clip_is_that_of_transformers_under_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let hugging_face = tensors(include_str!("fixtures/clip.json"));
    let bytes = include_bytes!("fixtures/clip.safetensors");
    let expected = floats(&SafeTensors::deserialize(bytes).unwrap(), "features");
    for (name, tensors) in [("hugging_face", hugging_face.clone()), ("openai", as_openai(&hugging_face))] {
        let path = folder.path().join(format!("{name}.safetensors"));
        write(&path, &tensors);
        let (features, logits) = of_pictures(&load(ExtractorNetwork::Clip, &path));
        assert!(logits.is_empty());
        let worst = difference(&features, &expected);
        assert!(worst < 1e-5, "{name}: features differ by {worst}");
    }
}

#[test]
fn aesthetic_scores_are_those_of_the_chain_of_maps() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.safetensors");
    write(&clip, &tensors(include_str!("fixtures/clip.json")));
    let (features, _) = of_pictures(&load(ExtractorNetwork::Clip, &clip));
    let chain = tensors(
        r#"{"layers.0.weight": [7, 48], "layers.0.bias": [7], "layers.10.weight": [1, 7], "layers.10.bias": [1]}"#,
    );
    let head = folder.path().join("head.safetensors");
    write(&head, &chain);

    let unit: Vec<Vec<f64>> = features
        .chunks_exact(48)
        .map(|row| {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|&x| f64::from(x) / norm).collect()
        })
        .collect();
    let map = |x: &[f64], name: &str| -> Vec<f64> {
        let (weight, bias) = (&chain[&format!("{name}.weight")].1, &chain[&format!("{name}.bias")].1);
        let rows = weight.chunks_exact(x.len()).zip(bias);
        rows.map(|(w, b)| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>() + f64::from(*b))
            .collect()
    };
    let expected: Vec<f64> = unit.iter().map(|x| map(&map(x, "layers.0"), "layers.10")[0]).collect();
    let loaded = AestheticHead::load(&head).unwrap();
    let rows = ndarray::Array2::from_shape_vec((2, 48), features).unwrap();
    for (found, expected) in loaded.scores(rows.view()).unwrap().iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    let files =
        WeightFiles { clip: Some(clip), aesthetic_head: Some(head.clone()), ..WeightFiles::default() };
    let list: [Behavior; 2] = ["aesthetic_mean", "aesthetic_p90"].map(|key| key.parse().unwrap());
    let measurer =
        Measurer::prepare(&list, Ingredients::new(&files), &Device::flex(), &mut |_, _, _| {}).unwrap();
    let pixels = [picture(40, 28), vec![90; 40 * 28 * 3]].concat();
    let samples = Samples::new(&pixels, [2, 40, 28, 3]).unwrap();
    let scores = measurer.measure(&samples, None, &mut |_, _, _| {}).unwrap();
    // Of two values, the mean is half way from the lower to the higher and the percentile nine tenths; one is known.
    let higher = scores[0].value + 0.5 * (scores[1].value - scores[0].value) / 0.4;
    let lower = 2.0 * scores[0].value - higher;
    assert!(higher > lower);
    let known = (expected[0] - higher).abs().min((expected[0] - lower).abs());
    assert!(known < 1e-5, "{} is neither {lower} nor {higher}", expected[0]);

    write(&head, &tensors(r#"{"weight": [2, 48], "bias": [2]}"#));
    assert!(AestheticHead::load(&head).unwrap_err().to_string().contains("2 outputs"));
    write(&head, &tensors(r#"{"weight": [1, 768], "bias": [1]}"#));
    let error = AestheticHead::load(&head).unwrap().scores(rows.view()).unwrap_err().to_string();
    assert!(error.contains("768") && error.contains("48") && error.contains("ViT-L/14"), "{error}");
}

#[test]
fn files_of_other_networks_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    write(&path, &tensors(r#"{"weight": [2, 2]}"#));
    for (network, part) in [
        (ExtractorNetwork::Inception, "`fc.weight` is missing"),
        (ExtractorNetwork::Clip, "`vision_model.embeddings.patch_embedding.weight` is missing"),
    ] {
        let spec = ExtractorSpec::native(network);
        let message = FeatureExtractor::load_file(spec, &path, &Device::flex()).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        std::fs::write(folder.path().join("torn.pth"), b"PK\x03\x04torn").unwrap();
        let torn = folder.path().join("torn.pth");
        let message = FeatureExtractor::load_file(spec, &torn, &Device::flex()).unwrap_err().to_string();
        assert!(message.contains("no whole PyTorch file") && message.contains("`measures."), "{message}");
    }
}
