//! `tribute`: a whole study, from pictures to credited contributors.

mod coalitions;
mod compare;
mod data;
mod demo;
mod export;
mod plan;
mod run;
mod status;
mod submit;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use terminal::{main_with, parse};

/// Credits the people whose images trained a diffusion model
#[derive(Parser)]
#[command(name = "tribute", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the study that ships with Tribute: 12 contributors of openclipart
    Demo(demo::DemoArgs),
    /// Run a study from its TOML file, or continue it
    Run(run::RunArgs),
    /// Compare many methods on one study, at equal compute
    Compare(compare::CompareArgs),
    /// Write a study's work as a list that many machines can share
    Plan(plan::PlanArgs),
    /// Do one slice of a planned study, anywhere
    Work(work::WorkArgs),
    /// Submit a study to a cluster as job arrays, and follow it
    Submit(submit::SubmitArgs),
    /// Show what is done, what is left, and what failed
    Status(status::StatusArgs),
    /// Write a study's records or scores as JSONL, CSV or Parquet
    Export(export::ExportArgs),
    /// Look at a data set, or write it as a pack
    Data(data::DataArgs),
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| match arguments.command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Work(arguments) => work::work(&arguments),
        Command::Submit(arguments) => submit::submit(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Export(arguments) => export::export(&arguments),
        Command::Data(arguments) => data::data(&arguments),
    })
}
