//! Runs a comparison.

use std::collections::BTreeMap;

use attribution_lds::{
    Bootstrap, Estimator, LdsSettings, UtilityTable, lds, noise_ceiling, predict_additive,
};
use behavior::{Behavior, Direction};
use influence::{Evidence, InfluenceMethod};
use removal::Coalition;
use report::{ComparedKind, ComparedMethod, Comparison, Estimate, Interval};
use unlearn::{Method, MethodOn, ParentModel};

use super::area::{Removed, counterfactual_area};
use super::budget::Counter;
use super::config::CompareConfig;
use super::entries::{buy, run_of};
use super::estimate::{distribution_of, fit, title};
use super::memory;
use super::saved::write_comparison;
use crate::baseline_scores::{MethodScores, baseline_scores};
use crate::config::StudyConfig;
use crate::context::Context;
use crate::error::StudyError;
use crate::execute::computing;
use crate::layout::StudyDir;
use crate::models::{TrainedModel, pruned_model};
use crate::parts::PartDriver;
use crate::plan::CoalitionPlan;
use crate::progress::Progress;
use crate::records::Records;
use crate::reporting::Summary;
use crate::runs::Run;
use crate::samples::read_sheet;
use crate::scores::Utilities;
use crate::status::read_plan;
use crate::study::{RunOptions, RunningStudy};

/// One ranking to judge: its row of the table, and a score of each contributor for each behaviour with the sign that makes
/// a larger score predict a larger value.
struct Ranked {
    row: ComparedMethod,
    scores: BTreeMap<Behavior, Scores>,
}

/// How a ranking predicts.
enum Scores {
    /// Estimated from models.
    Estimated(Box<attribution_lds::Attribution>),
    /// A number for each contributor.
    Additive(Vec<f64>),
    /// None, and why.
    Missing(String),
}

impl Scores {
    fn predict(&self, coalition: &Coalition) -> f64 {
        match self {
            Self::Estimated(attribution) => attribution.predict(coalition),
            Self::Additive(values) => predict_additive(values, coalition),
            Self::Missing(_) => f64::NAN,
        }
    }

    fn values(&self) -> Option<&[f64]> {
        match self {
            Self::Estimated(attribution) => Some(&attribution.values),
            Self::Additive(values) => Some(values),
            Self::Missing(_) => None,
        }
    }
}

/// Runs the study, then everything that the comparison lacks, and writes `compare.json` and the report with it.
///
/// Methods that make models of coalitions may each spend what the study's own method spends: its coalitions, and the
/// fine-tuning of the pruned parent. Compute is counted in multiply-accumulates. All runs are records of the study's ledger,
/// so an interrupted comparison continues.
///
/// # Errors
/// As [`crate::run_study`]; a method that does not fit the network.
pub fn compare_study(
    context: &Context,
    dir: &StudyDir,
    compare: &CompareConfig,
    options: RunOptions,
    progress: &dyn Progress,
) -> Result<(Summary, Comparison), StudyError> {
    compare.validate()?;
    let study = RunningStudy::begin(context, dir, options, progress)?;
    let made = study.make()?;
    let compared = ComparedStudy {
        context,
        dir,
        records: &study.records,
        plan: made.plan.clone(),
        full: made.models.full.clone(),
        options,
        progress,
    };
    let comparison = compared.compare(compare)?;
    write_comparison(dir, &context.config, &comparison)?;
    Ok((study.report(&made)?, comparison))
}

/// A finished study with more methods to come.
struct ComparedStudy<'a> {
    context: &'a Context,
    dir: &'a StudyDir,
    records: &'a Records,
    plan: CoalitionPlan,
    full: TrainedModel,
    options: RunOptions,
    progress: &'a dyn Progress,
}

