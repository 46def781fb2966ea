//! What the loop tells while it runs.

use std::ops::ControlFlow;

/// One finished step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean squared error of the predicted noise over the step's images, before the update.
    pub loss: f32,
    /// Common norm of the gradients before clipping.
    /// Not finite in a step that was [skipped](Self::skipped).
    pub grad_norm: f32,
    /// Whether the gradients overflowed half precision, so that the loss's factor was halved and nothing was updated.
    pub skipped: bool,
    /// Images trained on in a second of this step.
    pub images_per_second: f64,
}

/// Is told of each step, and may ask the loop to stop after it.
pub trait Observer {
    /// Called after the step; [`ControlFlow::Break`] stops the loop.
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()>;
}

/// Never stops, tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_step(&mut self, _report: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&StepReport) -> ControlFlow<()>> Observer for F {
    fn on_step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self(report)
    }
}
