//! `tribute-influence`: scores of contributors by the comparison methods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use diffusion_core::write_atomically;
use influence::{InfluenceMethod, ProjectionKind};
use serde_json::{Value, json};
use study::{Context, MethodScores, Overrides, baseline_scores, load_model, read_samples};
use terminal::{ComputeArgs, Session, StudyArgs, main_with, parse, print_json, usage};

/// Score the contributors by similarity and by gradients, for comparison
#[derive(Parser)]
#[command(name = "tribute-influence", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder; it must be the one that made the samples
    #[arg(long, alias = "load")]
    model: PathBuf,
    /// Samples written by tribute-sample for repetition 0; sampled anew when left out
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Model folder that guda unlearns contributors from by the study's method, such as the pruned one; --model when left out
    #[arg(long)]
    parent: Option<PathBuf>,
    /// Methods, separated by commas; all that make no models (all but guda) when left out
    #[arg(long, value_delimiter = ',')]
    methods: Vec<InfluenceMethod>,
    /// Folder for scores.json and scores.csv; only printed when left out
    #[arg(long, alias = "outdir")]
    out: Option<PathBuf>,
    /// Timesteps of each image (influence.timesteps)
    #[arg(long)]
    timesteps: Option<usize>,
    /// Dimensions of the projected gradients (influence.dimension)
    #[arg(long)]
    dimension: Option<usize>,
    /// Entries of the projection: rademacher or normal (influence.projection)
    #[arg(long)]
    projection: Option<ProjectionKind>,
    /// Damping of the kernel (influence.damping)
    #[arg(long)]
    damping: Option<f64>,
    /// Noisy images at once (influence.batch_size)
    #[arg(long)]
    batch_size: Option<usize>,
    /// Use only the first so many samples for gradients (influence.samples)
    #[arg(long)]
    use_samples: Option<usize>,
    #[command(flatten)]
    compute: ComputeArgs,
}

impl Arguments {
    fn overrides(&self) -> Overrides {
        let mut set = Overrides::default();
        set.set("influence.timesteps", self.timesteps);
        set.set("influence.dimension", self.dimension);
        set.set("influence.projection", self.projection);
        set.set("influence.damping", self.damping);
        set.set("influence.batch_size", self.batch_size);
        set.set("influence.samples", self.use_samples);
        set
    }

    /// The methods, each once.
    fn methods(&self) -> anyhow::Result<Vec<InfluenceMethod>> {
        if self.methods.is_empty() {
            return Ok(InfluenceMethod::without_models().collect());
        }
        for (i, method) in self.methods.iter().enumerate() {
            if self.methods[..i].contains(method) {
                return Err(usage(format!("--methods names {method} twice")));
            }
        }
        Ok(self.methods.clone())
    }
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        arguments.compute.in_threads(|| {
            let methods = arguments.methods()?;
            let session = Session::start(&arguments.compute)?;
            let context =
                arguments.study.open_for(Some(&arguments.model), &session, &arguments.overrides())?;
            let model = load_model(&context, &arguments.model)?;
            let samples = match &arguments.samples {
                Some(folder) => read_samples(folder)?,
                None => context.sample(&model, 0, "sample", &session.progress)?,
            };
            let parent =
                arguments.parent.as_deref().map(|folder| load_model(&context, folder)).transpose()?;
            let start = Some(parent.as_ref().unwrap_or(&model));
            let scores = baseline_scores(&context, &model, start, &samples, &methods, &session.progress)?;
            let result = as_json(&context, &arguments.model, samples.shape[0], &scores);
            if let Some(folder) = &arguments.out {
                write(folder, &context, &result, &scores)?;
            }
            print_json(&result)
        })
    })
}

/// One object: the settings, the contributors, and for each method its scores and seconds.
fn as_json(context: &Context, model: &Path, samples: usize, scores: &[MethodScores]) -> Value {
    let contributors: Vec<&str> =
        context.dataset.contributors().iter().map(|contributor| contributor.name.as_str()).collect();
    let methods: Vec<Value> = scores
        .iter()
        .map(|scored| {
            json!({
                "method": scored.method,
                "title": scored.method.title(),
                "seconds": scored.seconds,
                "shared_seconds": scored.shared_seconds,
                "scores": scored.scores,
            })
        })
        .collect();
    json!({
        "model": model,
        "samples": samples,
        "settings": context.config.influence,
        "contributors": contributors,
        "methods": methods,
    })
}

/// Writes `scores.json` and `scores.csv` (a row for each method and contributor).
fn write(folder: &Path, context: &Context, result: &Value, scores: &[MethodScores]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut text = serde_json::to_string_pretty(result)?;
    text.push('\n');
    write_atomically(&folder.join("scores.json"), text.as_bytes())?;
    let mut rows = String::from("method,contributor,images,score,seconds\n");
    let mut images = vec![0usize; context.contributors()];
    for &image in context.split.train.indices() {
        if let Some(owner) = context.dataset.owner(image) {
            images[owner] += 1;
        }
    }
    for scored in scores {
        let people = context.dataset.contributors().iter().zip(&images);
        for ((contributor, images), score) in people.zip(&scored.scores) {
            let name = quoted(&contributor.name);
            rows.push_str(&format!("{},{name},{images},{score:?},{:?}\n", scored.method, scored.seconds));
        }
    }
    Ok(write_atomically(&folder.join("scores.csv"), rows.as_bytes())?)
}

/// A field of a CSV (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
