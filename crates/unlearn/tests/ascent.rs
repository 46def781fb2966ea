//! Gradient ascent forgets the removed images.

mod support;

use diffusion_core::training::{Silent, Trainer};
use diffusion_core::{DiffusionError, UNet2DModel};
use streams::Streams;
use support::{architecture, batches, distance, images_of, loss_on, pruned, schedule, trained, training};
use unlearn::{AscentSettings, Method, Start, UnlearnError, prepare};

fn ascended(parent: &UNet2DModel, settings: &AscentSettings, removed: &[usize]) -> UNet2DModel {
    let fresh = || Err(DiffusionError::Device { reason: "not needed".into() }.into());
    let start = Start { fresh: &fresh, parent: Some(parent) };
    let training = settings.training(&training(2e-3));
    assert_eq!(training.optimizer.learning_rate, settings.learning_rate);
    let mut trainer: Trainer<UNet2DModel> =
        prepare(Method::Ga, &start, &training, schedule(), Streams::new(5)).unwrap();
    let view = images_of(removed);
    let steps = settings.steps(view.len(), &training);
    if steps > 0 {
        trainer.step_to(&batches(&view), steps, &mut Silent).unwrap();
    }
    trainer.ema_model().unwrap()
}

#[test]
fn the_loss_on_the_removed_rises() {
    let full = trained(&architecture(), 80);
    for parent in [full.clone(), pruned(&full)] {
        let removed = images_of(&[0]);
        let before = loss_on(&parent, &removed);
        // The defaults: the two batches of the removed once, at a learning rate of 1e-5.
        let gently = loss_on(&ascended(&parent, &AscentSettings::default(), &[0]), &removed);
        assert!(gently > before, "{before} -> {gently}");
        let long = AscentSettings { ratio: 0.05, learning_rate: 1e-4 };
        let much = loss_on(&ascended(&parent, &long, &[0]), &removed);
        assert!(much > before + 10.0 * (gently - before), "{before} -> {gently}, {much}");
    }
}

#[test]
fn nobody_removed_is_the_parent() {
    let parent = trained(&architecture(), 3);
    let same = ascended(&parent, &AscentSettings::default(), &[]);
    assert_eq!(distance(&same.state_dict().unwrap(), &parent.state_dict().unwrap()), 0.0);
}

#[test]
fn a_parent_is_needed() {
    let fresh = || Ok(support::fresh(&architecture()));
    for method in [Method::Gd, Method::Ga, Method::Iu, Method::Lora, Method::PruneFineTune] {
        let start: Start<'_, UNet2DModel> = Start { fresh: &fresh, parent: None };
        let refused = prepare(method, &start, &training(1e-3), schedule(), Streams::new(0)).unwrap_err();
        assert!(matches!(refused, UnlearnError::NoParent { .. }), "{refused}");
        assert!(refused.to_string().contains(method.name()), "{refused}");
    }
}
