//! Projected gradients of sets of images.

use std::ops::ControlFlow;

use diffusion_core::samplers::planar_values;
use diffusion_core::{Denoiser, NoiseSchedule};
use ndarray::{Array2, s};
use streams::{Streams, standard_normal};

use crate::{GradientModel, InfluenceError, NoisyImages, Projection, Target};

/// Values of gradients that are held before they are projected, at most, unless those of one pass are more: 128 MiB.
const HELD_GRADIENTS: usize = 32 << 20;
/// Images whose gradients are projected together, at most: more do not make the matrix cheaper.
const HELD_IMAGES: usize = 64;

/// Clean images to be noised, with values in [-1, 1].
#[derive(Debug, Clone)]
pub struct CleanImages {
    /// Row-major `[images, versions, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// Versions of an image: 1, or one for each timestep.
    pub versions: usize,
    /// Number of each image in its set, which fixes its noise.
    pub numbers: Vec<u64>,
}

impl CleanImages {
    /// 8-bit images `[images, height, width, channels]` as they are trained on: in [-1, 1], numbered by `numbers`.
    ///
    /// # Errors
    /// [`InfluenceError::Mismatch`] if the bytes are not those of `numbers.len()` images of `shape` `[channels, height,
    /// width]`.
    pub fn from_bytes(bytes: &[u8], shape: [usize; 3], numbers: Vec<u64>) -> Result<Self, InfluenceError> {
        let expected = numbers.len() * shape.iter().product::<usize>();
        if bytes.len() != expected {
            return Err(InfluenceError::Mismatch { what: "bytes of images", expected, found: bytes.len() });
        }
        Ok(Self { pixels: planar_values(bytes, shape), versions: 1, numbers })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

/// K timesteps evenly over 0..T: floor(k T / K) for k = 0..K.
pub fn even_timesteps(train_timesteps: usize, count: usize) -> Vec<usize> {
    (0..count).map(|k| k * train_timesteps / count).collect()
}

/// The projected gradient of each image, `[images, dimension]`: of the mean of the target over `timesteps`, with the noise
/// of image number i at timestep t from stream (`influence noise`, i T + t).
///
/// As many noisy images as fit `batch_size` go through the network at once: the timesteps of one image together, where
/// they fit, and of several images. The results depend on it by rounding alone. `progress` is told the finished noisy
/// images after each pass, and may break off.
///
/// # Errors
/// [`InfluenceError::Empty`] without images or timesteps; [`InfluenceError::Mismatch`] for images of another size;
/// [`InfluenceError::NotFinite`]; [`InfluenceError::Stopped`].
#[allow(clippy::too_many_arguments)]
pub fn gradient_features<M: Denoiser>(
    model: &GradientModel<M>,
    projection: &Projection,
    images: &CleanImages,
    target: Target,
    timesteps: &[usize],
    batch_size: usize,
    schedule: &NoiseSchedule,
    streams: &Streams,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Array2<f64>, InfluenceError> {
    if images.is_empty() || timesteps.is_empty() {
        let what = if images.is_empty() { "images" } else { "timesteps" };
        return Err(InfluenceError::Empty { what });
    }
    let size: usize = model.sample_shape().iter().product();
    let expected = images.len() * images.versions * size;
    if images.pixels.len() != expected || !(images.versions == 1 || images.versions == timesteps.len()) {
        let (what, found) = ("values of images for this model", images.pixels.len());
        return Err(InfluenceError::Mismatch { what, expected, found });
    }
    let group = timesteps.len().min(batch_size.max(1));
    let together = (batch_size / group).max(1);
    let mean = 1.0 / timesteps.len() as f64;
    let (offsets, parameters) = offsets(model);
    // Whole passes, so that the projection's matrix is made once for many images.
    let held = (HELD_GRADIENTS / parameters).min(HELD_IMAGES) / together * together;
    let held = held.max(together).min(images.len());
    let mut gradients = Array2::<f32>::zeros((held, parameters));
    let mut features = Array2::zeros((images.len(), projection.dimension()));
    let mut done = 0;
    for block in (0..images.len()).step_by(held) {
        let count = held.min(images.len() - block);
        gradients.fill(0.0);
        for row in (0..count).step_by(together) {
            let of_pass = together.min(count - row);
            for (part, times) in timesteps.chunks(group).enumerate() {
                let (first, first_time) = (block + row, part * group);
                let pass = Pass { images, first, count: of_pass, times, first_time, size };
                pass.run(schedule, streams, |noisy| {
                    model.for_each_layer(noisy, target, mean, &mut |place, values| {
                        let columns = offsets[place]..offsets[place] + values.ncols();
                        let mut sums = gradients.slice_mut(s![row..row + of_pass, columns]);
                        sums += &values;
                        Ok(())
                    })
                })?;
                done += of_pass * times.len();
                if progress(done).is_break() {
                    return Err(InfluenceError::Stopped);
                }
            }
        }
        let mut projected = features.slice_mut(s![block..block + count, ..]);
        for (place, info) in model.parameters().iter().enumerate() {
            let columns = offsets[place]..offsets[place] + info.len();
            projection.add(place, gradients.slice(s![..count, columns]), &mut projected)?;
        }
    }
    Ok(features)
}

/// Where each parameter's values begin among all, and their number.
fn offsets<M: Denoiser>(model: &GradientModel<M>) -> (Vec<usize>, usize) {
    let mut offsets = Vec::with_capacity(model.parameters().len());
    let mut end = 0;
    for info in model.parameters() {
        offsets.push(end);
        end += info.len();
    }
    (offsets, end.max(1))
}

/// Some timesteps of some images.
struct Pass<'a> {
    images: &'a CleanImages,
    first: usize,
    count: usize,
    times: &'a [usize],
    /// Place of `times` among all timesteps.
    first_time: usize,
    /// Values of an image.
    size: usize,
}

impl Pass<'_> {
    fn run(
        &self,
        schedule: &NoiseSchedule,
        streams: &Streams,
        work: impl FnOnce(&NoisyImages<'_>) -> Result<(), InfluenceError>,
    ) -> Result<(), InfluenceError> {
        let values = self.count * self.times.len() * self.size;
        let (mut clean, mut noise) = (Vec::with_capacity(values), Vec::with_capacity(values));
        let mut timesteps = Vec::with_capacity(self.count * self.times.len());
        for image in self.first..self.first + self.count {
            for (k, &time) in self.times.iter().enumerate() {
                let version = if self.images.versions == 1 { 0 } else { self.first_time + k };
                let start = (image * self.images.versions + version) * self.size;
                clean.extend_from_slice(&self.images.pixels[start..start + self.size]);
                let index = self.images.numbers[image] * schedule.timesteps() as u64 + time as u64;
                noise.extend(standard_normal(&mut streams.rng("influence noise", index), self.size));
                timesteps.push(time);
            }
        }
        let noisy = schedule.add_noise(&clean, &noise, &timesteps)?;
        work(&NoisyImages { noisy: &noisy, noise: &noise, timesteps: &timesteps, images: self.count })
    }
}

#[cfg(test)]
mod tests {
    use diffusion_core::{Device, NoiseScheduleConfig, UNet2DConfig, UNet2DModel};

    use super::*;
    use crate::ProjectionKind;

    #[test]
    fn timesteps_are_even_and_pixels_as_in_training() {
        assert_eq!(even_timesteps(1000, 4), [0, 250, 500, 750]);
        assert_eq!(even_timesteps(10, 3), [0, 3, 6]);
        assert_eq!(even_timesteps(3, 3), [0, 1, 2]);
        let images = CleanImages::from_bytes(&[0, 255, 255, 0], [2, 1, 2], vec![9]).unwrap();
        assert_eq!(images.pixels, [-1.0, 1.0, 1.0, -1.0]);
        assert!(CleanImages::from_bytes(&[0; 5], [2, 1, 2], vec![9]).is_err());
    }

    #[test]
    fn the_batch_size_changes_rounding_alone() {
        let model =
            UNet2DModel::new(&UNet2DConfig::small(8, &[8, 8]), &Device::flex(), &Streams::new(1)).unwrap();
        let model = GradientModel::new(&model).unwrap();
        let schedule = NoiseScheduleConfig::default().build().unwrap();
        let streams = Streams::new(2);
        let tensors: Vec<(&str, usize)> =
            model.parameters().iter().map(|info| (info.name.as_str(), info.len())).collect();
        let projection = Projection::new(ProjectionKind::Rademacher, 32, tensors, &streams).unwrap();
        let pixels = standard_normal(&mut streams.rng("pixels", 0), 3 * 192);
        let images = CleanImages { pixels, versions: 1, numbers: vec![4, 0, 7] };
        let features = |batch_size| {
            let mut told = Vec::new();
            let features = gradient_features(
                &model,
                &projection,
                &images,
                Target::Loss,
                &even_timesteps(1000, 4),
                batch_size,
                &schedule,
                &streams,
                &mut |done| {
                    told.push(done);
                    ControlFlow::Continue(())
                },
            );
            assert_eq!(told.last(), Some(&12));
            features.unwrap()
        };
        let reference = features(12);
        let largest = reference.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for batch_size in [1, 3, 8] {
            for (a, b) in features(batch_size).iter().zip(&reference) {
                assert!((a - b).abs() < 1e-5 * largest, "{batch_size}: {a} {b}");
            }
        }
        let stopped = gradient_features(
            &model,
            &projection,
            &images,
            Target::Loss,
            &[5],
            1,
            &schedule,
            &streams,
            &mut |_| ControlFlow::Break(()),
        );
        assert!(matches!(stopped, Err(InfluenceError::Stopped)));
        let none = gradient_features(
            &model,
            &projection,
            &images,
            Target::Loss,
            &[],
            1,
            &schedule,
            &streams,
            &mut |_| ControlFlow::Continue(()),
        );
        assert!(none.unwrap_err().to_string().contains("timesteps"));
        let damaged = CleanImages { pixels: vec![f32::NAN; 192], versions: 1, numbers: vec![0] };
        let damaged = gradient_features(
            &model,
            &projection,
            &damaged,
            Target::Loss,
            &[5],
            1,
            &schedule,
            &streams,
            &mut |_| ControlFlow::Continue(()),
        );
        assert!(damaged.unwrap_err().to_string().contains("NaN"));
    }
}
