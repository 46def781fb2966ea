//! What a study asks of Slurm: `[slurm]` of the study file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ClusterError;

/// Graphics cards of a job: a number, or a kind and a number, as `a100:2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gpus {
    /// So many of any kind.
    Count(u32),
    /// `kind:number`.
    OfKind(String),
}

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::OfKind(text) => f.write_str(text),
        }
    }
}

impl FromStr for Gpus {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let gpus = text.parse().map_or_else(|_| Self::OfKind(text.to_owned()), Self::Count);
        gpus.check("gpus").map(|()| gpus)
    }
}

impl Gpus {
    fn check(&self, key: &str) -> Result<(), ClusterError> {
        let Self::OfKind(text) = self else { return Ok(()) };
        let good = text.split_once(':').is_some_and(|(kind, count)| {
            !kind.is_empty()
                && kind.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
                && count.parse::<u32>().is_ok()
        });
        require(good, key, text, "a number, or a kind and a number such as \"a100:2\"")
    }
}

/// A text that may be written as a number: `time = 90`.
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}

/// What one link asks for in place of what all ask for: `[slurm.train]` and its like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkResources {
    /// As [`SlurmSettings::partition`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// As [`SlurmSettings::time`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub time: Option<String>,
    /// As [`SlurmSettings::gpus`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Gpus>,
    /// As [`SlurmSettings::cpus`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// As [`SlurmSettings::mem`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub mem: Option<String>,
}

/// `[slurm]`: what the jobs of a study ask for, and how they are repeated. Nothing here changes a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSettings {
    /// Partition; the cluster's default when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Account to charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Quality of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// Time limit of one job as Slurm writes it: minutes, `hh:mm:ss`, `d-hh:mm:ss`...
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub time: Option<String>,
    /// Graphics cards of each job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Gpus>,
    /// CPU cores of each job; 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory of each job, as `8G`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text_or_number")]
    pub mem: Option<String>,
    /// How often a slice that failed or was lost is submitted again; 2 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How often one job goes back to the queue by itself, stopped by its time limit; 100 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// Most elements of an array that run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_limit: Option<u32>,
    /// Most elements of an array: a stage with more tasks is cut into as many slices; 1000 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// Seconds before the time limit at which a job is told to save and stop; 60 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<u32>,
    /// Lines of shell that each job runs first, such as `module load cuda`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<String>,
    /// Further options of `sbatch`, as `--exclude=node7`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// What training the full model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<LinkResources>,
    /// What pruning asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<LinkResources>,
    /// What teaching the parent its contributors asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<LinkResources>,
    /// What each coalition's model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coalitions: Option<LinkResources>,
    /// What each retrained model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrain: Option<LinkResources>,
    /// What the report asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<LinkResources>,
}

impl SlurmSettings {
    /// How often a slice that failed or was lost is submitted again.
    pub fn retries(&self) -> u32 {
        self.retries.unwrap_or(2)
    }

    /// How often one job goes back to the queue by itself.
    pub fn restarts(&self) -> u32 {
        self.restarts.unwrap_or(100)
    }

    /// Most elements of an array.
    pub fn jobs(&self) -> usize {
        self.jobs.unwrap_or(1000) as usize
    }

    /// Seconds before the time limit at which a job is told to stop.
    pub fn warning(&self) -> u32 {
        self.warning.unwrap_or(60)
    }

    /// What the link of this name asks for.
    pub fn resources(&self, link: &str) -> LinkResources {
        let own = match link {
            "train" => &self.train,
            "prune" => &self.prune,
            "condition" => &self.condition,
            "coalitions" => &self.coalitions,
            "retrain" => &self.retrain,
            "report" => &self.report,
            _ => &None,
        };
        let own = own.clone().unwrap_or_default();
        LinkResources {
            partition: own.partition.or_else(|| self.partition.clone()),
            time: own.time.or_else(|| self.time.clone()),
            gpus: own.gpus.or_else(|| self.gpus.clone()),
            cpus: own.cpus.or(self.cpus),
            mem: own.mem.or_else(|| self.mem.clone()),
        }
    }

