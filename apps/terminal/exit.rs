//! Exit codes and the one place that prints an error.

use std::process::ExitCode;

use crate::output::{ReaderGone, tell};

/// A mistake in the command line or a configuration file; ends the program with exit code 2.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// An error that ends the program with exit code 2.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Runs `body` with memory kept between training steps, prints its error with all causes to stderr, and maps it to an exit code.
pub fn main_with(body: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    kernels::keep_freed_memory();
    // Before there are threads, which take it over.
    #[cfg(target_os = "linux")]
    crate::stop::keep_out_of_hangups();
    let Err(error) = body() else { return ExitCode::SUCCESS };
    if error.is::<ReaderGone>() {
        return ExitCode::SUCCESS;
    }
    tell(format_args!("error: {}", causes(&error)));
    let configuration = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.downcast_ref::<study::StudyError>().is_some_and(study::StudyError::is_configuration)
    });
    ExitCode::from(if configuration { 2 } else { 1 })
}

/// The error and its causes on one line each, without a cause that its parent's message already contains.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\n  caused by: ");
        }
        text.push_str(&cause);
    }
    text
}
