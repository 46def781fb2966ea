//! Keys of a study set from outside its file.

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::{DatasetPreset, StudyConfig};
use crate::error::StudyError;

/// Values for keys of a study, laid over its file: what command-line options are.
///
/// A key is written with its sections, as in `train.optimization.batch_size`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    values: Vec<(String, Value)>,
    /// The first value that a study file cannot hold.
    unfit: Option<String>,
}

impl Overrides {
    /// Sets a key, over what was set before; `None` leaves it as it is.
    pub fn set<T: Serialize>(&mut self, key: &str, value: Option<T>) {
        let Some(value) = value else { return };
        match Value::try_from(value) {
            Ok(value) => self.values.push((key.to_owned(), value)),
            // Numbers, words, lists and tables of them are all that the callers have.
            Err(_) => self.unfit = self.unfit.take().or_else(|| Some(key.to_owned())),
        }
    }

    /// Sets a key from `KEY=VALUE`, the value as TOML writes it; a value that is not TOML is taken as a word.
    ///
    /// # Errors
    /// [`StudyError::BadOverride`] if there is no `=` or no key.
    pub fn set_text(&mut self, assignment: &str) -> Result<(), StudyError> {
        let (key, text) = assignment
            .split_once('=')
            .map(|(key, text)| (key.trim(), text.trim()))
            .filter(|(key, _)| !key.is_empty() && key.split('.').all(|part| !part.is_empty()))
            .ok_or_else(|| StudyError::BadOverride { assignment: assignment.to_owned() })?;
        let value = format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(text.to_owned()));
        self.values.push((key.to_owned(), value));
        Ok(())
    }

    /// Sets the keys of `later` over those set before.
    pub fn extend(&mut self, later: &Self) {
        self.values.extend(later.values.iter().cloned());
        self.unfit = self.unfit.take().or_else(|| later.unfit.clone());
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.unfit.is_none()
    }

    /// Lays the values over a study's table.
    fn apply(&self, table: &mut Table) -> Result<(), StudyError> {
        if let Some(key) = &self.unfit {
            return Err(StudyError::UnfitOverride { key: key.clone() });
        }
        for (key, value) in &self.values {
            inherit_optimization(table, key);
            let mut sections: Vec<&str> = key.split('.').collect();
            // A key that was split has at least one part.
            let last = sections.pop().unwrap_or_default();
            let mut at = &mut *table;
            for section in sections {
                let inner = at.entry(section).or_insert_with(|| Value::Table(Table::new()));
                at = inner
                    .as_table_mut()
                    .ok_or_else(|| StudyError::BadOverride { assignment: format!("{key}={value}") })?;
            }
            at.insert(last.to_owned(), value.clone());
        }
        Ok(())
    }
}

/// `[fine_tune.optimization]`, `[unlearn.optimization]` and `[vqvae.optimization]` are those of `[train]` while they are left out. Setting one
/// of their keys must change that key alone.
fn inherit_optimization(table: &mut Table, key: &str) {
    for section in ["fine_tune", "unlearn", "vqvae"] {
        if !key.starts_with(&format!("{section}.optimization.")) {
            continue;
        }
        let trained = table.get("train").and_then(|train| train.get("optimization")).cloned();
        let own = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let (Some(trained), Value::Table(inner)) = (trained, own) {
            inner.entry("optimization").or_insert(trained);
        }
    }
}

/// Lays `upper` over `lower`, table by table.
fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

impl StudyConfig {
    /// A study from up to three layers: a preset, a study file over it, and overrides over both. Relative paths of the
    /// file are resolved against its folder, those of overrides against the current one.
    ///
    /// # Errors
    /// [`StudyError::NoStudy`] without preset and file; else as [`StudyConfig::read`].
    pub fn layered(
        preset: Option<DatasetPreset>,
        file: Option<&Path>,
        set: &Overrides,
    ) -> Result<Self, StudyError> {
        let Some(file) = file else {
            let preset = preset.ok_or(StudyError::NoStudy)?;
            let origin = Path::new(preset.name());
            return Self::from_table(parse_table(preset.toml(), origin)?, set, Path::new(""), origin);
        };
        if preset.is_none() && set.is_empty() {
            return Self::read(file);
        }
        let text = std::fs::read_to_string(file)
            .map_err(|source| StudyError::ReadStudy { path: file.to_owned(), source })?;
        let base = file.parent().unwrap_or(Path::new(""));
        let own = parse_table(&text, file)?;
        match preset {
            None => {
                // Mistakes of the file itself are told with their line.
                toml::from_str::<Self>(&text).map_err(|source| StudyError::ParseStudy {
                    path: file.to_owned(),
                    source: Box::new(source),
                })?;
                Self::from_table(own, set, base, file)
            }
            Some(preset) => {
                let mut table = parse_table(preset.toml(), Path::new(preset.name()))?;
                merge(&mut table, own);
                Self::from_table(table, set, base, file)
            }
        }
    }

