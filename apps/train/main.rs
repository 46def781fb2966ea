//! `tribute-train`: trains a model on everybody's images, or on a coalition's, into a model folder; an interrupted training
//! continues.

mod ranks;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use diffusion_core::device::DeviceChoice;
use diffusion_core::model_folder::{self, model_hash};
use diffusion_core::training::GradientExchange;
use diffusion_core::{DiffusionError, UNet2DModel};
use ledger::append_jsonl;
use ranks::{Follower, Leader};
use removal::Coalition;
use serde_json::json;
use settings::{Part, Settings};
use study::{
    Context, PrunedWeights, Recordable, TrainedModel, fine_tune_pruned, load_model, prune_weights,
    record_model, train_autoencoder, train_from,
};
use terminal::{ComputeArgs, Session, StudyArgs, Who, main_with, parse, print_json, usage};
use unlearn::Method;

/// Train the full model of a study, or the model of a coalition
#[derive(Parser)]
#[command(name = "tribute-train", version)]
struct Arguments {
    #[command(flatten)]
    study: StudyArgs,
    /// Model folder to write; an unfinished training in it continues
    #[arg(long, alias = "outdir")]
    out: PathBuf,
    /// From fresh weights or those of --load, or prune the model of --load and fine-tune what is left
    #[arg(long, value_enum, default_value_t = TrainMethod::Retrain)]
    method: TrainMethod,
    /// The study's diffusion model, or an autoencoder of its images for latent models (the study's [vqvae])
    #[arg(long, value_enum, default_value_t = Model::Unet)]
    model: Model,
    /// Model folder whose weights the training starts from
    #[arg(long)]
    load: Option<PathBuf>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    settings: Settings,
    /// Sample from the model, measure it, and add one record to this JSONL file
    #[arg(long)]
    db: Option<PathBuf>,
    /// Processes that share each batch: this one and copies of it. The result differs by rounding alone
    #[arg(long, default_value_t = 1, value_name = "N")]
    data_parallel: usize,
    /// Which of the processes this is; set by the first one for the others
    #[arg(long, hide = true)]
    rank: Option<usize>,
    /// Name of the experiment, kept in the record of --db
    #[arg(long, requires = "db")]
    exp_name: Option<String>,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// `--model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    /// The network that predicts noise
    Unet,
    /// An autoencoder with a codebook
    Vqvae,
}

/// `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TrainMethod {
    /// Train by the study's [train]
    Retrain,
    /// Prune by the study's [prune], fine-tune by its [fine_tune]
    #[value(name = "prune_fine_tune", alias = "prune-fine-tune")]
    PruneFineTune,
}

