//! Files of `torch.save` (`fixtures/generate_torch.py`).

use std::collections::BTreeMap;

use pickle::torch_file;

const STATE: &[u8] = include_bytes!("fixtures/state.pth");
const LEGACY: &[u8] = include_bytes!("fixtures/legacy.pth");
const NESTED: &[u8] = include_bytes!("fixtures/nested.pth");
const EVIL: &[u8] = include_bytes!("fixtures/evil.pth");
const SCRIPT: &[u8] = include_bytes!("fixtures/script.pt");

fn refused(bytes: &[u8]) -> String {
    torch_file(bytes).unwrap_err().to_string()
}

#[test]
fn tensors_of_both_formats_are_those_that_were_saved() {
    let text = include_str!("fixtures/expected.json");
    let expected: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(expected.len(), 9);
    for (file, bytes) in [("state", STATE), ("legacy", LEGACY), ("nested", NESTED)] {
        let found = torch_file(bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{file}");
        for (name, tensor) in found {
            let shape: Vec<usize> = serde_json::from_value(expected[&name]["shape"].clone()).unwrap();
            let values: Vec<f64> = serde_json::from_value(expected[&name]["values"].clone()).unwrap();
            assert_eq!(tensor.shape, shape, "{file}: {name}");
            // Each value is a 32-bit float, which JSON gives back.
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            assert_eq!(tensor.values, values, "{file}: {name}");
        }
    }
}

#[test]
fn what_would_run_code_is_refused_by_name() {
    let message = refused(EVIL);
    assert!(message.contains("posix.system"), "{message}");
    let message = refused(SCRIPT);
    assert!(message.contains("TorchScript") && message.contains("state_dict()"), "{message}");
    assert!(refused(b"not a model").contains("byte 0"));
    assert!(refused(b"").contains("STOP"));
    // A pickle of nothing but a number.
    assert!(refused(b"\x80\x02K\x01.").contains("no file of torch.save"));
}

#[test]
fn files_that_were_cut_short_or_altered_are_refused_or_read_and_never_panic() {
    for bytes in [STATE, LEGACY] {
        for length in (0..bytes.len()).step_by(7) {
            assert!(torch_file(&bytes[..length]).is_err(), "{length}");
        }
        let mut altered = bytes.to_vec();
        for place in 0..bytes.len() {
            altered[place] ^= 0x55;
            let _ = torch_file(&altered);
            altered[place] ^= 0x55;
        }
    }
}
