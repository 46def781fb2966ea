//! Damaged files of what studies read and write: see `tests/fuzzing`. Those of images are in `crates/data/tests/fuzz.rs`.

mod fuzzing;

use std::fs;
use std::path::Path;

use diffusion_core::autoencoder::store::{LatentStore, StoredLatents};
use diffusion_core::pipeline::Pipeline;
use diffusion_core::{Device, StateDict, TensorF32, UNet2DConfig, UNet2DModel, model_folder};
use fuzzing::fuzz;
use ledger::reference::ReferenceDatabase;
use ledger::{Record, RunKey};
use removal::Coalition;
use serde_json::json;
use streams::Streams;
use study::StudyConfig;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("apps is a folder of the project")
}

#[test]
fn weights() {
    let mut weights = StateDict::new();
    for (name, shape) in [("conv.weight", vec![2, 3, 3, 3]), ("conv.bias", vec![2]), ("empty", vec![0, 4])] {
        let count = shape.iter().product();
        let tensor = TensorF32::new(shape, (0..count).map(|at: usize| at as f32).collect())
            .expect("a shape that fits");
        weights.insert(name, tensor);
    }
    let whole = weights.to_safetensors().expect("few names");
    // A header that announces 2^60 numbers.
    let header =
        br#"{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}"#;
    let mut huge = (header.len() as u64).to_le_bytes().to_vec();
    huge.extend(header);
    let refused = StateDict::from_safetensors(&huge, "huge").expect_err("2^60 numbers");
    assert!(refused.to_string().contains("huge"), "{refused}");
    fuzz("safetensors", &[whole, huge], |bytes| drop(StateDict::from_safetensors(bytes, "damaged")));
}

/// A folder of a pipeline as diffusers writes it, and the damaged bytes in place of one of its files.
fn fuzz_pipeline(name: &str, file: &str, also: &[Vec<u8>]) {
    let dir = tempfile::tempdir().expect("room for a folder");
    let config = UNet2DConfig::small(4, &[8]);
    let network = UNet2DModel::new(&config, &Device::flex(), &Streams::new(0)).expect("a small network");
    let weights = network.state_dict().expect("weights");
    let unet = dir.path().join("unet");
    model_folder::write(&unet, &config, &weights, None).expect("room for a model");
    let shards: serde_json::Map<String, serde_json::Value> =
        weights.names().map(|tensor| (tensor.to_owned(), "part.safetensors".into())).collect();
    fs::rename(unet.join("diffusion_pytorch_model.safetensors"), unet.join("part.safetensors"))
        .expect("weights that were written");
    for (path, content) in [
        (
            "model_index.json",
            json!({ "_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"] }),
        ),
        (
            "scheduler/scheduler_config.json",
            json!({ "_class_name": "DDPMScheduler", "beta_end": 0.02, "num_train_timesteps": 1000 }),
        ),
        (
            "unet/diffusion_pytorch_model.safetensors.index.json",
            json!({ "metadata": {}, "weight_map": shards }),
        ),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
        fs::write(path, content.to_string()).expect("room for a file");
    }
    let path = dir.path().join(file);
    let mut seeds = vec![fs::read(&path).expect("it was just written")];
    seeds.extend_from_slice(also);
    let pipeline = Pipeline::open(dir.path()).expect("a whole pipeline").expect("an index");
    model_folder::read(&pipeline.unet).expect("whole weights");
    fuzz(name, &seeds, |bytes| {
        fs::write(&path, bytes).expect("room for a file");
        drop(Pipeline::open(dir.path()));
        drop(model_folder::read(&unet));
    });
}

#[test]
fn indices_of_pipelines() {
    fuzz_pipeline("model_index.json", "model_index.json", &[]);
}

#[test]
fn schedulers() {
    let huge = json!({ "_class_name": "DDPMScheduler", "num_train_timesteps": 1u64 << 60 }).to_string();
    fuzz_pipeline("scheduler_config.json", "scheduler/scheduler_config.json", &[huge.into_bytes()]);
}

#[test]
fn configurations_of_networks() {
    fuzz_pipeline("config.json", "unet/config.json", &[]);
}

#[test]
fn indices_of_shards() {
    let outside = json!({ "weight_map": { "conv_in.bias": "../../../etc/hostname" } }).to_string();
    let file = "unet/diffusion_pytorch_model.safetensors.index.json";
    fuzz_pipeline("safetensors.index.json", file, &[outside.into_bytes()]);
}

#[test]
fn latents() {
    let dir = tempfile::tempdir().expect("room for a folder");
    let store = LatentStore::new(dir.path(), "abc", "mean", [1, 2, 2]);
    let mut written = StoredLatents::default();
    store.write(vec!["a".to_owned(), "b".to_owned()], &[0.5; 8], &mut written).expect("room for a shard");
    let path = written.files.remove(0);
    let whole = fs::read(&path).expect("a shard");
    fuzz("latents", &[whole], |bytes| {
        fs::write(&path, bytes).expect("room for a file");
        drop(store.find(|_| true));
    });
}

/// What `torch.save` writes, zipped or as once.
#[test]
fn torch_files() {
    let folder = project().join("crates/pickle/tests/fixtures");
    let seeds = ["state.pth", "nested.pth", "legacy.pth", "evil.pth", "script.pt"]
        .map(|name| fs::read(folder.join(name)).expect("a fixture"));
    fuzz("torch", &seeds, |bytes| drop(pickle::torch_file(bytes)));
}

#[test]
fn records() {
    let coalition = Coalition::from_members(70, [0, 3, 69]).expect("members of 70");
    let key =
        RunKey::new("gd", coalition).seed("study", 7).setting("steps", &12).expect("JSON").parent("abc");
    let record = Record::new(key).expect("a key").behavior("score", 0.25).behavior("all", vec![1.0, 2.5]);
    let text = record.to_text().expect("JSON").into_bytes();
    let path = Path::new("damaged.json");
    assert_eq!(Record::from_text(&text, path).expect("whole").id(), record.id());
    fuzz("records", &[text], |bytes| drop(Record::from_text(bytes, path)));
}

#[test]
fn databases() {
    let folder = project().join("crates/ledger/tests/fixtures/reference");
    let seeds =
        ["full.jsonl", "null.jsonl"].map(|name| fs::read(folder.join(name)).expect("a fixture")).to_vec();
    let dir = tempfile::tempdir().expect("room for a folder");
    let path = dir.path().join("damaged.jsonl");
    fuzz("jsonl", &seeds, |bytes| {
        fs::write(&path, bytes).expect("room for a file");
        drop(ReferenceDatabase::read(&path));
    });
}

#[test]
fn studies() {
    let folder = project().join("datasets/studies");
    let seeds = ["demo.toml"].map(|name| fs::read(folder.join(name)).expect("a study")).to_vec();
    fuzz("toml", &seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        drop(StudyConfig::parse(&text, Path::new("."), Path::new("damaged.toml")));
    });
}
