//! Devices that cannot do everything. The CPU can, and CI has no GPU: this is built with `--features ndarray`, whose numbers have
//! 32 bits or more.
#![cfg(feature = "ndarray")]

mod tiny_study;

use tiny_study::{Outcome, TRAIN, TinyStudy, UNLEARN, run};

const DEVICE: [&str; 2] = ["--device", "ndarray"];

#[test]
fn sixteen_bits_are_refused_where_the_device_has_none() {
    let study = TinyStudy::new();
    let [file, model, out] =
        ["study.toml", "model", "out"].map(|name| study.path(name).display().to_string());
    let nothing_written = || assert!(!study.path("out").exists());
    for precision in ["fp16", "bf16"] {
        let parts = ["mixed_precision", precision, "`ndarray`", "--mixed_precision no", "--device", "`cpu`"];
        let flags = ["--out", &out, "--mixed_precision", precision];
        run(TRAIN, [&[file.as_str()], &flags[..], &DEVICE].concat()).refused(2, &parts);
        nothing_written();
        let retrain = ["--method", "retrain", "--members", "0"];
        run(UNLEARN, [&[file.as_str()], &flags[..], &retrain, &DEVICE].concat()).refused(2, &parts);
        nothing_written();
        // A study finds out before it trains the full model, although only its last stage asks for 16 bits.
        let set = format!("unlearn.optimization.mixed_precision={precision}");
        Outcome::of(&mut study.drive("out", &[&["--set", &set], &DEVICE[..]].concat())).refused(2, &parts);
        nothing_written();
    }
    run(TRAIN, [&[file.as_str(), "--out", &model, "--mixed_precision", "no"], &DEVICE[..]].concat())
        .succeeded();
}
