//! Seconds that each feature extractor takes for 256 images of 32 px, at 64 px and at its native size.
//!
//! ```text
//! cargo run --release -p behavior --example extraction_speed [IMAGES]
//! ```

use std::path::Path;
use std::time::Instant;

use behavior::{BehaviorError, ExtractorNetwork, ExtractorSpec, FeatureExtractor, Samples};
use burn::tensor::Device;

fn main() -> Result<(), BehaviorError> {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(256);
    let pixels: Vec<u8> = (0..count * 32 * 32 * 3).map(|i| ((i * i) >> 7) as u8).collect();
    let samples = Samples::new(&pixels, [count, 32, 32, 3])?;
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/weights");
    for network in ExtractorNetwork::ALL {
        for size in [64, network.native_size()] {
            let spec = ExtractorSpec::at(network, size)?;
            let extractor = FeatureExtractor::load(spec, &weights, &Device::flex())?;
            let start = Instant::now();
            extractor.extract(&samples, &mut |_, _| {})?;
            println!("{spec} at {size} px: {:.2} s for {count} images", start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
