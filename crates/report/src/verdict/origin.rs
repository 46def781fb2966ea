//! How was it made?

use crate::ReportData;
use crate::format::counted;

pub(super) fn sentence(data: &ReportData) -> String {
    let header = &data.header;
    let failures = match data.provenance.failures.len() as u64 {
        0 => "no run failed".to_owned(),
        n => format!("{} failed and are missing here", counted(n, "run"))
            .replace("1 run failed and are", "1 run failed and is"),
    };
    format!(
        "From {} of \u{201c}{}\u{201d} with Tribute {} on {}; {} on file, {failures}. Every setting, seed and hash is below.",
        counted(header.dataset.images, "image"),
        header.dataset.name,
        header.tool_version,
        header.device,
        counted(data.provenance.records, "record"),
    )
}
