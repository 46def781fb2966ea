//! The sentences, for each way the numbers can fall.

#[path = "../examples/sample_report/sample/mod.rs"]
mod sample;

use report::{Estimate, Interval, LdsReport, Number, RemovalOrder, ReportData, Verdict};

fn data() -> ReportData {
    sample::sample().expect("the sample builds")
}

fn verdict(data: &ReportData) -> Verdict {
    Verdict::of(data, &data.behaviors[0])
}

fn trust(change: impl FnOnce(&mut LdsReport)) -> String {
    let mut data = data();
    change(data.behaviors[0].lds.as_mut().expect("the sample has one"));
    verdict(&data).trust
}

fn measured(value: f64, low: f64, high: f64) -> Estimate {
    Estimate::measured(value, Interval::new(low, high))
}

#[test]
fn trust_when_ours_is_better() {
    assert_eq!(
        trust(|_| ()),
        "sFT-Shapley orders models that were really retrained with an LDS of 61 of 100 (interval 47 to 72). A perfect \
         score could reach about 83: that is how well retraining with another seed agrees with itself. It clearly beats \
         every baseline compared: Images per contributor (38) and Retraining at equal compute (22)."
    );
}

#[test]
fn trust_when_a_baseline_is_better() {
    let text = trust(|lds| {
        lds.baselines[0].lds = measured(0.74, 0.65, 0.81);
        lds.baselines[0].difference = measured(-0.13, -0.22, -0.03);
    });
    assert!(
        text.contains("It does not beat the baselines: Images per contributor (74) clearly predicts better."),
        "{text}"
    );
}

#[test]
fn trust_when_a_baseline_is_as_good() {
    let text = trust(|lds| {
        lds.baselines[0].lds = measured(0.63, 0.5, 0.74);
        lds.baselines[0].difference = measured(-0.02, -0.14, 0.1);
    });
    assert!(
        text.contains("It does not beat every baseline: Images per contributor (63) does at least as well."),
        "{text}"
    );
}

#[test]
fn trust_when_the_lead_is_within_the_uncertainty() {
    let text = trust(|lds| lds.baselines[0].difference = measured(0.23, -0.02, 0.41));
    assert!(
        text.contains("It is ahead of Images per contributor (38), but within the uncertainty."),
        "{text}"
    );
    assert!(!text.contains("every baseline"), "{text}");
}

#[test]
fn trust_when_undefined() {
    let text = trust(|lds| lds.ours.lds = Estimate::undefined("all true utilities are equal"));
    assert!(
        text.starts_with(
            "Not known: the LDS of sFT-Shapley is undefined because all true utilities are equal."
        ),
        "{text}"
    );
    assert!(!text.contains("beats"), "{text}");
}

#[test]
fn trust_when_the_ceiling_is_missing_or_useless_or_reached() {
    let text = trust(|lds| lds.ceiling = Estimate::NotMeasured);
    assert!(text.contains("The noise ceiling was not measured"), "{text}");
    let text = trust(|lds| lds.ceiling = measured(0.12, -0.2, 0.4));
    assert!(text.contains("cannot tell good scores from bad ones here"), "{text}");
    let text = trust(|lds| lds.ceiling = measured(0.6, 0.5, 0.7));
    assert!(text.contains("A perfect score could reach about 60, which these scores reach"), "{text}");
}

#[test]
fn trust_when_ours_is_no_better_than_guessing() {
    let text = trust(|lds| lds.ours.lds = measured(0.1, -0.1, 0.3));
    assert!(text.starts_with("Not on this evidence."), "{text}");
    let text = trust(|lds| lds.ours.lds = measured(-0.4, -0.6, -0.2));
    assert!(text.starts_with("No. sFT-Shapley orders retrained models the wrong way round"), "{text}");
}

#[test]
fn trust_when_nothing_was_compared() {
    let text = trust(|lds| lds.baselines.clear());
    assert!(text.ends_with("it is unknown whether something simpler would do as well."), "{text}");
}

