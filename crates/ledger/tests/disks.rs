//! A full and a read-only disk: small tmpfs mounts in a namespace of their own (Linux, `unshare` of util-linux).
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

use ledger::Ledger;

/// Runs a shell script in a new mount namespace with `$DISK` a tmpfs of `kilobytes` and `$WORKER` the example worker.
/// `None`, said on stderr, where the system allows no such namespace.
fn on_small_disk(kilobytes: usize, script: &str) -> Option<Output> {
    let disk = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    let worker = test.parent().and_then(Path::parent).unwrap().join("examples/worker");
    assert!(worker.exists(), "{} is not built: use `cargo test` or `cargo nextest run`", worker.display());
    let mount = format!("mount -t tmpfs -o size={kilobytes}k tmpfs \"$DISK\" || exit 99");
    let output = Command::new("unshare")
        .args(["--user", "--mount", "--map-root-user", "sh", "-c", &format!("{mount}\n{script}")])
        .env("DISK", disk.path())
        .env("WORKER", worker)
        .output();
    match output {
        Ok(output) if output.status.code() != Some(99) && !starts_with_unshare(&output.stderr) => {
            Some(output)
        }
        _ => {
            eprintln!("skipped: this system lets nobody mount a tmpfs in a user namespace");
            None
        }
    }
}

fn starts_with_unshare(stderr: &[u8]) -> bool {
    stderr.starts_with(b"unshare:")
}

#[test]
fn a_full_disk_stops_with_a_message_and_no_half_written_file() {
    let kept = tempfile::tempdir().unwrap();
    let script = format!(
        "\"$WORKER\" \"$DISK\" 200 0 >/dev/null; code=$?; cp -r \"$DISK\"/. {}; exit $code",
        kept.path().display()
    );
    let Some(output) = on_small_disk(256, &script) else { return };
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("disk is full") && message.contains("run again"), "{message}");
    let ledger = Ledger::open(kept.path()).unwrap();
    assert_eq!(ledger.swept(), 0);
    let records = ledger.iter().unwrap().map(Result::unwrap).count();
    assert!((1..200).contains(&records), "{records}");
}

#[test]
fn a_read_only_disk_is_named() {
    let script = "mount -o remount,ro \"$DISK\" && exec \"$WORKER\" \"$DISK/study\" 1 0";
    let Some(output) = on_small_disk(64, script) else { return };
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("study") && message.contains("make the folder writable"), "{message}");
}
