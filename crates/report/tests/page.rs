//! The structure of the page.

#[path = "../examples/sample_report/sample/mod.rs"]
mod sample;

use std::collections::BTreeSet;

use report::{Estimate, Number, ReportData, render_html};

fn data() -> ReportData {
    sample::sample().expect("the sample builds")
}

fn page(data: &ReportData) -> String {
    render_html(data).expect("the sample is valid")
}

/// The values of every attribute `name` in the page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    page.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let page = page(&data());
    for forbidden in [
        "http://", "https://", "url(", "@import", "<script", "<link", "<iframe", "<object", "srcset",
        "onclick",
    ] {
        assert!(!page.contains(forbidden), "found {forbidden}");
    }
    let sources = attributes(&page, "src");
    assert_eq!(sources.len(), 6, "sample grids");
    let (pictures, links): (Vec<&str>, Vec<&str>) =
        attributes(&page, "href").into_iter().partition(|target| target.starts_with("data:"));
    assert_eq!(pictures.len(), 12 * 6, "every work once, though two behaviours list it");
    assert!(
        sources.iter().chain(&pictures).all(|source| source.starts_with("data:image/png;base64,iVBORw0KGgo"))
    );
    assert!(links.iter().all(|target| target.starts_with('#')));
    assert!(page.contains("content=\"default-src 'none'; img-src data:;"));
}

#[test]
fn names_are_text_wherever_they_stand() {
    let evil = "<script>alert(1)</script>\"'&<b>";
    let mut data = data();
    data.contributors[0].name = evil.into();
    data.header.title = evil.into();
    data.header.dataset.credit = evil.into();
    data.behaviors[0].name = evil.into();
    data.behaviors[1].unit = Some(evil.into());
    data.provenance.failures[0].error = evil.into();
    data.provenance.settings.insert(evil.into(), evil.into());
    let lds = data.behaviors[0].lds.as_mut().expect("the sample has one");
    lds.points[0].label = evil.into();
    lds.ours.name = evil.into();
    lds.ceiling = Estimate::undefined(evil);
    let page = page(&data);
    assert!(!page.contains("<script") && !page.contains("<b>alert") && !page.contains("'&<b>"));
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() > 20);
    // In attributes the quotation mark must not end the value.
    assert!(
        attributes(&page, "title")
            .iter()
            .any(|title| title.contains("&lt;script&gt;") && title.contains("\u{2192}"))
    );
}

#[test]
fn identifiers_are_unique_and_every_reference_has_a_target() {
    let page = page(&data());
    let ids = attributes(&page, "id");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len());
    let links = attributes(&page, "href").into_iter().filter_map(|target| target.strip_prefix('#'));
    let labels =
        attributes(&page, "aria-labelledby").into_iter().chain(attributes(&page, "aria-describedby"));
    for target in links.chain(labels) {
        assert!(unique.contains(target), "nothing has the id {target}");
    }
    assert_eq!(
        page.matches("<img ").count(),
        attributes(&page, "alt").iter().filter(|alt| !alt.is_empty()).count()
    );
    assert_eq!(page.matches("<h1").count(), 1);
}

#[test]
fn the_questions_come_in_order_and_the_credits_carry_every_name() {
    let data = data();
    let page = page(&data);
    let main = page.split("<main>").nth(1).expect("a main element");
    let questions = [
        "Who contributed how much?",
        "How sure are we?",
        "Can these scores be trusted?",
        "What happens without some of them?",
        "What did it cost?",
        "Exactly how was it made?",
    ];
    let places: Vec<usize> =
        questions.iter().map(|q| main.find(q).expect("every question is a heading")).collect();
    assert!(places.is_sorted());
    let footer = page.split("<footer>").nth(1).expect("a footer");
    for contributor in &data.contributors {
        let name = contributor.name.replace('&', "&amp;");
        assert!(footer.contains(&format!("<bdi>{name}</bdi>")), "{name} is missing from the credits");
    }
}

#[test]
fn people_are_listed_by_rank_with_score_interval_and_works() {
    let page = page(&data());
    let list = page.split("class=\"people\"").nth(1).expect("a ranked list");
    let first = list.split("</li>").next().expect("a first row");
    for part in [
        "Annika Berg",
        "149 images",
        "+0.412",
        "29\u{a0}%",
        "0.35",
        "class=\"whisker\"",
        "Work 6 by Annika Berg",
    ] {
        assert!(first.contains(part), "the first row lacks {part}: {first}");
    }
}

