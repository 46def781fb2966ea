//! Ctrl-C and SIGTERM: finish the step, save, leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

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
        ctrlc::set_handler(move || {
            if seen.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!(
                "\nstopping after this step; the same command continues from here (again to stop at once)"
            );
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(flag)
    }

    /// Whether a stop was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
