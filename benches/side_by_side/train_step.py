"""One train step of diffusers' UNet2DModel on the CPU, on the weights of a Tribute model folder.

    cargo run --release -p diffusion-core --example fresh_unet -- small target/small
    python benches/side_by_side/train_step.py target/small --batch 32 --threads 2

needs torch and diffusers. The step is the one of `cargo bench -p diffusion-core --bench train_step`: mean squared error
of the predicted noise, gradients clipped to norm 1, Adam. Without a folder the network is `demo` or `medium` of that
bench, freshly initialised by PyTorch.
"""

import argparse
import time

import torch
from diffusers import UNet2DModel

PRESETS = {
    "demo": dict(sample_size=16, block_out_channels=(16, 32, 32), layers_per_block=1, norm_num_groups=8, attention=()),
    "medium": dict(sample_size=32, block_out_channels=(64, 128, 128), layers_per_block=2, norm_num_groups=32, attention=(1,)),
}


def preset(name):
    settings = dict(PRESETS[name])
    attention = settings.pop("attention")
    levels = len(settings["block_out_channels"])
    kinds = ["Attn" if level in attention else "" for level in range(levels)]
    return UNet2DModel(
        in_channels=3,
        out_channels=3,
        attention_head_dim=None,
        down_block_types=[f"{kind}DownBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(kinds)],
        **settings,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder, or " + " or ".join(PRESETS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.model in PRESETS:
        model = preset(arguments.model)
    else:
        model = UNet2DModel.from_pretrained(arguments.model)
    model.train()
    side, channels = model.config.sample_size, model.config.in_channels
    noisy = torch.randn(arguments.batch, channels, side, side)
    noise = torch.randn_like(noisy)
    timesteps = torch.randint(0, 1000, (arguments.batch,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(noisy, timesteps).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(3):
        step()
    times = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times.sort()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"torch {torch.__version__}, {arguments.threads} threads, {parameters} parameters, batch {arguments.batch}: "
        f"median {times[len(times) // 2] * 1e3:.1f} ms, fastest {times[0] * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