#[test]
fn plots_take_their_colours_from_the_page() {
    let page = page(&data());
    let plots: Vec<&str> =
        page.split("<svg class=\"plot\"").skip(1).filter_map(|rest| rest.split("</svg>").next()).collect();
    assert_eq!(plots.len(), 4, "a scatter plot and a bar chart for each of two behaviours");
    for plot in plots {
        assert!(plot.contains("<title") && plot.contains("<desc") && plot.contains("var(--main)"));
        assert!(!plot.contains("=\"#"), "a fixed colour in {plot}");
    }
    assert!(page.contains("<title>Coalition 1: 3 contributors, predicted "));
}

#[test]
fn missing_numbers_are_called_not_measured() {
    let mut data = data();
    data.behaviors.truncate(1);
    data.comparison = None;
    let behavior = &mut data.behaviors[0];
    for score in &mut behavior.scores {
        (score.value, score.standard_error, score.interval) = (Number::MISSING, Number::from(f64::NAN), None);
    }
    report::assign_ranks(&mut behavior.scores, behavior.direction);
    behavior.value_all = f64::NAN.into();
    behavior.lds = None;
    behavior.counterfactuals.clear();
    data.costs.retraining_seconds = Number::MISSING;
    data.models.full.final_loss = f64::INFINITY.into();
    let page = page(&data);
    assert!(page.matches("not measured").count() >= 12 + 4);
    assert!(page.contains("Not tested: no model was retrained"));
    let text_outside_pictures =
        page.split("data:image/png;base64,").map(|part| part.split_once('"').map_or(part, |p| p.1));
    for part in text_outside_pictures {
        assert!(!part.contains("NaN") || part.contains("the loss is NaN at step 112"));
        assert!(!part.contains(">inf"));
    }
    // One behaviour needs no switch.
    assert!(!page.contains("type=\"radio\""));
}

#[test]
fn the_banner_shows_only_when_numbers_are_for_show() {
    let mut data = data();
    assert!(page(&data).contains("For show only."));
    data.header.show_only = None;
    assert!(!page(&data).contains("For show only."));
}

#[test]
fn one_contributor_and_a_hundred_both_make_a_page() {
    let mut many = data();
    let template = many.contributors[0].clone();
    while many.contributors.len() < 100 {
        let index = many.contributors.len();
        let name = format!("Contributor{index}{}", "x".repeat(index));
        many.contributors.push(report::Contributor { name, ..template.clone() });
        for behavior in &mut many.behaviors {
            let score =
                report::ContributorScore { contributor: index, ..behavior.scores[index % 12].clone() };
            behavior.scores.push(score);
        }
    }
    many.behaviors.iter_mut().for_each(|b| report::assign_ranks(&mut b.scores, b.direction));
    many.help = None;
    let page_of_many = page(&many);
    assert_eq!(page_of_many.matches("The other 76 contributors").count(), 2);
    assert_eq!(page_of_many.matches("<li class=\"person\">").count(), 200);
    assert!(page_of_many.contains(" and 86 others"));

    let mut one = data();
    one.contributors.truncate(1);
    one.models.coalitions.clear();
    one.help = None;
    for behavior in &mut one.behaviors {
        behavior.scores.truncate(1);
        behavior.counterfactuals.clear();
        behavior.scores[0].rank = 1;
        behavior.scores[0].rank_interval = None;
    }
    let page_of_one = page(&one);
    assert_eq!(page_of_one.matches("<li class=\"person\">").count(), 2);
}

#[test]
fn compared_methods_stand_best_first_for_each_behaviour() {
    let page = page(&data());
    let start = page.find("Every method at the same compute").expect("the comparison");
    let first = &page[start..];
    let place = |text: &str| first.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(place("gd + Kernel SHAP") < place("TRAK") && place("TRAK") < place("retrain + Kernel SHAP"));
    assert!(place("retrain + Kernel SHAP") < place("Pixel similarity"));
    assert!(first.contains("311\u{a0}MiB") && first.contains("1.0 times"));
    let mut without = data();
    without.comparison = None;
    assert!(!self::page(&without).contains("Every method"));
}
