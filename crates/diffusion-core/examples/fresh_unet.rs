//! Writes an untrained network as a diffusers folder.
//!
//! ```text
//! cargo run --release -p diffusion-core --example fresh_unet -- cifar models/fresh
//! python -c "from diffusers import UNet2DModel; print(UNet2DModel.from_pretrained('models/fresh'))"
//! ```

use std::error::Error;
use std::path::Path;

use diffusion_core::{UNet2DConfig, model_folder, unet};
use streams::Streams;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, folder] = arguments.as_slice() else {
        return Err("usage: fresh_unet cifar|celeba_latent|mnist|small FOLDER".into());
    };
    let config = match preset.as_str() {
        "cifar" => UNet2DConfig::cifar(),
        "celeba_latent" => UNet2DConfig::celeba_latent(),
        "mnist" => UNet2DConfig::mnist(),
        "small" => UNet2DConfig::small(16, &[16, 32, 32]),
        other => {
            return Err(
                format!("there is no preset `{other}`; use cifar, celeba_latent, mnist or small").into()
            );
        }
    };
    let weights = unet::initial_weights(&config, &Streams::new(0))?;
    model_folder::write(Path::new(folder), &config, &weights, None)?;
    println!(
        "{} parameters, {} multiply-accumulates an image, hash {}",
        weights.parameter_count(),
        unet::macs(&config, config.sample_size, config.sample_size)?,
        model_folder::model_hash(&config, &weights)
    );
    Ok(())
}
