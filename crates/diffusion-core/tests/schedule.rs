//! Parity of the noise schedules with diffusers.

mod support;

use diffusion_core::samplers::TimestepSpacing;
use diffusion_core::schedule::NoiseScheduleConfig;
use support::{fixture, floats, largest_difference};

fn config(name: &str, options: &serde_json::Value) -> NoiseScheduleConfig {
    serde_json::from_value(options.clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn tables_are_those_of_diffusers_bit_for_bit() {
    let fixture = fixture("schedule/schedules.json");
    let schedules = fixture["schedules"].as_object().unwrap();
    assert_eq!(schedules.len(), 3);
    for (name, expected) in schedules {
        let schedule = config(name, &expected["options"]).build().unwrap();
        assert_eq!(schedule.timesteps(), 1000);
        for (table, ours) in [("betas", schedule.betas()), ("alphas_cumprod", schedule.alphas_cumprod())] {
            let theirs = floats(&expected[table]);
            let differing = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            let largest = largest_difference(ours, &theirs);
            assert_eq!(differing, 0, "{name} {table}: {differing} of 1000 differ, by up to {largest}");
        }
    }
}

#[test]
fn noisy_images_are_those_of_diffusers() {
    for (name, expected) in fixture("schedule/schedules.json")["schedules"].as_object().unwrap() {
        let schedule = config(name, &expected["options"]).build().unwrap();
        let timesteps: Vec<usize> =
            expected["timesteps"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as usize).collect();
        let noisy =
            schedule.add_noise(&floats(&expected["x"]), &floats(&expected["noise"]), &timesteps).unwrap();
        let largest = largest_difference(&noisy, &floats(&expected["noisy"]));
        assert!(largest <= 1e-6, "{name}: {largest}");
    }
}

#[test]
fn visited_timesteps_are_those_of_diffusers() {
    for row in fixture("schedule/spacings.json")["spacings"].as_array().unwrap() {
        let spacing: TimestepSpacing = serde_json::from_value(row["spacing"].clone()).unwrap();
        let ours = spacing.timesteps(1000, row["steps"].as_u64().unwrap() as usize).unwrap();
        let theirs: Vec<usize> =
            row["timesteps"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as usize).collect();
        assert_eq!(ours, theirs, "{spacing:?}");
    }
    for steps in [0, 1001] {
        let error = TimestepSpacing::Leading.timesteps(1000, steps).unwrap_err().to_string();
        assert!(error.contains("sampling.steps") && error.contains("1..=1000"), "{error}");
    }
}
