//! Readers of stdout and stderr that end too soon, full disks behind them, and names that would command a terminal.

#![cfg(target_os = "linux")]

mod tiny_study;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tiny_study::{Background, LDS, MEASURE, Outcome, PRUNE, TRIBUTE, TinyStudy, records, run};

static FINISHED: LazyLock<TinyStudy> = LazyLock::new(|| {
    let study = TinyStudy::new();
    study.complete("out", &["--quiet"]);
    study
});

/// A pipe that nobody reads any longer.
fn gone() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Each way of printing a result: lines, JSON.
fn printing() -> Vec<Command> {
    let study = &*FINISHED;
    let out = study.path("out");
    let command = |binary: &str, arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.args(arguments);
        command
    };
    let folder = out.to_str().unwrap();
    let file = study.file();
    let model = fs::read_dir(out.join("models")).unwrap().next().unwrap().unwrap().path();
    vec![
        command(TRIBUTE, &["status", folder]),
        command(TRIBUTE, &["status", folder, "--json"]),
        command(TRIBUTE, &["run", file.to_str().unwrap(), "--out", folder]),
        command(TRIBUTE, &["data", "inspect", &format!("{}/openclipart32", tiny_study::DATASETS)]),
        command(LDS, &["--train", folder]),
        command(MEASURE, &[file.to_str().unwrap(), "--model", model.to_str().unwrap()]),
    ]
}

#[test]
fn a_reader_that_has_seen_enough_is_left_in_peace() {
    for mut command in printing() {
        let output =
            command.stdout(gone()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {told}");
        assert!(!told.contains("error") && !told.contains("panicked"), "{command:?}: {told}");
    }
}

#[test]
fn results_that_cannot_be_printed_are_an_error() {
    for mut command in printing() {
        let output =
            command.stdout(full()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let outcome = Outcome::from(output).refused(1, &["standard output", "No space left"]);
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    }
}

#[test]
fn work_goes_on_when_nobody_is_told_of_it() {
    let study = &*FINISHED;
    let out = study.path("out");
    for (name, stderr) in [("gone", gone()), ("full", full())] {
        let table = study.path(&format!("{name}.csv"));
        let mut export = Command::new(TRIBUTE);
        export.arg("export").arg(&out).arg("--output").arg(&table);
        assert_eq!(export.stderr(stderr).status().unwrap().code(), Some(0), "{name}");
        assert_eq!(fs::read_to_string(&table).unwrap().lines().count(), records(&out).len() + 1, "{name}");
    }
    // An error that cannot be told still has its exit code.
    for stderr in [gone(), full()] {
        let mut status = Command::new(TRIBUTE);
        status.args(["status", "no such folder"]).stdout(Stdio::null()).stderr(stderr);
        assert_eq!(status.status().unwrap().code(), Some(2));
    }
}

#[test]
fn a_study_under_nohup_outlives_its_terminal() {
    let study = TinyStudy::edited(&[("steps = 6", "steps = 300")]);
    let out = study.path("out");
    let mut command = Command::new("nohup");
    command.args([TRIBUTE, "run", study.file().to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"]);
    let mut driver = Background::start(&mut command);
    assert!(driver.wait_until(|| out.join("models").is_dir()), "it ended too soon");
    driver.signal("HUP");
    driver.end().succeeded();
    assert!(out.join("report.html").is_file());

    // Without it, the study stops and can be continued. This one would take hours.
    let study = TinyStudy::edited(&[("steps = 6", "steps = 10000000")]);
    let mut driver = Background::start(&mut study.drive("other", &["--quiet"]));
    assert!(driver.wait_until(|| study.path("other/models").is_dir()), "it ended too soon");
    driver.signal("HUP");
    driver.end().refused(1, &["stopped", "the same command continues"]);
}

#[test]
fn a_device_is_not_replaced_by_a_file() {
    // With all rights, as in a container, `--output /dev/stdout` would leave a file there.
    let study = &*FINISHED;
    let device = study.path("device.csv");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    let (out, device_name) = (study.path("out"), device.to_str().unwrap());
    let parts = ["device.csv", "device", "choose another"];
    run(TRIBUTE, ["export", out.to_str().unwrap(), "--output", device_name]).refused(1, &parts);
    run(LDS, ["--train", out.to_str().unwrap(), "--scores", device_name]).refused(1, &parts);
    let model = fs::read_dir(out.join("models")).unwrap().next().unwrap().unwrap().path();
    let pruned = study.path("pruned");
    let arguments = [&model, Path::new("--out"), &pruned, Path::new("--plan"), &device];
    run(PRUNE, arguments).refused(1, &parts);
    assert!(device.is_symlink());
}

#[test]
fn names_cannot_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["\u{1b}[2Jred", "\u{202e}turned", "plain"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        for shade in [40u8, 90, 140, 200] {
            let image =
                image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([shade, x as u8 * 20, y as u8 * 20]));
            image.save(folder.path().join(name).join(format!("{shade}.png"))).unwrap();
        }
    }
    let study = TinyStudy::of_images(folder.path());
    let told = study.complete("out", &[]).stdout;
    let inspected = run(TRIBUTE, ["data", "inspect", folder.path().to_str().unwrap()]).succeeded().stdout;
    for text in [told, inspected] {
        assert!(text.contains(r"\u{1b}[2Jred") && text.contains(r"\u{202e}turned"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
}
