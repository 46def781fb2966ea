//! `[compare]`: which methods are compared.

use attribution_lds::Estimator;
use influence::InfluenceMethod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unlearn::{Method, MethodOn, ParentModel};

use crate::config::require;
use crate::error::StudyError;

/// What `tribute compare` compares. Every method is combined with the first estimator, and the first method with every
/// estimator: what differs between two rows is then one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareConfig {
    /// How models of coalitions are made, such as `gd`, `lora_u` or `retrain`.
    #[serde(serialize_with = "write_words", deserialize_with = "read_words")]
    pub methods: Vec<MethodOn>,
    /// How scores are estimated from them.
    pub estimators: Vec<Estimator>,
    /// Scores that need no models of coalitions drawn, and `guda`, which makes one for each contributor.
    pub influence: Vec<InfluenceMethod>,
    /// Shares of contributors removed, best first and worst first, for the counterfactual area; those of `[evaluation]`
    /// when left out. Each is retrained for every ranking, so this is what takes the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterfactual: Option<Vec<f64>>,
}

impl Default for CompareConfig {
    /// Sparsified and plain fine-tuning, and retraining, each with Kernel SHAP; every method that makes no models.
    fn default() -> Self {
        let on = |method, parent| MethodOn { method, parent };
        Self {
            methods: vec![
                on(Method::Gd, ParentModel::Pruned),
                on(Method::Gd, ParentModel::Full),
                MethodOn { method: Method::Retrain, ..MethodOn::default() },
            ],
            estimators: vec![Estimator::KernelShap],
            influence: InfluenceMethod::without_models().collect(),
            counterfactual: None,
        }
    }
}

impl CompareConfig {
    /// The pairs of method and estimator.
    pub fn pairs(&self) -> Vec<(MethodOn, Estimator)> {
        let Some((&method, &estimator)) = self.methods.first().zip(self.estimators.first()) else {
            return Vec::new();
        };
        let methods = self.methods.iter().map(|&on| (on, estimator));
        methods.chain(self.estimators.iter().skip(1).map(|&one| (method, one))).collect()
    }

    /// Checks what is compared.
    ///
    /// # Errors
    /// [`StudyError::InvalidKey`] names the key.
    pub fn validate(&self) -> Result<(), StudyError> {
        let something = self.methods.is_empty() == self.estimators.is_empty();
        require(something, "compare.estimators", "[]", "empty only where `compare.methods` is")?;
        for on in &self.methods {
            let ok = on.method != Method::PruneFineTune;
            require(ok, "compare.methods", on, "methods that make the models of coalitions")?;
        }
        for &fraction in self.counterfactual.iter().flatten() {
            let ok = fraction > 0.0 && fraction < 1.0;
            require(ok, "compare.counterfactual", fraction, "shares above 0 and below 1")?;
        }
        Ok(())
    }
}

fn write_words<S: Serializer>(methods: &[MethodOn], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(methods.iter().map(ToString::to_string))
}

fn read_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MethodOn>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    words.iter().map(|word| word.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_words() {
        let config: CompareConfig =
            toml::from_str("methods = ['gd_u', 'retrain']\ninfluence = ['trak']").unwrap();
        assert_eq!(config.methods.iter().map(ToString::to_string).collect::<Vec<_>>(), ["gd_u", "retrain"]);
        assert_eq!(config.influence, [InfluenceMethod::Trak]);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<CompareConfig>(&text).unwrap(), config);
        let error = toml::from_str::<CompareConfig>("methods = ['gdd']").unwrap_err().to_string();
        assert!(error.contains("gdd"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error =
            |text: &str| toml::from_str::<CompareConfig>(text).unwrap().validate().unwrap_err().to_string();
        assert!(error("estimators = []").contains("compare.estimators"));
        assert!(error("methods = ['prune_fine_tune']").contains("compare.methods"));
        assert!(error("counterfactual = [1.0]").contains("compare.counterfactual"));
        assert!(
            CompareConfig { methods: vec![], estimators: vec![], ..CompareConfig::default() }
                .validate()
                .is_ok()
        );
    }
}
