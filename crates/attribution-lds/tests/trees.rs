//! The tree surrogate against scikit-learn's boosted trees and shap's interventional values; see
//! `fixtures/generate_trees.py`.

use attribution_lds::{Observations, TreeSurrogate, UtilityTable};
use removal::Coalition;
use serde_json::Value;

#[test]
fn trees_are_those_of_scikit_learn_and_values_those_of_shap() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/trees.json")).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        fixture[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let n = fixture["n"].as_u64().unwrap() as usize;
    let coalition =
        |mask: usize| Coalition::from_members(n, (0..n).filter(|member| mask >> member & 1 == 1)).unwrap();
    let masks = numbers("masks").into_iter().map(|mask| coalition(mask as usize));
    let table = UtilityTable::from_pairs(n, masks.zip(numbers("utilities"))).unwrap();
    let ends = ["full", "none"].map(|key| vec![fixture[key].as_f64().unwrap()]);
    let [full, none] = ends;
    let observations = Observations::new(table, full, none).unwrap();
    let settings: TreeSurrogate = serde_json::from_value(fixture["settings"].clone()).unwrap();
    let fit = settings.fit(&observations).unwrap();
    for (mask, expected) in numbers("predictions").into_iter().enumerate() {
        let found = fit.predict(&coalition(mask));
        // 64 bits on both sides, sums in another order.
        assert!((found - expected).abs() < 1e-9, "{mask}: {found} {expected}");
    }
    for (found, expected) in fit.values.iter().zip(numbers("shapley")) {
        // shap keeps leaves in 64 bits, but compares and adds in its own order.
        assert!((found - fit.efficiency_shift - expected).abs() < 1e-6, "{:?}", fit.values);
    }
}
