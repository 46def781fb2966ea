//! Against SciPy, NumPy, shap and scikit-learn: `fixtures/statistics.json`, made by `fixtures/generate_statistics.py`.

use attribution_lds::{
    Datamodel, KernelShap, Lasso, Observations, UtilityTable, Weighting, average_ranks, exact_shapley,
    spearman,
};
use removal::Coalition;
use serde_json::Value;

fn fixtures() -> Value {
    serde_json::from_str(include_str!("fixtures/statistics.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn coalition(row: &Value) -> Coalition {
    let row = numbers(row);
    Coalition::from_members(row.len(), (0..row.len()).filter(|&member| row[member] == 1.0)).unwrap()
}

fn table(case: &Value, rows: &str) -> UtilityTable {
    let coalitions = case[rows].as_array().unwrap().iter().map(coalition);
    let n = case[rows][0].as_array().unwrap().len();
    UtilityTable::from_pairs(n, coalitions.zip(numbers(&case["utilities"]))).unwrap()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * expected.abs().max(1.0),
            "{place}: {found} is not {expected}"
        );
    }
}

#[test]
fn spearman_as_scipy() {
    for case in fixtures()["spearman"].as_array().unwrap() {
        let (one, two) = (numbers(&case["one"]), numbers(&case["two"]));
        assert_eq!(average_ranks(&one), numbers(&case["ranks"]));
        assert_close(&[spearman(&one, &two).unwrap()], &[case["correlation"].as_f64().unwrap()], 1e-12);
    }
}

/// Values and HC3 errors by another route (explicit inverse, substituted constraint, full hat matrix), to 1e-9.
#[test]
fn kernel_shap_as_numpy() {
    for case in fixtures()["kernel_shap"].as_array().unwrap() {
        let ends = [&case["full"], &case["none"]].map(|end| vec![end.as_f64().unwrap()]);
        let [full, none] = ends;
        let observations = Observations::new(table(case, "rows"), full, none).unwrap();
        let fit = KernelShap { bootstrap: None, ..KernelShap::default() }.fit(&observations).unwrap();
        assert_close(&fit.values, &numbers(&case["values"]), 1e-9);
        let intervals = fit.closed_form.unwrap();
        assert_close(&intervals.standard_errors, &numbers(&case["standard_errors"]), 1e-9);
        let half_width = case["t"].as_f64().unwrap() * intervals.standard_errors[0];
        assert_close(&[intervals.intervals[0].upper - fit.values[0]], &[half_width], 1e-7);
    }
}

/// All coalitions with kernel weights give the exact values: as shap's own KernelExplainer, and as averaging over all
/// permutations.
#[test]
fn enumeration_as_shap_and_permutations() {
    let fixtures = fixtures();
    let case = &fixtures["enumerated"];
    let table = table(case, "masks");
    let utility =
        |wanted: &Coalition| table.rows().iter().find(|row| row.coalition() == wanted).unwrap().mean();
    let (full, none) = (utility(&Coalition::full(6)), utility(&Coalition::empty(6)));
    let mut by_mask = vec![0.0; 64];
    for row in table.rows() {
        by_mask[row.coalition().members().map(|member| 1 << member).sum::<usize>()] = row.mean();
    }
    assert_close(&exact_shapley(6, &by_mask).unwrap(), &numbers(&case["permutations"]), 1e-12);
    let settings =
        KernelShap { weighting: Weighting::ShapleyKernel, bootstrap: None, ..KernelShap::default() };
    let fit = settings.fit(&Observations::new(table.clone(), vec![full], vec![none]).unwrap()).unwrap();
    assert_close(&fit.values, &numbers(&case["permutations"]), 1e-10);
    assert_close(&fit.values, &numbers(&case["kernel_explainer"]), 1e-6);
    assert_eq!(fit.diagnostics.left_out, 2);
}

#[test]
fn ridge_as_scikit_learn() {
    for case in fixtures()["ridge"].as_array().unwrap() {
        let fit = Datamodel::default().fit(&table(case, "rows")).unwrap();
        assert_close(&[fit.alpha], &[case["alpha"].as_f64().unwrap()], 1e-12);
        assert_close(&fit.attribution.values, &numbers(&case["values"]), 1e-8);
        assert_close(&[fit.attribution.intercept], &[case["intercept"].as_f64().unwrap()], 1e-8);
    }
}

/// Fixed and cross-validated penalties. The solution is unique where columns are independent; for 15 rows of 20 contributors
/// it is so with probability one. Both stop at a small duality gap, which leaves coefficients apart by about its root.
#[test]
fn lasso_as_scikit_learn() {
    let fixtures: Value = serde_json::from_str(include_str!("fixtures/lasso.json")).unwrap();
    for case in fixtures["cases"].as_array().unwrap() {
        let table = table(case, "rows");
        let fixed = Lasso { alphas: vec![0.05], bootstrap: None, ..Lasso::default() }.fit(&table).unwrap();
        let chosen = Lasso { bootstrap: None, ..Lasso::default() }.fit(&table).unwrap();
        assert_close(&[chosen.penalty.unwrap()], &[case["chosen"]["alpha"].as_f64().unwrap()], 1e-9);
        for (fit, case) in [(fixed, &case["fixed"]), (chosen, &case["chosen"])] {
            assert_close(&fit.values, &numbers(&case["values"]), 2e-5);
            assert_close(&[fit.intercept], &[case["intercept"].as_f64().unwrap()], 2e-5);
        }
    }
}