    fn from_table(mut table: Table, set: &Overrides, base: &Path, origin: &Path) -> Result<Self, StudyError> {
        absolute_paths(&mut table, base);
        set.apply(&mut table)?;
        let mut config: Self = Value::Table(table.clone())
            .try_into()
            .map_err(|source| StudyError::ParseStudy { path: origin.to_owned(), source: Box::new(source) })?;
        config.resolve(Path::new(""));
        config.adopt_loaded(&table)?;
        config.validate()?;
        Ok(config)
    }
}

/// Resolves the paths that stand in a file against its folder, before paths from elsewhere are laid over them.
fn absolute_paths(table: &mut Table, base: &Path) {
    for (section, key) in [
        ("", "weights"),
        ("data", "path"),
        ("train", "load"),
        ("measures", "reference"),
        ("measures", "inception"),
        ("measures", "clip"),
        ("measures", "aesthetic_head"),
        ("evaluation", "truth"),
        ("latent", "model"),
        ("latent", "folder"),
    ] {
        let inner = if section.is_empty() {
            Some(&mut *table)
        } else {
            table.get_mut(section).and_then(Value::as_table_mut)
        };
        if let Some(Value::String(path)) = inner.and_then(|inner| inner.get_mut(key)) {
            *path = base.join(&*path).display().to_string();
        }
    }
    let measures = table.get_mut("measures").and_then(Value::as_table_mut);
    let commands = measures.and_then(|measures| measures.get_mut("commands")?.as_table_mut());
    for command in commands.into_iter().flatten().filter_map(|(_, command)| command.as_table_mut()) {
        // Left out, it is the file's folder.
        let directory = command.get("directory").and_then(Value::as_str).unwrap_or_default();
        let directory = base.join(directory).display().to_string();
        command.insert("directory".to_owned(), Value::String(directory));
    }
    if let Some(latent) = table.get_mut("latent").and_then(Value::as_table_mut) {
        let folder = base.join(super::latent::default_folder()).display().to_string();
        latent.entry("folder").or_insert(Value::String(folder));
    }
    if !table.contains_key("weights") {
        let weights = base.join(super::default_weights());
        table.insert("weights".to_owned(), Value::String(weights.display().to_string()));
    }
}

fn parse_table(text: &str, origin: &Path) -> Result<Table, StudyError> {
    text.parse()
        .map_err(|source| StudyError::ParseStudy { path: origin.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Overrides {
        let mut set = Overrides::default();
        set.set("data.path", Some("images"));
        set
    }

    #[test]
    fn options_are_laid_over_keys() {
        let mut set = images();
        set.set("prune.ratio", Some(0.5));
        set.set("unlearn.steps", None::<u64>);
        set.set_text("unlearn.optimization.batch_size = 7").unwrap();
        set.set_text("unlearn.method=retrain").unwrap();
        let config = StudyConfig::layered(Some(DatasetPreset::Cifar20), None, &set).unwrap();
        assert_eq!(config.prune.ratio.get(), 0.5);
        assert_eq!(config.unlearn.steps, 1000);
        assert_eq!(config.unlearn.method.to_string(), "retrain");
        let unlearn = config.unlearn_optimization();
        assert_eq!((unlearn.batch_size, unlearn.optimizer.clone()), (7, config.train.optimization.optimizer));
    }

    #[test]
    fn a_file_lies_between_preset_and_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "name = 'mine'\n[data]\npath = 'pictures'\n[train]\nsteps = 5\n").unwrap();
        let mut set = Overrides::default();
        set.set("train.checkpoint_every", Some(3u64));
        let config = StudyConfig::layered(Some(DatasetPreset::Cifar), Some(&file), &set).unwrap();
        assert_eq!(config.name, "mine");
        assert_eq!((config.train.steps, config.train.checkpoint_every), (5, 3));
        assert_eq!(config.data.path, folder.path().join("pictures"));
        assert_eq!(config.weights, folder.path().join("weights"));
        assert_eq!(config.data.resolution, 32);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = |set: &Overrides| {
            StudyConfig::layered(Some(DatasetPreset::Cifar), None, set).unwrap_err().to_string()
        };
        let mut set = images();
        set.set("train.stepz", Some(3));
        assert!(error(&set).contains("stepz"), "{}", error(&set));
        let mut set = images();
        set.set("prune.ratio", Some(1.5));
        assert!(error(&set).contains("1.5"), "{}", error(&set));
        let mut set = images();
        set.set("name.deep", Some(1));
        assert!(error(&set).contains("name.deep"), "{}", error(&set));
        assert!(error(&Overrides::default()).contains("path"));
        assert!(Overrides::default().set_text("no equals sign").is_err());
        let none = StudyConfig::layered(None, None, &Overrides::default()).unwrap_err().to_string();
        assert!(none.contains("--dataset"), "{none}");
    }
}
