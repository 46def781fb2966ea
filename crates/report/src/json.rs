//! `report.json` and its schema.

use schemars::generate::SchemaSettings;

use crate::{ReportData, ReportError};

/// The JSON schema (draft 2020-12) of `report.json`; the file `schema/report.schema.json` of this crate is a copy.
pub fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<ReportData>().to_value()
}

/// `report.json`: the checked data without the bytes of pictures, indented, with a line break at the end.
///
/// # Errors
/// [`ReportError::Invalid`] if the data contradict themselves.
pub fn render_json(data: &ReportData) -> Result<String, ReportError> {
    data.validate()?;
    let mut text = serde_json::to_string_pretty(data)?;
    text.push('\n');
    Ok(text)
}
