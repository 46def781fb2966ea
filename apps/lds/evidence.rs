//! What scores are estimated from and judged by, wherever it was read.

use std::collections::{BTreeMap, BTreeSet};

use ledger::Value;
use removal::{Coalition, RemovalDistribution};
use serde_json::{Map, Value as Json, json};
use terminal::usage;

use crate::arguments::Arguments;

/// One model: a coalition and what was measured.
#[derive(Debug, Clone)]
pub struct Row {
    /// Who remained.
    pub coalition: Coalition,
    /// How many draws it stands for.
    pub times: u32,
    /// What was measured. Numbers need not be finite.
    pub behaviors: BTreeMap<String, Value>,
    /// Where it was read, for messages.
    pub place: String,
}

/// All models by their role.
#[derive(Debug)]
pub struct Evidence {
    /// Number of contributors.
    pub n: usize,
    /// Their names, as far as they are known.
    pub names: Vec<String>,
    /// Training coalitions in the order in which --max-train-size counts them.
    pub train: Vec<Row>,
    /// Models of everybody.
    pub full: Vec<Row>,
    /// Models of nobody.
    pub none: Vec<Row>,
    /// Retrained models by test set.
    pub tests: BTreeMap<String, Vec<Row>>,
    /// Behaviours to score when none is named.
    pub behaviors: Vec<String>,
    /// Training coalitions left out because they are test coalitions.
    pub dropped: usize,
    /// What the training coalitions were drawn from, if the records tell.
    pub distribution: Option<RemovalDistribution>,
    /// Whether the records are of the reference system.
    pub reference: bool,
    /// What the user should know about the choice, in sentences.
    pub notes: Vec<String>,
    /// Further facts about the sources, for the JSON.
    pub sources: Map<String, Json>,
}

impl Evidence {
    /// Leaves out training coalitions that are test coalitions, and says so.
    ///
    /// # Errors
    /// If no training or no test coalition is left.
    pub fn separate(&mut self) -> anyhow::Result<()> {
        let held_out: BTreeSet<&Coalition> =
            self.tests.values().flatten().map(|row| &row.coalition).collect();
        let before = self.train.len();
        self.train.retain(|row| !held_out.contains(&row.coalition));
        self.dropped = before - self.train.len();
        if self.dropped > 0 {
            self.notes.push(format!(
                "{} of {before} training coalitions are test coalitions, too, and were left out of the estimate",
                self.dropped
            ));
        }
        if self.train.is_empty() && before > 0 {
            return Err(usage(format!(
                "all {before} training coalitions are test coalitions, too: give other ones to judge by with --test, or fewer \
                 with --num-test-subset"
            )));
        }
        Ok(())
    }

    /// Keeps the first `count` of the test coalitions in this order.
    pub fn limit_tests(&mut self, order: &[Coalition], count: usize) {
        let kept: BTreeSet<&Coalition> = order.iter().take(count).collect();
        if kept.len() < order.len() {
            self.notes.push(format!(
                "the first {count} of {} test coalitions are used (--num-test-subset)",
                order.len()
            ));
        }
        for rows in self.tests.values_mut() {
            rows.retain(|row| kept.contains(&row.coalition));
        }
    }

    /// Number of different test coalitions.
    pub fn test_coalitions(&self) -> usize {
        self.tests.values().flatten().map(|row| &row.coalition).collect::<BTreeSet<_>>().len()
    }

    /// The behaviours to score.
    ///
    /// # Errors
    /// If there are none.
    pub fn chosen_behaviors(&self, arguments: &Arguments) -> anyhow::Result<Vec<String>> {
        let chosen = if arguments.behaviors.is_empty() { &self.behaviors } else { &arguments.behaviors };
        if chosen.is_empty() {
            return Err(usage("the training records hold no scalar behaviour; name one with --behavior"));
        }
        Ok(chosen.clone())
    }

    /// Facts about all of it, for the JSON.
    pub fn summary(&self, arguments: &Arguments) -> Map<String, Json> {
        let limit = arguments.max_train_size.iter().max().copied().unwrap_or(usize::MAX);
        let used = &self.train[..self.train.len().min(limit)];
        let mut summary = Map::new();
        for (name, value) in [
            ("contributors", json!(self.n)),
            ("names", json!(self.names)),
            ("training_coalitions", json!(used.len())),
            ("training_draws", json!(used.iter().map(|row| u64::from(row.times)).sum::<u64>())),
            ("test_coalitions", json!(self.test_coalitions())),
            ("test_sets", json!(self.tests.len())),
            ("test_set_names", json!(self.tests.keys().collect::<Vec<_>>())),
            ("dropped_training_coalitions", json!(self.dropped)),
            ("notes", json!(self.notes)),
        ] {
            summary.insert(name.to_owned(), value);
        }
        summary.extend(self.sources.clone());
        summary
    }
}

/// Whether a distribution can have drawn a coalition. Any alpha will do where none is asked for.
pub fn can_draw(distribution: RemovalDistribution, alpha: Option<f64>, coalition: &Coalition) -> bool {
    use RemovalDistribution as D;
    let (n, size) = (coalition.n(), coalition.len());
    match distribution {
        D::Datamodel { .. } => alpha.is_none_or(|alpha| size == share_of(alpha, n)),
        D::Uniform => true,
        D::Loo => size + 1 == n,
        D::AddOneIn => size == 1,
        D::None => size == n,
        _ => size > 0 && size < n,
    }
}

/// floor(alpha n), the size of a datamodel's coalitions.
pub fn share_of(alpha: f64, n: usize) -> usize {
    // Rounding must not take one off: 0.29 * 100 is 28.999...
    (alpha * n as f64 + 1e-9).floor() as usize
}
