//! Damaged files of what studies read and write: see `tests/fuzzing`. Those of images are in `crates/data/tests/fuzz.rs`.

mod fuzzing;

use std::fs;
use std::path::Path;

use diffusion_core::{StateDict, TensorF32};
use fuzzing::fuzz;
use ledger::reference::ReferenceDatabase;
use ledger::{Record, RunKey};
use removal::Coalition;
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
