//! Autoencoders against diffusers' `VQModel` and `AutoencoderKL`: what they compute and all gradients, on fixtures computed in
//! float64.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use diffusion_core::autoencoder::{
    Autoencoder, AutoencoderConfig, Reconstruction, autoencoder_layout, folder,
};
use diffusion_core::{StateDict, TensorF32};
use support::{gradients_by_name, relative_error};

/// Largest difference, as a fraction of the largest magnitude of the tensor: 32 bits against 64.
const TOLERANCE: f64 = 1e-5;
/// The same for the gradients of parameters, in which more rounding gathers.
const GRADIENT_TOLERANCE: f64 = 3e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autoencoder").join(name)
}

struct Case {
    name: &'static str,
    values: StateDict,
    device: Device,
    model: Autoencoder,
}

impl Case {
    fn open(name: &'static str, device: Device) -> Self {
        let values = StateDict::read(&fixture(name).join("case.safetensors")).unwrap();
        let model = folder::read(&fixture(name), &device).unwrap();
        Self { name, values, device, model }
    }

    fn stored(&self, what: &str) -> &TensorF32 {
        self.values.get(what).unwrap()
    }

    fn tensor(&self, what: &str) -> Tensor<4> {
        let stored = self.stored(what);
        Tensor::from_data(TensorData::new(stored.data().to_vec(), stored.shape().to_vec()), &self.device)
    }

    fn check<const D: usize>(&self, what: &str, actual: Tensor<D>, tolerance: f64) {
        let expected = self.stored(what);
        assert_eq!(actual.dims().to_vec(), expected.shape(), "{}: {what}", self.name);
        let actual = actual.try_into_vec_as::<f32>().unwrap();
        let error = relative_error(&actual, expected.data());
        assert!(error <= tolerance, "{}: {what} differs by {error:.1e}", self.name);
    }

    /// Gradients of every parameter, under diffusers' names.
    fn check_gradients(&self, gradients: &Gradients) {
        let found = gradients_by_name(&self.model, gradients);
        let mut names: Vec<String> = found.iter().map(|(name, _)| format!("grad.{name}")).collect();
        names.sort_unstable();
        let stored: Vec<&str> = self.values.names().filter(|name| name.starts_with("grad.")).collect();
        assert_eq!(names, stored, "{}: parameters must have diffusers' keys", self.name);
        for (parameter, gradient) in &found {
            let expected = self.stored(&format!("grad.{parameter}")).data();
            // The bias of keys has no gradient in exact arithmetic: softmax takes it out.
            if parameter.ends_with("to_k.bias") {
                assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{}: {parameter}", self.name);
                continue;
            }
            let error = relative_error(gradient, expected);
            assert!(
                error <= GRADIENT_TOLERANCE,
                "{}: the gradient of {parameter} differs by {error:.1e}",
                self.name
            );
        }
    }
}

#[test]
fn codebook_autoencoder_is_that_of_diffusers() {
    let case = Case::open("vq", Device::flex());
    let latents = case.model.encode(case.tensor("x"));
    case.check("latents", latents.clone(), TOLERANCE);
    let quantized = case.model.quantize(latents.clone()).unwrap();
    let indices: Vec<u32> = case.stored("indices").data().iter().map(|&index| index as u32).collect();
    assert_eq!(quantized.indices, indices, "every latent has the same code");
    // By default diffusers weighs the codebook's term by beta in place of the commitment's.
    case.check("legacy_loss", quantized.commitment_loss + quantized.codebook_loss * 0.25, TOLERANCE);
    case.check("decoded", case.model.decode(latents).unwrap(), TOLERANCE);
}

#[test]
fn training_loss_and_gradients_with_a_codebook_are_those_of_diffusers() {
    let case = Case::open("vq", Device::flex().autodiff());
    let terms = Reconstruction::default().terms(&case.model, case.tensor("x"), |_| Vec::new()).unwrap();
    let loss = terms.error + terms.bottleneck;
    let gradients = loss.backward();
    case.check("loss", loss, TOLERANCE);
    case.check_gradients(&gradients);
}

