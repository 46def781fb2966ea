//! Games with known Shapley values.

use attribution_lds::{
    Attribution, FnGame, Game, KernelShap, Observations, UtilityTable, exact_shapley, utility_of_all,
};
use removal::{Coalition, RemovalDistribution};
use streams::Streams;

fn estimate(n: usize, utility: &dyn Fn(&Coalition) -> f64, draws: usize) -> Attribution {
    let observations =
        FnGame::new(n, utility).observe(RemovalDistribution::Shapley, draws, &Streams::new(11)).unwrap();
    KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap()
}

/// The exact values, then the estimates at 500 and at 20,000 draws: four standard errors away at most, and close.
fn check(n: usize, utility: &dyn Fn(&Coalition) -> f64, known: &[f64], close: f64) {
    let exact = exact_shapley(n, &utility_of_all(n, utility).unwrap()).unwrap();
    for (player, (exact, known)) in exact.iter().zip(known).enumerate() {
        assert!((exact - known).abs() < 1e-12, "player {player}: exact {exact}, known {known}");
    }
    let mut widths = Vec::new();
    for draws in [500, 20_000] {
        let fit = estimate(n, utility, draws);
        let intervals = fit.closed_form.as_ref().unwrap();
        for (player, (value, known)) in fit.values.iter().zip(known).enumerate() {
            let error = intervals.standard_errors[player];
            assert!(
                (value - known).abs() <= 4.0 * error + 1e-12,
                "player {player}: {value} is not {known} ({error})"
            );
        }
        widths.push(intervals.intervals[0].width());
        if draws == 20_000 {
            let furthest =
                fit.values.iter().zip(known).map(|(value, known)| (value - known).abs()).fold(0.0, f64::max);
            assert!(furthest < close, "{furthest}");
        }
    }
    // 40 times the draws, sqrt(40) times as sure.
    let ratio = widths[0] / widths[1];
    assert!((4.5..9.0).contains(&ratio), "{widths:?}");
}

#[test]
fn gloves() {
    // Players 0 to 2 hold left gloves, 3 and 4 right ones; a pair is worth 1. Values: counting permutations.
    let utility = |c: &Coalition| {
        let left = c.members().filter(|&player| player < 3).count();
        left.min(c.len() - left) as f64
    };
    check(5, &utility, &[7.0 / 30.0, 7.0 / 30.0, 7.0 / 30.0, 0.65, 0.65], 0.01);
}

#[test]
fn airport() {
    // A runway for the largest plane (Littlechild & Owen 1973): each stretch is shared by the planes that need it.
    let costs = [1.0, 2.0, 2.0, 5.0, 9.0, 10.0];
    let utility = |c: &Coalition| c.members().map(|player| costs[player]).fold(0.0, f64::max);
    let mut known = Vec::new();
    for player in 0..6 {
        let stretches =
            (0..=player).map(|k| (costs[k] - if k == 0 { 0.0 } else { costs[k - 1] }) / (6 - k) as f64);
        known.push(stretches.sum());
    }
    check(6, &utility, &known, 0.05);
}

#[test]
fn voting() {
    // [4; 3, 2, 1, 1]: the textbook weighted vote with Shapley-Shubik indices 1/2, 1/6, 1/6, 1/6.
    let weights = [3, 2, 1, 1];
    let utility =
        |c: &Coalition| f64::from(u8::from(c.members().map(|player| weights[player]).sum::<u32>() >= 4));
    check(4, &utility, &[0.5, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0], 0.02);
}

#[test]
fn additive_games_are_exact_at_any_size() {
    for n in [2, 3, 12, 70, 258] {
        let worth = |player: usize| ((player * 7 + 3) % 11) as f64 - 4.5;
        let fit = estimate(n, &|c| 2.0 + c.members().map(worth).sum::<f64>(), 3 * n);
        for (player, value) in fit.values.iter().enumerate() {
            assert!((value - worth(player)).abs() < 1e-9, "n = {n}, player {player}: {value}");
        }
        assert!((fit.intercept - 2.0).abs() < 1e-12);
        assert!(fit.diagnostics.unidentified.is_empty() && !fit.diagnostics.pseudo_inverse);
    }
}

