//! Large images in overlapping tiles, so that memory does not grow with the image.

use burn::tensor::{Tensor, TensorData};

use super::model::Autoencoder;
use crate::DiffusionError;
use crate::parameters::{module_device, to_vec};

/// The share of a tile that it has in common with the next one: diffusers' `tile_overlap_factor`.
const OVERLAP: f64 = 0.25;

/// A batch of feature maps on the host.
struct Maps {
    values: Vec<f32>,
    /// `[batch, channels, height, width]`
    shape: [usize; 4],
}

impl Maps {
    /// The start of each row of pixels, by image and channel: `at(plane, y)`.
    fn at(&self, plane: usize, y: usize) -> usize {
        (plane * self.shape[2] + y) * self.shape[3]
    }

    fn planes(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

impl Autoencoder {
    /// Side of a tile of latents, and of the image that it decodes to: those of the image size that the autoencoder was made for.
    fn tile_sides(&self) -> (usize, usize) {
        let side = self.config().sample_size;
        (side / self.config().factor(), side)
    }

    /// As [`decode`](Self::decode), tile by tile where the latents are larger than those of the image size that the autoencoder
    /// was made for. Tiles overlap by a quarter and are blended linearly there, as by diffusers' `AutoencoderKL.tiled_decode`.
    /// The image is not exactly that of decoding at once: group norms and attention see one tile at a time.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); [`DiffusionError::Setting`] if the `sample_size` of the autoencoder is too small for tiles.
    pub fn decode_tiled(&self, latents: Tensor<4>) -> Result<Tensor<4>, DiffusionError> {
        let (latent, sample) = self.tile_sides();
        let [_, _, height, width] = latents.dims();
        if height <= latent && width <= latent {
            return self.decode(latents);
        }
        self.tiled(latents, latent, sample, |tile| self.decode(tile))
    }

    /// As [`encode`](Self::encode), tile by tile where the images are larger than the autoencoder was made for.
    ///
    /// # Errors
    /// As [`decode_tiled`](Self::decode_tiled).
    pub fn encode_tiled(&self, images: Tensor<4>) -> Result<Tensor<4>, DiffusionError> {
        let (latent, sample) = self.tile_sides();
        let [_, _, height, width] = images.dims();
        if height <= sample && width <= sample {
            return Ok(self.encode(images));
        }
        self.tiled(images, sample, latent, |tile| Ok(self.encode(tile)))
    }

    /// Maps tiles of side `from` to tiles of side `to` and joins them.
    fn tiled(
        &self,
        x: Tensor<4>,
        from: usize,
        to: usize,
        map: impl Fn(Tensor<4>) -> Result<Tensor<4>, DiffusionError>,
    ) -> Result<Tensor<4>, DiffusionError> {
        let device = module_device(self)?;
        let step = (from as f64 * (1.0 - OVERLAP)) as usize;
        let blend = (to as f64 * OVERLAP) as usize;
        let limit = to - blend;
        if step == 0 || step * to != limit * from {
            return Err(DiffusionError::setting(
                "sample_size",
                format!(
                    "of the autoencoder gives tiles of {from} and {to}, which cannot overlap by a quarter"
                ),
            ));
        }
        let [batch, _, height, width] = x.dims();
        let mut joined: Option<Maps> = None;
        let (out_height, out_width) = (height * to / from, width * to / from);
        let mut above: Vec<Maps> = Vec::new();
        for (i, top) in (0..height).step_by(step).enumerate() {
            let mut row: Vec<Maps> = Vec::new();
            for (j, left) in (0..width).step_by(step).enumerate() {
                let tile = x.clone().narrow(2, top, from.min(height - top));
                let mapped = map(tile.narrow(3, left, from.min(width - left)))?;
                let shape = mapped.dims();
                let mut tile = Maps { values: to_vec(mapped)?, shape };
                if let Some(upper) = above.get(j) {
                    blend_down(upper, &mut tile, blend);
                }
                if let Some(neighbour) = row.last() {
                    blend_right(neighbour, &mut tile, blend);
                }
                let whole = joined.get_or_insert_with(|| {
                    let shape = [batch, shape[1], out_height, out_width];
                    Maps { values: vec![0.0; shape.iter().product()], shape }
                });
                put(whole, &tile, i * limit, j * limit, limit);
                row.push(tile);
            }
            above = row;
        }
        // There is a first tile, since there is a first pixel.
        let Maps { values, shape } = joined.ok_or_else(|| DiffusionError::InputShape {
            what: "the image",
            expected: "at least one pixel".to_owned(),
            actual: vec![height, width],
        })?;
        Ok(Tensor::from_data(TensorData::new(values, shape), &device))
    }
}

/// Copies the upper left square of at most `limit` pixels a side of a tile to a place of the whole.
fn put(whole: &mut Maps, tile: &Maps, top: usize, left: usize, limit: usize) {
    let rows = tile.shape[2].min(limit).min(whole.shape[2].saturating_sub(top));
    let columns = tile.shape[3].min(limit).min(whole.shape[3].saturating_sub(left));
    for plane in 0..tile.planes() {
        for y in 0..rows {
            let (from, to) = (tile.at(plane, y), whole.at(plane, top + y) + left);
            whole.values[to..to + columns].copy_from_slice(&tile.values[from..from + columns]);
        }
    }
}

/// Blends the first rows of a tile with the last ones of the tile above it.
fn blend_down(upper: &Maps, tile: &mut Maps, extent: usize) {
    let extent = extent.min(upper.shape[2]).min(tile.shape[2]);
    for plane in 0..tile.planes() {
        for y in 0..extent {
            let share = (y as f64 / extent as f64) as f32;
            let (from, to) = (upper.at(plane, upper.shape[2] - extent + y), tile.at(plane, y));
            for x in 0..tile.shape[3] {
                let mixed = upper.values[from + x] * (1.0 - share) + tile.values[to + x] * share;
                tile.values[to + x] = mixed;
            }
        }
    }
}

/// Blends the first columns of a tile with the last ones of the tile to its left.
fn blend_right(neighbour: &Maps, tile: &mut Maps, extent: usize) {
    let extent = extent.min(neighbour.shape[3]).min(tile.shape[3]);
    for plane in 0..tile.planes() {
        for y in 0..tile.shape[2] {
            let (from, to) = (neighbour.at(plane, y) + neighbour.shape[3] - extent, tile.at(plane, y));
            for x in 0..extent {
                let share = (x as f64 / extent as f64) as f32;
                tile.values[to + x] =
                    neighbour.values[from + x] * (1.0 - share) + tile.values[to + x] * share;
            }
        }
    }
}
