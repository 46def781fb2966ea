//! Progress bars on stderr; nothing where stderr is not a terminal.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use study::{Progress, Task, TaskProgress, Unit};

use crate::output::{tell, visible};
use crate::stop::StopFlag;

/// Shows the tasks of a study as progress bars with rate and time left.
#[derive(Debug)]
pub struct Bars {
    bars: MultiProgress,
    stop: StopFlag,
    quiet: bool,
}

impl Bars {
    /// Bars on stderr, or silence if `quiet`.
    pub fn new(quiet: bool, stop: StopFlag) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { bars: MultiProgress::with_draw_target(target), stop, quiet }
    }
}

struct Bar(ProgressBar);

impl TaskProgress for Bar {
    fn advance(&mut self, done: u64, detail: &str) {
        self.0.set_position(done);
        self.0.set_message(detail.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bars {
    fn begin(&self, task: Task) -> Box<dyn TaskProgress + '_> {
        let unit = match task.unit {
            Unit::Steps => "steps",
            Unit::Images => "images",
            Unit::Runs => "runs",
            Unit::Timesteps => "timesteps",
            Unit::Ratios => "ratios",
        };
        let template =
            format!("{{prefix:34!}} [{{bar:24}}] {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = self.bars.add(ProgressBar::new(task.total).with_style(style).with_prefix(task.label));
        bar.enable_steady_tick(Duration::from_millis(500));
        Box::new(Bar(bar))
    }

    fn note(&self, text: &str) {
        if !self.quiet && self.bars.println(visible(text)).is_err() {
            tell(text);
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.is_set()
    }
}