#[test]
fn contribution_names_the_first_and_the_last() {
    assert_eq!(
        verdict(&data()).contribution,
        "Annika Berg raised \u{201c}Variety and clarity\u{201d} most, by 0.412 (95\u{a0}% interval 0.350 to 0.474; \
         29\u{a0}% of what all contributors add together). Next: jcartier and Dr. Maximiliane Oberhuber-Lindqvist. \
         Last: O\u{2019}Leary with \u{2212}0.090."
    );
}

#[test]
fn shares_are_not_shown_when_the_scores_do_not_add_up() {
    let mut data = data();
    data.behaviors[0].value_all = Number::from(9.0);
    assert!(!verdict(&data).contribution.contains("together"));
}

#[test]
fn certainty_counts_clear_scores_and_doubts_few_coalitions() {
    let mut data = data();
    data.behaviors[0].coalitions = 8;
    let text = verdict(&data).certainty;
    assert!(text.starts_with("At 95\u{a0}% confidence, 8 of 12 scores can be told from zero."), "{text}");
    assert!(text.contains("Annika Berg could be as low as place 2"), "{text}");
    assert!(text.contains("Only 8 coalitions for 12 contributors"), "{text}");
    for score in &mut data.behaviors[0].scores {
        score.rank_interval = None;
        score.interval = Interval::new(-1.0, 1.0);
    }
    let text = verdict(&data).certainty;
    assert!(text.contains("no contributor\u{2019}s score can be told from zero"), "{text}");
    assert!(text.contains("the intervals of Annika Berg and jcartier overlap"), "{text}");
    data.behaviors[0].scores.iter_mut().for_each(|score| score.interval = None);
    assert_eq!(verdict(&data).certainty, "The uncertainty of the scores was not measured.");
}

#[test]
fn removal_says_whether_it_agrees_with_the_scores() {
    let mut data = data();
    let text = verdict(&data).removal;
    assert!(text.ends_with("As the scores say, losing the top contributors hurts more."), "{text}");
    for removal in &mut data.behaviors[0].counterfactuals {
        if removal.order == RemovalOrder::Top {
            removal.relative_change = Number::from(0.01);
        }
    }
    let text = verdict(&data).removal;
    assert!(text.contains("This contradicts the scores"), "{text}");
    data.behaviors[0].counterfactuals.clear();
    assert!(verdict(&data).removal.starts_with("Not measured"));
}

#[test]
fn cost_compares_with_retraining_the_same_coalitions() {
    let mut data = data();
    // 14.8 s + 195.3 s + 102.1 s against 63 x 61 s + 102.1 s.
    let expected = "The scores took 5\u{a0}min 12\u{a0}s of computing for 63 coalitions; retraining each from scratch would \
                    have taken 65\u{a0}min 45\u{a0}s, 12.6 times as long.";
    assert_eq!(verdict(&data).cost, expected);
    data.costs.retraining_seconds = Number::from(1.0);
    assert!(verdict(&data).cost.ends_with(", less."));
    data.costs.retraining_seconds = Number::MISSING;
    assert_eq!(verdict(&data).cost, "The scores took 5\u{a0}min 12\u{a0}s of computing.");
}

#[test]
fn contribution_follows_the_better_direction() {
    let mut data = data();
    let behavior = &mut data.behaviors[0];
    behavior.direction = report::Direction::LowerIsBetter;
    report::assign_ranks(&mut behavior.scores, behavior.direction);
    let text = verdict(&data).contribution;
    assert!(
        text.starts_with("O\u{2019}Leary lowered \u{201c}Variety and clarity\u{201d} most, by 0.090"),
        "{text}"
    );
    let behavior = &mut data.behaviors[0];
    for score in &mut behavior.scores {
        score.value = Number::from(0.5 + score.contributor as f64);
    }
    report::assign_ranks(&mut behavior.scores, behavior.direction);
    let text = verdict(&data).contribution;
    assert!(text.starts_with("Nobody lowered"), "{text}");
    assert!(text.ends_with("the best score is +0.500, by Annika Berg."), "{text}");
}