#[test]
fn gaussian_autoencoder_is_that_of_diffusers() {
    let case = Case::open("kl", Device::flex());
    let distribution = case.model.encode_distribution(case.tensor("x")).unwrap();
    case.check("mean", case.model.encode(case.tensor("x")), TOLERANCE);
    case.check("log_variance", distribution.log_variance.clone(), TOLERANCE);
    let latents = distribution.sample(case.tensor("noise"));
    case.check("decoded", case.model.decode(latents).unwrap(), TOLERANCE);
    let vq = Case::open("vq", Device::flex());
    assert!(vq.model.encode_distribution(vq.tensor("x")).unwrap_err().to_string().contains("posterior"));
    assert!(case.model.quantize(case.tensor("mean")).unwrap_err().to_string().contains("no codebook"));
}

#[test]
fn training_loss_and_gradients_with_a_gaussian_are_those_of_diffusers() {
    let case = Case::open("kl", Device::flex().autodiff());
    let task = Reconstruction { divergence: 1.0, ..Reconstruction::default() };
    let noise = case.stored("noise").data().to_vec();
    let terms = task
        .terms(&case.model, case.tensor("x"), |count| {
            assert_eq!(count, noise.len());
            noise.clone()
        })
        .unwrap();
    let loss = terms.error + terms.bottleneck;
    let gradients = loss.backward();
    case.check("loss", loss, TOLERANCE);
    case.check_gradients(&gradients);
}

#[test]
fn tiles_are_cut_and_blended_as_by_diffusers() {
    let case = Case::open("kl", Device::flex());
    let latents = case.tensor("tiled_latents");
    case.check("whole_image", case.model.decode(latents.clone()).unwrap(), TOLERANCE);
    case.check("tiled_image", case.model.decode_tiled(latents).unwrap(), TOLERANCE);
    case.check("tiled_mean", case.model.encode_tiled(case.tensor("tiled_x")).unwrap(), TOLERANCE);
    // What fits into a tile is decoded at once.
    let small = case.tensor("mean");
    let values = |t: Tensor<4>| t.try_into_vec_as::<f32>().unwrap();
    assert_eq!(
        values(case.model.decode_tiled(small.clone()).unwrap()),
        values(case.model.decode(small).unwrap())
    );
}

#[test]
fn weights_survive_the_network_and_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["vq", "kl"] {
        let model = folder::read(&fixture(name), &Device::flex()).unwrap();
        let path = temporary.path().join(name);
        folder::write(&path, &model).unwrap();
        let again = folder::read(&path, &Device::flex()).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(again.state_dict().unwrap(), model.state_dict().unwrap());
        assert_eq!(folder::hash(&again).unwrap(), folder::hash(&model).unwrap());
    }
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
}

#[test]
fn attention_under_its_old_names_is_read() {
    let temporary = tempfile::tempdir().unwrap();
    let source = fixture("vq");
    fs::copy(source.join("config.json"), temporary.path().join("config.json")).unwrap();
    let weights = StateDict::read(&source.join("diffusion_pytorch_model.safetensors")).unwrap();
    let old: StateDict = weights
        .clone()
        .into_iter()
        .map(|(name, tensor)| {
            let names = [
                (".to_q.", ".query."),
                (".to_k.", ".key."),
                (".to_v.", ".value."),
                (".to_out.0.", ".proj_attn."),
            ];
            (names.iter().fold(name, |name, (new, old)| name.replace(new, old)), tensor)
        })
        .collect();
    assert!(old.contains("encoder.mid_block.attentions.0.proj_attn.weight") && old.len() == weights.len());
    old.write(&temporary.path().join("diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(folder::read(temporary.path(), &Device::flex()).unwrap().state_dict().unwrap(), weights);

    let mut missing = weights;
    missing.remove("quantize.embedding.weight");
    missing.write(&temporary.path().join("diffusion_pytorch_model.safetensors")).unwrap();
    let error = folder::read(temporary.path(), &Device::flex()).unwrap_err().to_string();
    assert!(
        error.contains("quantize.embedding.weight") && error.contains("diffusion_pytorch_model"),
        "{error}"
    );
}

#[test]
fn autoencoder_of_faces_has_the_size_of_diffusers() {
    // `sum(p.numel() for p in model.parameters())` of diffusers' VQModel with the configuration of CompVis/ldm-celebahq-256,
    // of which 3 x 8192 are its codebook.
    let layout = autoencoder_layout(&AutoencoderConfig::celeba()).unwrap();
    assert_eq!(layout.parameter_count() + 3 * 8192, 55_322_782);
}