#[test]
fn fewer_coalitions_than_contributors_say_so() {
    let utility = |c: &Coalition| c.members().map(|player| player as f64).sum::<f64>();
    let observations = |draws| {
        FnGame::new(20, utility).observe(RemovalDistribution::Shapley, draws, &Streams::new(3)).unwrap()
    };
    let fit = KernelShap::default().fit(&observations(12)).unwrap();
    assert!(fit.diagnostics.pseudo_inverse && fit.diagnostics.no_residual);
    assert!(fit.diagnostics.rank <= 12 && !fit.diagnostics.unidentified.is_empty());
    for intervals in [fit.closed_form.as_ref().unwrap(), fit.bootstrap.as_ref().unwrap()] {
        assert!(intervals.intervals.iter().all(|interval| !interval.is_bounded()));
    }
    let warnings = fit.diagnostics.warnings().join("\n");
    assert!(warnings.contains("one choice of many") && warnings.contains("Add coalitions"), "{warnings}");
    // Efficiency holds all the same, and every observed coalition is met.
    assert!((fit.values.iter().sum::<f64>() - 190.0).abs() < 1e-9);
    for row in observations(12).draws().rows() {
        assert!((fit.predict(row.coalition()) - row.mean()).abs() < 1e-8);
    }
    // As many coalitions as unknowns: one solution, and no residual to see its error by. Drawing one coalition again and
    // again does not help.
    let mut table = UtilityTable::new(3);
    for members in [[0], [1], [1], [1], [1]] {
        table.push(Coalition::from_members(3, members).unwrap(), 1.0).unwrap();
    }
    let fit = KernelShap::default().fit(&Observations::new(table, vec![2.0], vec![0.0]).unwrap()).unwrap();
    assert!(
        !fit.diagnostics.pseudo_inverse && fit.diagnostics.no_residual && fit.diagnostics.constant_utilities
    );
    assert!(fit.closed_form.unwrap().intervals.iter().all(|interval| !interval.is_bounded()));
    assert!(fit.bootstrap.unwrap().intervals.iter().all(|interval| !interval.is_bounded()));
    for (value, expected) in fit.values.iter().zip([1.0, 1.0, 0.0]) {
        assert!((value - expected).abs() < 1e-12);
    }
}

#[test]
fn contributors_never_seen_apart_are_unidentified_alone() {
    // 0 and 1 always come together; 2, 3 and 4 do not.
    let mut table = UtilityTable::new(5);
    let worth = [1.0, 3.0, 5.0, 7.0, 9.0];
    for mask in 1..15usize {
        let together = if mask & 1 == 1 { vec![0, 1] } else { vec![] };
        let others = (1..4).filter(|bit| mask >> bit & 1 == 1).map(|bit| bit + 1);
        let coalition = Coalition::from_members(5, together.into_iter().chain(others)).unwrap();
        let utility =
            coalition.members().map(|player| worth[player]).sum::<f64>() + 0.01 * (mask as f64).sin();
        table.push(coalition, utility).unwrap();
    }
    let fit = KernelShap::default().fit(&Observations::new(table, vec![25.0], vec![0.0]).unwrap()).unwrap();
    assert_eq!(fit.diagnostics.unidentified, [0, 1]);
    let closed = fit.closed_form.unwrap();
    let bounded: Vec<bool> = closed.intervals.iter().map(|interval| interval.is_bounded()).collect();
    assert_eq!(bounded, [false, false, true, true, true]);
    assert!(
        (fit.values[0] - 2.0).abs() < 0.02 && (fit.values[0] - fit.values[1]).abs() < 1e-9,
        "{:?}",
        fit.values
    );
    assert!(closed.intervals[4].contains(9.0) && closed.intervals[4].width() < 0.1);
}
