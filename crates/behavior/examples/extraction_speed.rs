//! Seconds that feature extractors take for images of 32 px.
//!
//! ```text
//! cargo run --release -p behavior --example extraction_speed [IMAGES] [EXTRACTOR...] [EXTRACTOR=FILE...]
//! ```
//!
//! By default 256 images and both networks that ship, at 64 px and at their native size; an extractor is written `lite0_64px`, and
//! one that does not ship with its weights: `inception=pt_inception-2015-12-05-6726825d.pth`.

use std::path::Path;
use std::time::Instant;

use behavior::{BehaviorError, ExtractorSpec, FeatureExtractor, Samples, WeightFiles};
use burn::tensor::Device;

fn main() -> Result<(), BehaviorError> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(256);
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = ["squeezenet_64px", "squeezenet", "lite0_64px", "lite0"].map(String::from).to_vec();
    }
    let pixels: Vec<u8> = (0..count * 32 * 32 * 3).map(|i| ((i * i) >> 7) as u8).collect();
    let samples = Samples::new(&pixels, [count, 32, 32, 3])?;
    let weights = WeightFiles::shipped(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/weights"));
    for name in names {
        let (name, file) =
            name.split_once('=').map_or((name.as_str(), None), |(name, file)| (name, Some(file)));
        let spec: ExtractorSpec = name.parse()?;
        let extractor = match file {
            Some(file) => FeatureExtractor::load_file(spec, Path::new(file), &Device::flex())?,
            None => FeatureExtractor::load(spec, &weights, &Device::flex())?,
        };
        let start = Instant::now();
        extractor.extract(&samples, &mut |_, _| {})?;
        println!("{spec}: {:.2} s for {count} images", start.elapsed().as_secs_f64());
    }
    Ok(())
}