fn main() -> ExitCode {
    let mut arguments: Arguments = parse();
    main_with(|| {
        arguments.share_machine()?;
        arguments.compute.in_threads(|| run(&arguments))
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.model == Model::Vqvae {
        return arguments.train_vqvae();
    }
    let session = Session::start(&arguments.compute)?;
    let fine_tunes = arguments.method == TrainMethod::PruneFineTune;
    let part = if fine_tunes { Part::FineTune } else { Part::Train };
    let load = arguments.load.as_deref();
    let context = arguments.study.open_for(load, &session, &arguments.settings.overrides(part))?;
    let batch_size = context.config.train.optimization.batch_size;
    if arguments.data_parallel > batch_size {
        let ranks = arguments.data_parallel;
        return Err(usage(format!(
            "--data-parallel is {ranks}, but a batch has {batch_size} images: give at most as many processes"
        )));
    }
    let images =
        arguments.who.coalition(&context)?.unwrap_or_else(|| Coalition::full(context.contributors()));
    // What the study's own full model starts from; models of coalitions are trained from scratch, as the study trains them.
    let own = context.config.train.load.as_deref().filter(|_| !fine_tunes && images.is_full());
    if let (Some(_), Some(own)) = (load, own) {
        return Err(usage(format!(
            "the study starts from {} (train.load): leave --load out, or take that key out of the study",
            own.display()
        )));
    }
    let start = load.or(own).map(|folder| load_model(&context, folder)).transpose()?;
    let (trained, method) = match (arguments.method, &start) {
        (TrainMethod::Retrain, start) => {
            let connect = || arguments.connect();
            let connect: Option<study::Connect<'_>> = (arguments.data_parallel > 1).then_some(&connect);
            let out = &arguments.out;
            let trained = train_from(&context, &images, start.as_ref(), out, connect, &session.progress);
            if arguments.rank.is_some() {
                // The first rank tells what came out, also that it was stopped.
                return match trained {
                    Ok(_) | Err(study::StudyError::Stopped) => Ok(()),
                    Err(error) => Err(error.into()),
                };
            }
            (trained?, Method::Retrain)
        }
        (TrainMethod::PruneFineTune, None) => {
            return Err(usage("--method prune_fine_tune prunes a trained model: give it with --load"));
        }
        (TrainMethod::PruneFineTune, Some(_)) if !images.is_full() => {
            return Err(usage("--method prune_fine_tune is trained on everybody's images: leave nobody out"));
        }
        (TrainMethod::PruneFineTune, Some(full)) => {
            (arguments.prune_and_fine_tune(&session, &context, full)?, Method::PruneFineTune)
        }
    };
    let mut told = json!({
        "model": arguments.out,
        "hash": trained.hash,
        "steps": match (fine_tunes, &start) {
            (true, _) => context.config.fine_tune.steps,
            (false, Some(_)) => context.config.train.steps,
            (false, None) => context.config.train.retrain_steps(),
        },
        "parameters": trained.model.parameter_count(),
        "coalition": images,
        "seconds": trained.seconds,
    });
    if let Some(db) = &arguments.db {
        let mut further = Vec::new();
        if let Some(name) = &arguments.exp_name {
            further.push(("exp_name", json!(name)));
        }
        if let (TrainMethod::Retrain, Some(start), Some(_)) = (arguments.method, &start, load) {
            further.push(("load", json!(model_hash(start.config(), &start.state_dict()?))));
        }
        let what = Recordable {
            model: &trained.model,
            method,
            coalition: &images,
            repetition: 0,
            parent: start.as_ref(),
            seconds: trained.seconds,
            local: None,
            full: images.is_full().then_some(&trained.model),
            settings: &further,
        };
        let (record, _) = record_model(&context, &what, &session.progress)?;
        told["run"] = json!(record.id());
        told["behaviors"] = json!(record.behaviors);
        told["added"] = json!(append_jsonl(db, &record)?);
    }
    print_json(&told)
}

impl Arguments {
    /// Trains an autoencoder on everybody's images.
    fn train_vqvae(&self) -> anyhow::Result<()> {
        for (given, option) in [
            (self.method == TrainMethod::PruneFineTune, "--method prune_fine_tune"),
            (self.load.is_some(), "--load"),
            (self.db.is_some(), "--db"),
            (self.data_parallel > 1, "--data-parallel"),
            (self.who.is_given(), "a choice of contributors"),
            (self.settings.precompute_stage.is_some(), "--precompute-stage"),
        ] {
            if given {
                return Err(usage(format!(
                    "{option} means nothing with --model vqvae, which is trained from fresh weights on everybody's images: leave it \
                     out"
                )));
            }
        }
        let session = Session::start(&self.compute)?;
        let config = self.study.config(&self.settings.overrides(Part::Vqvae))?;
        let trained = train_autoencoder(&config, &session.device, &self.out, &session.progress)?;
        print_json(&json!({
            "model": self.out,
            "hash": trained.hash,
            "steps": config.vqvae.steps,
            "parameters": trained.parameters,
            "seconds": trained.seconds,
            "reconstruction_error": trained.reconstruction_error,
            "psnr": trained.psnr,
            "codes": config.vqvae.num_vq_embeddings,
            "codes_used": trained.codes_used,
            "scaling_factor": trained.scaling_factor,
            "pictures": trained.pictures,
        }))
    }

    /// Gives each rank of a data-parallel training its part of the machine, where the command line leaves it open.
    fn share_machine(&mut self) -> anyhow::Result<()> {
        match self.data_parallel {
            0 => return Err(usage("--data-parallel is 0: give the number of processes, 1 or more")),
            1 => return Ok(()),
            _ if self.method == TrainMethod::PruneFineTune => {
                return Err(usage(
                    "--data-parallel is for --method retrain: prune and fine-tune in one process",
                ));
            }
            _ => {}
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.compute.threads.get_or_insert((cores / self.data_parallel).max(1));
        if self.compute.device == DeviceChoice::Cuda(None) {
            self.compute.device = DeviceChoice::Cuda(Some(self.rank.unwrap_or(0)));
        }
        self.compute.quiet |= self.rank.is_some();
        Ok(())
    }

    /// Meets the other ranks.
    fn connect(&self) -> Result<Box<dyn GradientExchange>, DiffusionError> {
        Ok(match self.rank {
            Some(rank) => Box::new(Follower::new(rank, self.data_parallel)),
            None => Box::new(Leader::start(self.data_parallel)?),
        })
    }

    fn prune_and_fine_tune(
        &self,
        session: &Session,
        context: &Context,
        full: &UNet2DModel,
    ) -> anyhow::Result<TrainedModel> {
        let weights = full.state_dict()?;
        let parent = model_hash(full.config(), &weights);
        let network = if diffusion_core::training::checkpoint_exists(&self.out) {
            // The checkpoint has the channels that were kept; which ones are need not be found again.
            let (config, weights) = model_folder::read(&self.out)?;
            UNet2DModel::from_state_dict(&config, &weights, &context.device)?
        } else {
            let PrunedWeights { pruned, .. } =
                prune_weights(context, full.config(), &weights, &session.progress)?;
            UNet2DModel::from_state_dict(&pruned.config, &pruned.weights, &context.device)?
        };
        Ok(fine_tune_pruned(context, network, &parent, &self.out, &session.progress)?)
    }
}
