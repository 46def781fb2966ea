//! Ctrl-C and SIGTERM: finish the step, save, leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::output::tell;

/// Signals so close together are one: a cluster sends its own to a job's script, which hands it on, and to the program.
const ECHO: Duration = Duration::from_millis(500);

/// Blocks SIGHUP where this process was begun to ignore it, as by `nohup`: the handler of the other signals would stop a study
/// that was meant to outlive its terminal.
#[cfg(target_os = "linux")]
pub(crate) fn keep_out_of_hangups() {
    use nix::sys::signal::{SigSet, Signal};
    // Signals that are ignored are a mask in hexadecimal digits, whose lowest bit is signal 1.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored >> (Signal::SIGHUP as u32 - 1) & 1 == 1 {
        let mut hangup = SigSet::empty();
        hangup.add(Signal::SIGHUP);
        // Whether it can be blocked or not, the work goes on.
        let _ = hangup.thread_block();
    }
}

/// Set by the first Ctrl-C or SIGTERM; the second one ends the process at once.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Installs the signal handler.
    ///
    /// # Errors
    /// If the operating system refuses the handler.
    pub fn install() -> anyhow::Result<Self> {
        let flag = Self::default();
        let seen = flag.0.clone();
        let mut first: Option<Instant> = None;
        ctrlc::set_handler(move || {
            match first {
                Some(first) if first.elapsed() < ECHO => return,
                Some(_) => std::process::exit(130),
                None => first = Some(Instant::now()),
            }
            seen.store(true, Ordering::SeqCst);
            tell("\nstopping after this step; the same command continues from here (again to stop at once)");
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(flag)
    }

    /// Whether a stop was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
