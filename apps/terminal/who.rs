//! Who remains.

use clap::{Args, ValueEnum};
use removal::{Coalition, RemovalDistribution};
use study::{Context, StudyError, training_draw};

use crate::exit::usage;

/// `--removal-dist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Distribution {
    /// Sizes by the Shapley kernel
    #[value(alias = "datashapley")]
    Shapley,
    /// A fixed share of the contributors, see --datamodel-alpha
    Datamodel,
    /// Everybody with probability 1/2
    Uniform,
    /// All but one: --removal-seed says who is removed
    Loo,
    /// One alone: --removal-seed says who remains
    #[value(name = "add_one_in", alias = "add-one-in", alias = "aoi")]
    AddOneIn,
    /// Everybody
    None,
}

/// The coalition, in one of five ways.
#[derive(Debug, Args)]
pub struct Who {
    /// Who remains, as n:hex (12:fff is all of 12)
    #[arg(long)]
    coalition: Option<Coalition>,
    /// Who remains, as contributor numbers from 0, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with = "coalition")]
    members: Option<Vec<usize>>,
    /// Who remains, as this draw of --removal-dist
    #[arg(long, alias = "removal-seed", conflicts_with_all = ["coalition", "members"])]
    draw: Option<u64>,
    /// Distribution of the draws; the study's when left out
    #[arg(long, value_enum, conflicts_with_all = ["coalition", "members"])]
    removal_dist: Option<Distribution>,
    /// Share of contributors that remain in draws of `datamodel`
    #[arg(long, requires = "removal_dist")]
    datamodel_alpha: Option<f64>,
    /// Leave out these contributors, by name or by number in the order of their names, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["coalition", "members", "draw", "removal_dist"])]
    excluded_class: Vec<String>,
}

impl Who {
    /// Whether anything was said.
    pub fn is_given(&self) -> bool {
        let draws = self.draw.is_some() || self.removal_dist.is_some();
        draws || self.coalition.is_some() || self.members.is_some() || !self.excluded_class.is_empty()
    }

    /// The coalition; `None` if nothing was said.
    ///
    /// # Errors
    /// Contributors, draws and shares that do not exist.
    pub fn coalition(&self, context: &Context) -> anyhow::Result<Option<Coalition>> {
        if self.datamodel_alpha.is_some() && self.removal_dist != Some(Distribution::Datamodel) {
            return Err(usage("--datamodel-alpha is for --removal-dist datamodel only"));
        }
        let n = context.contributors();
        if let Some(coalition) = &self.coalition {
            return Ok(Some(coalition.clone()));
        }
        if !self.excluded_class.is_empty() {
            return self.without_excluded(context).map(Some);
        }
        if let Some(members) = &self.members {
            let coalition = Coalition::from_members(n, members.iter().copied());
            return Ok(Some(coalition.map_err(StudyError::from)?));
        }
        let alpha = self.datamodel_alpha.unwrap_or(context.config.evaluation.datamodel_alpha);
        let distribution = self.removal_dist.map(|distribution| match distribution {
            Distribution::Shapley => RemovalDistribution::Shapley,
            Distribution::Datamodel => RemovalDistribution::Datamodel { alpha },
            Distribution::Uniform => RemovalDistribution::Uniform,
            Distribution::Loo => RemovalDistribution::Loo,
            Distribution::AddOneIn => RemovalDistribution::AddOneIn,
            Distribution::None => RemovalDistribution::None,
        });
        match (self.draw, distribution) {
            (None, None) => Ok(None),
            // The reference's default of --removal_seed.
            (draw, distribution) => {
                Ok(Some(training_draw(context, distribution.as_ref(), draw.unwrap_or(0))?))
            }
        }
    }

    /// Everybody but --excluded-class.
    fn without_excluded(&self, context: &Context) -> anyhow::Result<Coalition> {
        let n = context.contributors();
        let mut excluded = Vec::new();
        for word in &self.excluded_class {
            let named = context.dataset.contributors().iter().position(|one| one.name == *word);
            let index = named.or_else(|| word.parse().ok().filter(|&index| index < n)).ok_or_else(|| {
                usage(format!(
                    "--excluded-class {word}: no contributor has this name, and numbers are 0 to {}",
                    n.saturating_sub(1)
                ))
            })?;
            excluded.push(index);
        }
        Ok(Coalition::from_members(n, excluded).map_err(StudyError::from)?.complement())
    }
}