    /// Checks every value that has a range.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] with the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ClusterError> {
        for (key, value) in [("partition", &self.partition), ("account", &self.account), ("qos", &self.qos)] {
            check_word(key, value.as_deref())?;
        }
        for (key, value) in
            [("array_limit", self.array_limit), ("jobs", self.jobs), ("warning", self.warning)]
        {
            require(value != Some(0), key, "0", "1 or more")?;
        }
        for line in &self.setup {
            require(!line.contains(['\n', '\r']), "setup", line, "lines without line breaks")?;
        }
        for option in &self.options {
            let good = option.starts_with("--") && !option.contains(['\n', '\r']);
            require(
                good,
                "options",
                option,
                "options of sbatch, each beginning with `--`, as --exclude=node7",
            )?;
        }
        let own = LinkResources {
            partition: None,
            time: self.time.clone(),
            gpus: self.gpus.clone(),
            cpus: self.cpus,
            mem: self.mem.clone(),
        };
        own.validate("")?;
        let sections = [
            ("train.", &self.train),
            ("prune.", &self.prune),
            ("condition.", &self.condition),
            ("coalitions.", &self.coalitions),
            ("retrain.", &self.retrain),
            ("report.", &self.report),
        ];
        sections
            .into_iter()
            .try_for_each(|(prefix, own)| own.as_ref().map_or(Ok(()), |own| own.validate(prefix)))
    }
}

impl LinkResources {
    fn validate(&self, prefix: &str) -> Result<(), ClusterError> {
        let key = |name: &str| format!("{prefix}{name}");
        check_word(&key("partition"), self.partition.as_deref())?;
        if let Some(time) = &self.time {
            let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
            let (days, rest) =
                time.split_once('-').map_or((None, time.as_str()), |(d, rest)| (Some(d), rest));
            let parts: Vec<&str> = rest.split(':').collect();
            let good = days.is_none_or(digits) && parts.len() <= 3 && parts.iter().all(|part| digits(part));
            require(good, &key("time"), time, "minutes, mm:ss, hh:mm:ss, d-hh, d-hh:mm or d-hh:mm:ss")?;
        }
        if let Some(mem) = &self.mem {
            let number = mem.trim_end_matches(['K', 'M', 'G', 'T']);
            let good = mem.len() - number.len() <= 1 && number.parse::<u64>().is_ok();
            require(
                good,
                &key("mem"),
                mem,
                "a number with K, M, G or T, such as \"8G\"; without a letter it is megabytes",
            )?;
        }
        require(self.cpus != Some(0), &key("cpus"), "0", "1 or more")?;
        self.gpus.as_ref().map_or(Ok(()), |gpus| gpus.check(&key("gpus")))
    }
}

fn check_word(key: &str, value: Option<&str>) -> Result<(), ClusterError> {
    let good = value.is_none_or(|word| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_.,@+-".contains(c))
    });
    require(good, key, value.unwrap_or_default(), "a name of the cluster's: letters, digits and _ . , @ + -")
}

fn require(good: bool, key: &str, value: &str, allowed: &'static str) -> Result<(), ClusterError> {
    if good {
        Ok(())
    } else {
        Err(ClusterError::Setting { key: key.to_owned(), value: value.to_owned(), allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_own_section_wins() {
        let text =
            "partition = \"cpu\"\ntime = 90\ncpus = 2\n[train]\npartition = \"gpu\"\ngpus = \"a100:2\"\n";
        let settings: SlurmSettings = toml::from_str(text).unwrap();
        settings.validate().unwrap();
        let train = settings.resources("train");
        assert_eq!((train.partition.as_deref(), train.cpus), (Some("gpu"), Some(2)));
        assert_eq!(train.gpus.unwrap().to_string(), "a100:2");
        assert_eq!(settings.resources("prune").partition.as_deref(), Some("cpu"));
        assert_eq!(settings.resources("prune").time.as_deref(), Some("90"));
        assert_eq!(toml::from_str::<SlurmSettings>(&toml::to_string(&settings).unwrap()).unwrap(), settings);
    }

    #[test]
    fn what_slurm_would_not_understand_is_named() {
        let cases = [
            ("time = \"an hour\"", "slurm.time"),
            ("time = \"1-\"", "slurm.time"),
            ("mem = \"8 GB\"", "slurm.mem"),
            ("partition = \"a b\"", "slurm.partition"),
            ("gpus = \"many\"", "slurm.gpus"),
            ("cpus = 0", "slurm.cpus"),
            ("jobs = 0", "slurm.jobs"),
            ("options = [\"exclusive\"]", "slurm.options"),
            ("setup = [\"a\\nb\"]", "slurm.setup"),
            ("[report]\nmem = \"much\"", "slurm.report.mem"),
        ];
        for (text, key) in cases {
            let error = toml::from_str::<SlurmSettings>(text).unwrap().validate().unwrap_err();
            assert!(error.to_string().contains(key) && error.is_configuration(), "{text}: {error}");
        }
        for good in ["90", "30:00", "1:30:00", "2-0", "2-12:30", "2-12:30:00"] {
            let settings = SlurmSettings { time: Some(good.to_owned()), ..SlurmSettings::default() };
            settings.validate().unwrap();
        }
        assert!(toml::from_str::<SlurmSettings>("partitoin = \"x\"").is_err());
    }
}
