//! Records of one setting: those of a study that was changed and started again stand in one folder with those before.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Record, RunId};
use study::{SettingDifference, StudyConfig, differences_from_study, run_settings, setting_differences};
use terminal::usage;

/// How records of one kind are chosen.
pub struct Choice<'a> {
    /// What they are, for messages: `training`, `test`.
    pub what: &'static str,
    /// The study that they come from, if it is known.
    pub study: Option<&'a StudyConfig>,
    /// The runs that the study's last start asked for.
    pub planned: &'a BTreeSet<RunId>,
    /// Settings asked for on the command line.
    pub conditions: &'a [(String, String)],
}

impl Choice<'_> {
    /// The records whose settings are those asked for, else those of the study file, else those that the study's last start
    /// asked for. What was left out is noted.
    ///
    /// # Errors
    /// If none or several settings are left, naming what differs.
    pub fn of_one_setting(
        &self,
        records: Vec<Record>,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Vec<Record>> {
        let records = self.asked_for(records)?;
        let records = self.of_study(records, notes)?;
        let mut groups: BTreeMap<BTreeMap<String, String>, Vec<Record>> = BTreeMap::new();
        for record in records {
            groups.entry(run_settings(record.key())).or_default().push(record);
        }
        if groups.len() > 1 {
            let is_planned = |records: &Vec<Record>| records.iter().any(|r| self.planned.contains(&r.id()));
            let planned: Vec<_> = groups.iter().filter(|(_, records)| is_planned(records)).collect();
            let [(settings, records)] = planned.as_slice() else { return Err(self.ambiguous(&groups)) };
            let (settings, records) = ((*settings).clone(), (*records).clone());
            for (other, left_out) in groups.iter().filter(|(other, _)| **other != settings) {
                let differences = setting_differences(other, &settings);
                notes.push(self.left_out(left_out.len(), &differences, "the study's last start"));
            }
            return Ok(records);
        }
        Ok(groups.into_values().next().unwrap_or_default())
    }

    fn asked_for(&self, mut records: Vec<Record>) -> anyhow::Result<Vec<Record>> {
        for (name, value) in self.conditions {
            let values: BTreeSet<String> = records
                .iter()
                .map(|record| run_settings(record.key()).remove(name).unwrap_or_else(|| "none".to_owned()))
                .collect();
            let holds = |record: &Record| {
                let found = run_settings(record.key()).remove(name).unwrap_or_else(|| "none".to_owned());
                let numbers = found.parse::<f64>().ok().zip(value.parse::<f64>().ok());
                found == *value || numbers.is_some_and(|(found, value)| found == value)
            };
            records.retain(holds);
            if records.is_empty() {
                return Err(usage(format!(
                    "no {} record has {name} = {value}; there are {}",
                    self.what,
                    values.into_iter().collect::<Vec<_>>().join(", ")
                )));
            }
        }
        Ok(records)
    }

    /// Those that the study file asks for, if there are any.
    fn of_study(&self, records: Vec<Record>, notes: &mut Vec<String>) -> anyhow::Result<Vec<Record>> {
        let Some(study) = self.study else { return Ok(records) };
        // What the command line asks for comes before what the file says.
        let asked: BTreeSet<&str> = self.conditions.iter().map(|(name, _)| name.as_str()).collect();
        let (mut same, mut others) = (Vec::new(), BTreeMap::<Vec<SettingDifference>, usize>::new());
        for record in records.iter() {
            let mut differences = differences_from_study(study, record)?;
            differences.retain(|difference| !asked.contains(difference.setting.as_str()));
            match differences.is_empty() {
                true => same.push(record.clone()),
                false => *others.entry(differences).or_default() += 1,
            }
        }
        if same.is_empty() {
            if let Some((differences, _)) = others.iter().next() {
                notes.push(format!(
                    "no {} record has the settings of the study file ({}); those that there are are used",
                    self.what,
                    words(differences, "in the study file")
                ));
            }
            return Ok(records);
        }
        for (differences, count) in &others {
            notes.push(self.left_out(*count, differences, "the study file"));
        }
        Ok(same)
    }

    fn left_out(&self, count: usize, differences: &[SettingDifference], by: &str) -> String {
        format!(
            "{count} {} record{} of other settings than {by}'s {} left out: {}",
            self.what,
            if count == 1 { "" } else { "s" },
            if count == 1 { "is" } else { "are" },
            words(differences, "there")
        )
    }

    fn ambiguous(&self, groups: &BTreeMap<BTreeMap<String, String>, Vec<Record>>) -> anyhow::Error {
        let mut values: BTreeMap<&String, BTreeMap<String, usize>> = BTreeMap::new();
        let names: BTreeSet<&String> = groups.keys().flat_map(BTreeMap::keys).collect();
        for name in names {
            for (settings, records) in groups {
                let value = settings.get(name).cloned().unwrap_or_else(|| "none".to_owned());
                *values.entry(name).or_default().entry(value).or_default() += records.len();
            }
        }
        let differing: Vec<String> = values
            .iter()
            .filter(|(_, values)| values.len() > 1)
            .map(|(name, values)| {
                let counts = values.iter().map(|(value, count)| format!("{value} ({count} records)"));
                format!("{name} is {}", counts.collect::<Vec<_>>().join(" or "))
            })
            .collect();
        let option = if self.what == "test" { "--test-where" } else { "--where" };
        usage(format!(
            "the {} records are of {} different settings, which must not be mixed: {}; choose with {option} NAME=VALUE",
            self.what,
            groups.len(),
            differing.join("; ")
        ))
    }
}

fn words(differences: &[SettingDifference], there: &str) -> String {
    let each = |d: &SettingDifference| format!("{} is {}, {there} {}", d.setting, d.one, d.other);
    differences.iter().map(each).collect::<Vec<_>>().join("; ")
}
