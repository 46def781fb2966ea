//! Writes a report of invented numbers: `cargo run -p report --example sample_report -- sample.html`.
//!
//! It shows what every part of the page looks like; nothing in it was measured.

mod sample;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of the HTML file to write")?;
    std::fs::write(path, report::render_html(&sample::sample()?)?)?;
    Ok(())
}
