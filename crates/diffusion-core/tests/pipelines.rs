//! Pipeline folders of diffusers (`fixtures/pipeline/generate_pipeline.py`), read and written.

use std::fs;
use std::path::{Path, PathBuf};

use diffusion_core::pipeline::{Pipeline, forward_process};
use diffusion_core::schedule::BetaSchedule;
use diffusion_core::{NoiseScheduleConfig, model_folder};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pipeline").join(name)
}

#[test]
fn every_form_of_a_pipeline_holds_the_same_network() {
    let whole = model_folder::read(&fixture("whole")).unwrap();
    assert_eq!(whole.0.block_out_channels, [4, 4]);
    for name in [
        "whole/unet",
        "sharded",
        "sharded/unet",
        "half",
        "half/unet",
        "legacy",
        "bin",
        "bin/unet",
        "bin_sharded",
    ] {
        assert_eq!(model_folder::read_averaged_or_trained(&fixture(name)).unwrap(), whole, "{name}");
        assert_eq!(
            model_folder::hash(&fixture(name)).unwrap(),
            model_folder::model_hash(&whole.0, &whole.1),
            "{name}"
        );
    }
}

#[test]
fn the_forward_process_is_read() {
    for name in ["whole", "sharded", "half", "bin", "bin_sharded"] {
        assert_eq!(forward_process(&fixture(name)).unwrap(), Some(NoiseScheduleConfig::default()), "{name}");
    }
    let legacy = forward_process(&fixture("legacy")).unwrap().unwrap();
    assert_eq!((legacy.beta_schedule, legacy.num_train_timesteps), (BetaSchedule::Cosine, 500));
    assert_eq!(forward_process(&fixture("whole/unet")).unwrap(), None);
}

#[test]
fn a_written_model_is_a_pipeline_and_can_be_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("model");
    let (config, weights) = model_folder::read(&fixture("whole")).unwrap();
    let forward = NoiseScheduleConfig { num_train_timesteps: 300, ..NoiseScheduleConfig::default() };
    for _ in 0..2 {
        model_folder::write(&folder, &config, &weights, Some((&forward).into())).unwrap();
    }
    let pipeline = Pipeline::open(&folder).unwrap().unwrap();
    assert_eq!((pipeline.forward, pipeline.unet, pipeline.autoencoder), (forward, folder.clone(), None));
    assert_eq!(model_folder::read(&folder).unwrap(), (config.clone(), weights.clone()));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    model_folder::write(&folder, &config, &weights, None).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_shard_that_is_gone_and_a_pipeline_without_weights_are_named() {
    let parent = tempfile::tempdir().unwrap();
    let unet = parent.path().join("unet");
    fs::create_dir(&unet).unwrap();
    for entry in fs::read_dir(fixture("sharded/unet")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, unet.join(path.file_name().unwrap())).unwrap();
    }
    model_folder::read(&unet).unwrap();
    fs::remove_file(unet.join("diffusion_pytorch_model-00003-of-00006.safetensors")).unwrap();
    let message = model_folder::read(&unet).unwrap_err().to_string();
    assert!(message.contains("00003-of-00006"), "{message}");
    fs::remove_file(unet.join("diffusion_pytorch_model.safetensors.index.json")).unwrap();
    let message = model_folder::read(&unet).unwrap_err().to_string();
    assert!(message.contains("holds no weights"), "{message}");
}

#[test]
fn weights_of_torch_save_come_after_safetensors_and_run_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let bin = parent.path().join("diffusion_pytorch_model.bin");
    for name in ["config.json", "diffusion_pytorch_model.bin"] {
        fs::copy(fixture("bin/unet").join(name), parent.path().join(name)).unwrap();
    }
    let whole = model_folder::read(&fixture("whole")).unwrap();
    assert_eq!(model_folder::read(parent.path()).unwrap(), whole);
    let evil = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pickle/tests/fixtures/evil.pth");
    fs::copy(evil, &bin).unwrap();
    let message = model_folder::read(parent.path()).unwrap_err().to_string();
    for part in ["diffusion_pytorch_model.bin", "posix.system", "save_pretrained"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    fs::copy(
        fixture("whole/unet/diffusion_pytorch_model.safetensors"),
        parent.path().join("diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    assert_eq!(model_folder::read(parent.path()).unwrap(), whole);
}