impl ComparedStudy<'_> {
    fn compare(&self, compare: &CompareConfig) -> Result<Comparison, StudyError> {
        let own = self.context.config.unlearn.method_on();
        let prunes = compare.methods.iter().chain([&own]).any(|&on| starts_from_pruned(on));
        let pruned =
            prunes.then(|| pruned_model(self.context, self.dir, &self.full, self.progress)).transpose()?;
        let counter = Counter::new(self.context)?;
        let budget = self.budget(&counter, own, pruned.as_ref())?;

        let mut ranked = Vec::new();
        for (on, estimator) in compare.pairs() {
            ranked.push(self.coalitions(&counter, budget, on, estimator, pruned.as_ref())?);
        }
        ranked.extend(self.by_the_full_model(&compare.influence, &counter, own, pruned.as_ref())?);
        self.judge(&mut ranked, compare, budget)
    }

    /// What the study's own method spends.
    fn budget(
        &self,
        counter: &Counter<'_>,
        own: MethodOn,
        pruned: Option<&TrainedModel>,
    ) -> Result<f64, StudyError> {
        let parent = self.parent(own, pruned);
        let mut macs = preparation(counter, own, &self.full, pruned)?;
        let n = self.context.contributors();
        for run in self.plan.score_runs(n, &parent.hash) {
            if !run.coalition.is_empty() {
                macs += counter.run(own.method, parent.model.config(), &run.coalition)?;
            }
        }
        Ok(macs)
    }

    fn parent<'m>(&'m self, on: MethodOn, pruned: Option<&'m TrainedModel>) -> &'m TrainedModel {
        pruned.filter(|_| starts_from_pruned(on)).unwrap_or(&self.full)
    }

    /// Scores from models of coalitions.
    fn coalitions(
        &self,
        counter: &Counter<'_>,
        budget: f64,
        on: MethodOn,
        estimator: Estimator,
        pruned: Option<&TrainedModel>,
    ) -> Result<Ranked, StudyError> {
        let context = self.context.with_method(on);
        let parent = self.parent(on, pruned);
        let spent = preparation(counter, on, &self.full, pruned)?;
        let taught = context.prepare_proxy(self.dir, parent, self.progress)?;
        let distribution = distribution_of(estimator, &context.config);
        let bought = buy(
            &context,
            counter,
            on.method,
            (&parent.hash, parent.model.config()),
            distribution,
            budget - spent,
            &self.plan.test,
        )?;
        let name = format!("{on} + {}", title(estimator));
        memory::start_peak();
        let mut driver = PartDriver {
            context: &context,
            dir: self.dir,
            records: self.records,
            parent: Some(&parent.model),
            workers: self.options.workers,
            progress: self.progress,
            parts: read_plan(self.dir)?,
        };
        let new = driver.run(&format!("compared: {name}"), &bought.runs)?;
        let peak = (new > 0).then(memory::peak_bytes).flatten();

        let utilities = Utilities::new(&context, self.records, &bought.plan, &parent.hash);
        let mut scores = BTreeMap::new();
        for &behavior in &context.config.behaviors {
            if bought.plan.training.is_empty() {
                let reason = "the budget does not buy the model of a single coalition";
                scores.insert(behavior, Scores::Missing(reason.to_owned()));
                continue;
            }
            let estimated = utilities
                .observed(&behavior.key(), |coalition| run_of(on.method, coalition, &parent.hash))
                .map(|observations| fit(estimator, &context.config, &observations))?;
            let scored = match estimated {
                Ok(attribution) => Scores::Estimated(Box::new(attribution)),
                Err(error) => Scores::Missing(error.to_string()),
            };
            scores.insert(behavior, scored);
        }
        let settings = context.run_settings();
        let mut seconds = computing(taught + if starts_from_pruned(on) { parent.seconds } else { 0.0 });
        for run in &bought.runs {
            seconds += self.records.get(run.id(&settings)?)?.times.total();
        }
        let row = ComparedMethod {
            name,
            explanation: explanation(on, estimator),
            kind: ComparedKind::Coalitions,
            models: Some(bought.runs.iter().filter(|run| !run.coalition.is_empty()).count() as u64),
            macs: (spent + bought.macs).into(),
            seconds: seconds.into(),
            peak_memory_bytes: peak,
            lds: BTreeMap::new(),
            counterfactual_area: report::Number::MISSING,
        };
        Ok(Ranked { row, scores })
    }

    /// Scores from the full model and its samples, and from models without each contributor.
    fn by_the_full_model(
        &self,
        methods: &[InfluenceMethod],
        counter: &Counter<'_>,
        own: MethodOn,
        pruned: Option<&TrainedModel>,
    ) -> Result<Vec<Ranked>, StudyError> {
        let context = self.context;
        let run = context.full_run();
        let sheet = self.dir.samples(&run.id(&context.run_settings())?);
        let samples = read_sheet(&sheet, context.config.sample.count, context.config.data.resolution)?;
        let mut ranked = Vec::new();
        // What methods have in common is made once, and all of one kind of evidence tell the same peak of memory.
        for evidence in [Evidence::Pixels, Evidence::Features, Evidence::Gradients, Evidence::Unlearning] {
            let of_kind: Vec<InfluenceMethod> =
                methods.iter().copied().filter(|method| method.evidence() == evidence).collect();
            memory::start_peak();
            let parent = self.parent(own, pruned);
            let (model, start) = (&self.full.model, Some(&parent.model));
            let scored = baseline_scores(context, model, start, &samples, &of_kind, self.progress)?;
            let kind = match evidence {
                Evidence::Gradients => ComparedKind::Gradients,
                Evidence::Pixels | Evidence::Features => ComparedKind::Similarity,
                Evidence::Unlearning => ComparedKind::Coalitions,
            };
            for one in scored {
                let title = one.method.title();
                let mut row = self.additive(title, &in_words(&one), kind, &one.scores, one.seconds);
                if evidence == Evidence::Unlearning {
                    let mut macs = preparation(counter, own, &self.full, pruned)?;
                    let n = context.contributors();
                    for left_out in 0..=n {
                        let without = Coalition::from_members(n, (0..n).filter(|&i| i != left_out))?;
                        macs += counter.run(own.method, parent.model.config(), &without)?;
                    }
                    row.row.macs = macs.into();
                    row.row.models = Some(n as u64 + 1);
                }
                ranked.push(row);
            }
        }
        let counts: Vec<f64> = context.training_images().into_iter().map(|count| count as f64).collect();
        ranked.push(self.additive(
            "Images per contributor",
            "The number of training images.",
            ComparedKind::Trivial,
            &counts,
            0.0,
        ));
        Ok(ranked)
    }

    fn additive(
        &self,
        name: &str,
        explanation: &str,
        kind: ComparedKind,
        values: &[f64],
        seconds: f64,
    ) -> Ranked {
        let row = ComparedMethod {
            name: name.to_owned(),
            explanation: explanation.to_owned(),
            kind,
            models: None,
            macs: report::Number::MISSING,
            seconds: seconds.into(),
            peak_memory_bytes: memory::peak_bytes(),
            lds: BTreeMap::new(),
            counterfactual_area: report::Number::MISSING,
        };
        let config = &self.context.config;
        let signed = |behavior: Behavior| values.iter().map(|value| sign(config, behavior) * value).collect();
        let behaviors = &self.context.config.behaviors;
        let scores =
            behaviors.iter().map(|&behavior| (behavior, Scores::Additive(signed(behavior)))).collect();
        Ranked { row, scores }
    }

    /// Adds LDS and counterfactual areas.
    fn judge(
        &self,
        ranked: &mut [Ranked],
        compare: &CompareConfig,
        budget: f64,
    ) -> Result<Comparison, StudyError> {
        let config = &self.context.config;
        let settings = LdsSettings {
            level: config.coalitions.confidence,
            bootstrap: Bootstrap { resamples: config.coalitions.bootstrap, seed: config.seed },
        };
        let parent = String::new();
        let utilities = Utilities::new(self.context, self.records, &self.plan, &parent);
        let mut ceilings = BTreeMap::new();
        for &behavior in &config.behaviors {
            let tests = utilities.tests(&behavior.key())?;
            let ceiling = match noise_ceiling(&tests, &settings) {
                Ok(ceiling) => percent(ceiling.between_retrainings, ceiling.interval),
                Err(error) => Estimate::undefined(error.to_string()),
            };
            ceilings.insert(behavior.key(), ceiling);
            for one in ranked.iter_mut() {
                one.row.lds.insert(behavior.key(), lds_of(&one.scores[&behavior], &tests, &settings));
            }
        }
        let fractions = compare.counterfactual.as_ref().unwrap_or(&config.evaluation.counterfactual);
        if let Some(&primary) = config.behaviors.first().filter(|_| !fractions.is_empty()) {
            self.areas(ranked, primary, fractions)?;
        }
        Ok(Comparison {
            explanation: self.explanation(),
            budget_macs: budget,
            ceilings,
            methods: ranked.iter().map(|one| one.row.clone()).collect(),
        })
    }

    /// Retrains without the top and bottom of every ranking for the primary behaviour.
    fn areas(&self, ranked: &mut [Ranked], primary: Behavior, fractions: &[f64]) -> Result<(), StudyError> {
        let sign = sign(&self.context.config, primary);
        let mut removals = Vec::new();
        for one in ranked.iter() {
            let values = one.scores[&primary].values();
            let goodness = values.map(|values| values.iter().map(|value| sign * value).collect::<Vec<f64>>());
            let removed = goodness
                .map(|goodness| attribution_lds::counterfactual_removals(&goodness, fractions))
                .transpose()?;
            removals.push(removed.unwrap_or_default());
        }
        let mut runs: Vec<Run> = Vec::new();
        for removal in removals.iter().flatten() {
            let run = Run::retrained(removal.remaining.clone(), 0);
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
        let mut driver = PartDriver {
            context: self.context,
            dir: self.dir,
            records: self.records,
            parent: None,
            workers: self.options.workers,
            progress: self.progress,
            parts: read_plan(self.dir)?,
        };
        driver.run("compared: retrained without some", &runs)?;

        let parent = String::new();
        let utilities = Utilities::new(self.context, self.records, &self.plan, &parent);
        let key = primary.key();
        let value = |coalition: &Coalition| utilities.value(&Run::retrained(coalition.clone(), 0), &key, 0);
        let full = value(&Coalition::full(self.context.contributors()))?;
        for (one, removals) in ranked.iter_mut().zip(&removals) {
            let mut removed = Vec::new();
            // As many at the top as at the bottom, in the same order of fractions.
            let (top, bottom) = removals.split_at(removals.len() / 2);
            for (top, bottom) in top.iter().zip(bottom) {
                removed.push(Removed {
                    fraction: top.fraction,
                    without_top: value(&top.remaining)?,
                    without_bottom: value(&bottom.remaining)?,
                });
            }
            one.row.counterfactual_area = counterfactual_area(full, sign, &removed).into();
        }
        Ok(())
    }

    fn explanation(&self) -> String {
        let config = &self.context.config;
        format!(
            "Methods that make models may spend what the study's own, {} on {} draws, spends, preparation of its parent \
             included, counted in multiply-accumulates; the test coalitions are the same for all. Scores from gradients, \
             alikeness and counts know no behaviour: they are taken to raise what is good.",
            config.unlearn.method_on(),
            self.plan.training.len()
        )
    }
}

