//! Prints the JSON schema of `report.json`; run it from this crate's folder to bring the committed copy up to date:
//! `cargo run -p report --example schema > schema/report.schema.json`.

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string_pretty(&report::schema())?);
    Ok(())
}
