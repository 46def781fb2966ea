//! `tribute-lds`: contributors' scores from records, judged by retrained models.

mod arguments;
mod database;
mod estimate;
mod evidence;
mod judge;
mod own;
mod scores;
mod settings;
mod stability;
mod table;
mod utilities;

use std::process::ExitCode;

use anyhow::Context as _;
use ledger::reference::ReferenceDatabase;
use serde_json::Map;
use terminal::{main_with, parse, print_json};

use arguments::Arguments;
use estimate::Estimation;
use evidence::Evidence;

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.check()?;
        if let Some(path) = &arguments.scores {
            scores::format_of(path)?;
        }
        let evidence = read(&arguments)?;
        let estimation = Estimation::chosen(&arguments, &evidence)?;
        let judged = evidence
            .chosen_behaviors(&arguments)?
            .iter()
            .map(|key| judge::judge(&evidence, key, &estimation, &arguments))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut output = evidence.summary(&arguments);
        let mut behaviors = Map::new();
        for behavior in &judged {
            behaviors.insert(behavior.key.clone(), behavior.to_json()?);
        }
        output.insert("behaviors".to_owned(), behaviors.into());
        if let Some(path) = &arguments.scores {
            scores::write(path, &evidence, &judged, &arguments)?;
        }
        if !arguments.quiet {
            tell(&evidence, &judged, &arguments);
        }
        print_json(&output.into())
    })
}

fn read(arguments: &Arguments) -> anyhow::Result<Evidence> {
    let path = &arguments.train;
    if path.is_file() && ReferenceDatabase::looks_like_one(path)? {
        return database::evidence(arguments);
    }
    own::evidence(arguments).with_context(|| format!("the records of {}", path.display()))
}

/// Notes, warnings and the table on stderr.
fn tell(evidence: &Evidence, judged: &[judge::Judged], arguments: &Arguments) {
    for note in &evidence.notes {
        terminal::tell(format_args!("note: {note}"));
    }
    // What holds for several behaviours is said once.
    let mut warnings: Vec<(String, Vec<&str>)> = Vec::new();
    for behavior in judged {
        let undefined = behavior.lds().and_then(|lds| lds.as_ref().err()).map(ToString::to_string);
        for warning in behavior.warnings.iter().cloned().chain(undefined) {
            match warnings.iter_mut().find(|(said, _)| *said == warning) {
                Some((_, keys)) => keys.push(&behavior.key),
                None => warnings.push((warning, vec![&behavior.key])),
            }
        }
    }
    for (warning, keys) in warnings {
        terminal::tell(format_args!("warning: {}: {warning}", keys.join(", ")));
    }
    terminal::tell(table::table(evidence, judged, arguments));
}