/// What a method that makes no models is, and which of its seconds it shares.
fn in_words(scored: &MethodScores) -> String {
    if scored.method.evidence() == Evidence::Unlearning {
        return "Unlearns each contributor in turn by the study's method and scores by how much the loss on the full model's \
                pictures rises; knows no behaviour."
            .to_owned();
    }
    let words = "Scores images by the full model and its samples; knows no behaviour.";
    if scored.shared_seconds == 0.0 {
        return words.to_owned();
    }
    let what = match scored.method.evidence() {
        Evidence::Pixels => "pixels",
        Evidence::Features => "features",
        Evidence::Gradients => "gradients",
        Evidence::Unlearning => "models",
    };
    format!(
        "{words} The seconds are those it takes alone; {:.1} of them made {what} that other rows use too, once for all.",
        scored.shared_seconds
    )
}

fn starts_from_pruned(on: MethodOn) -> bool {
    on.method.starts_from_parent() && on.parent == ParentModel::Pruned
}

/// How a method and an estimator make scores, in a sentence.
fn explanation(on: MethodOn, estimator: Estimator) -> String {
    let parent = if starts_from_pruned(on) { "the pruned model" } else { "the full model" };
    let models = match on.method {
        Method::Retrain => "Trains a model from scratch on each coalition".to_owned(),
        Method::PruneFineTune => format!("Fine-tunes {parent} on everybody"),
        Method::Gd => format!("Fine-tunes {parent} on each coalition"),
        Method::Ga => format!("Raises the loss of {parent} on those outside of each coalition"),
        Method::Iu => format!("Takes one damped natural-gradient jump from {parent}"),
        Method::Lora => format!("Trains low-rank adapters of {parent} on each coalition"),
        Method::Conditional => {
            format!("Teaches {parent} its contributors and samples it under each coalition's")
        }
    };
    format!("{models}; {}.", title(estimator))
}

