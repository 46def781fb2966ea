//! Ranks that add their gradients against one process with the whole batch.

mod support;

use std::ops::ControlFlow;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use burn::tensor::Device;
use diffusion_core::optim::OptimizerConfig;
use diffusion_core::parameters::state_dict_of;
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::{GradientExchange, Outcome, Silent, StepReport, Trainer, TrainingConfig};
use diffusion_core::{DiffusionError, StateDict};
use streams::Streams;
use support::{Blobs, TinyDenoiser, largest_difference};

const SIZE: usize = 8;
const IMAGES: Blobs = Blobs { size: SIZE, spoiled_from: None };

/// Where threads meet as ranks.
#[derive(Debug)]
struct Meeting {
    rows: Mutex<Vec<Vec<f32>>>,
    barrier: Barrier,
}

#[derive(Debug)]
struct Rank {
    rank: usize,
    ranks: usize,
    meeting: Arc<Meeting>,
}

impl GradientExchange for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DiffusionError> {
        self.meeting.rows.lock().unwrap()[self.rank] = values.to_vec();
        self.meeting.barrier.wait();
        values.fill(0.0);
        for row in self.meeting.rows.lock().unwrap().iter() {
            values.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        self.meeting.barrier.wait();
        Ok(())
    }
}

fn config(accumulation: usize) -> TrainingConfig {
    TrainingConfig {
        batch_size: 12 / accumulation,
        gradient_accumulation_steps: accumulation,
        max_grad_norm: 1e9,
        // Without momentum, the first moment is the gradient.
        optimizer: OptimizerConfig { beta1: 0.0, learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..TrainingConfig::default()
    }
}

fn trainer(accumulation: usize) -> Trainer<TinyDenoiser> {
    let model = TinyDenoiser::new(SIZE, 1, &Device::flex());
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    Trainer::new(model, config(accumulation), schedule, Streams::new(5)).unwrap()
}

/// Each rank's work, at the same time.
fn in_ranks<R: Send>(
    ranks: usize,
    accumulation: usize,
    work: impl Fn(usize, Trainer<TinyDenoiser>) -> R + Sync,
) -> Vec<R> {
    let meeting =
        Arc::new(Meeting { rows: Mutex::new(vec![Vec::new(); ranks]), barrier: Barrier::new(ranks) });
    thread::scope(|scope| {
        let handles: Vec<_> = (0..ranks)
            .map(|rank| {
                let (meeting, work) = (meeting.clone(), &work);
                scope.spawn(move || {
                    let exchange = Box::new(Rank { rank, ranks, meeting });
                    work(rank, trainer(accumulation).with_exchange(exchange).unwrap())
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

fn gradients(trainer: &Trainer<TinyDenoiser>) -> Vec<f32> {
    let state: StateDict = trainer.optimizer().state_dict().unwrap();
    let first = state.iter().filter(|(name, _)| name.starts_with("exp_avg."));
    first.flat_map(|(_, tensor)| tensor.data().to_vec()).collect()
}

fn loss_of(trainer: &mut Trainer<TinyDenoiser>, steps: u64) -> f32 {
    let mut last = 0.0;
    let mut watch = |report: &StepReport| {
        last = report.loss;
        ControlFlow::Continue(())
    };
    trainer.step_to(&IMAGES, steps, &mut watch).unwrap();
    last
}

#[test]
fn ranks_have_the_gradients_of_the_whole_batch() {
    let mut whole = trainer(1);
    let loss = loss_of(&mut whole, 1);
    let expected = gradients(&whole);
    let largest = expected.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    assert!(largest > 0.01);
    // Five ranks have slices of 2 and 3 images.
    for (ranks, accumulation) in [(2, 1), (3, 1), (5, 1), (2, 3)] {
        let all =
            in_ranks(ranks, accumulation, |_, mut trainer| (loss_of(&mut trainer, 1), gradients(&trainer)));
        for (rank, (found, own)) in all.iter().enumerate() {
            let difference = largest_difference(own, &expected);
            // Rounding alone: the same numbers are added in another order.
            assert!(difference < 1e-6 * largest.max(1.0), "rank {rank} of {ranks}: {difference}");
            assert!((found - loss).abs() < 1e-6 * loss, "rank {rank} of {ranks}: {found} {loss}");
        }
    }
}

#[test]
fn ranks_stay_the_same_to_the_bit() {
    let all = in_ranks(3, 1, |_, mut trainer| {
        trainer.step_to(&IMAGES, 8, &mut Silent).unwrap();
        (state_dict_of(trainer.model()).unwrap(), trainer.ema().state_dict().unwrap())
    });
    assert!(all.iter().all(|one| *one == all[0]));
    let again = in_ranks(3, 1, |_, mut trainer| {
        trainer.step_to(&IMAGES, 8, &mut Silent).unwrap();
        (state_dict_of(trainer.model()).unwrap(), trainer.ema().state_dict().unwrap())
    });
    assert_eq!(all, again);
}

#[test]
fn one_rank_that_asks_to_stop_stops_all_after_the_same_step() {
    let ended = in_ranks(3, 1, |rank, mut trainer| {
        let mut at_two = |report: &StepReport| match (rank, report.step) {
            (1, 2) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        // Rank 0 goes in short stretches, as between checkpoints; the stop falls on the end of one.
        let stretch = if rank == 0 { 3 } else { 10 };
        let mut first = trainer.step_to(&IMAGES, stretch, &mut at_two).unwrap();
        if rank == 0 {
            assert_eq!(first, Outcome::Finished);
            first = trainer.step_to(&IMAGES, 10, &mut at_two).unwrap();
        }
        (first, trainer.step_to(&IMAGES, 5, &mut Silent).unwrap(), trainer.step())
    });
    assert!(
        ended.iter().all(|end| *end == (Outcome::Stopped { step: 3 }, Outcome::Finished, 5)),
        "{ended:?}"
    );
}

#[test]
fn more_ranks_than_images_are_refused() {
    let meeting = Arc::new(Meeting { rows: Mutex::default(), barrier: Barrier::new(1) });
    let exchange = Box::new(Rank { rank: 0, ranks: 5, meeting });
    let error = trainer(3).with_exchange(exchange).unwrap_err().to_string();
    assert!(error.contains("batch_size") && error.contains("5 ranks"), "{error}");
}
