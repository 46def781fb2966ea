//! The distribution of a latent.

use burn::tensor::Tensor;

/// Independent normal distributions, one for each number of a batch of latents.
#[derive(Debug, Clone)]
pub struct DiagonalGaussian {
    /// `[batch, channels, height, width]`
    pub mean: Tensor<4>,
    /// Logarithm of the variance, limited to -30..=20; of `mean`'s shape.
    pub log_variance: Tensor<4>,
}

impl DiagonalGaussian {
    /// From the encoder's output, `[batch, 2 channels, height, width]`: means, then logarithms of variances.
    pub(super) fn from_moments(moments: Tensor<4>) -> Self {
        let channels = moments.dims()[1] / 2;
        let mean = moments.clone().narrow(1, 0, channels);
        let log_variance = moments.narrow(1, channels, channels).clamp(-30.0, 20.0);
        Self { mean, log_variance }
    }

    /// mean + exp(log_variance / 2) * noise, for standard normal `noise` of the mean's shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }

    /// The Kullback-Leibler divergence from a standard normal distribution of each image, `[batch]`:
    /// sum (mean^2 + variance - 1 - log variance) / 2.
    pub fn divergence(&self) -> Tensor<1> {
        let terms =
            self.mean.clone().square() + self.log_variance.clone().exp() - 1.0 - self.log_variance.clone();
        let batch = terms.dims()[0];
        (terms * 0.5).reshape([batch as i32, -1]).sum_dim(1).reshape([batch])
    }
}