/// What comes before a method's coalitions.
fn preparation(
    counter: &Counter<'_>,
    on: MethodOn,
    full: &TrainedModel,
    pruned: Option<&TrainedModel>,
) -> Result<f64, StudyError> {
    let pruned = pruned.filter(|_| starts_from_pruned(on));
    let made = pruned.map_or(Ok(0.0), |pruned| counter.preparation(pruned.model.config()))?;
    let taught = if on.method == Method::Conditional {
        counter.proxy(pruned.unwrap_or(full).model.config())?
    } else {
        0.0
    };
    Ok(made + taught)
}

fn sign(config: &StudyConfig, behavior: Behavior) -> f64 {
    if config.measures.direction(&behavior) == Direction::LowerIsBetter { -1.0 } else { 1.0 }
}

fn lds_of(scores: &Scores, tests: &[UtilityTable], settings: &LdsSettings) -> Estimate {
    if let Scores::Missing(reason) = scores {
        return Estimate::undefined(reason.clone());
    }
    match lds(|coalition| scores.predict(coalition), tests, settings) {
        Ok(score) => percent(score.mean, score.interval),
        Err(error) => Estimate::undefined(error.to_string()),
    }
}

/// Correlations times 100 as the report holds them.
fn percent(value: f64, interval: attribution_lds::Interval) -> Estimate {
    Estimate::measured(value / 100.0, Interval::new(interval.lower / 100.0, interval.upper / 100.0))
}
