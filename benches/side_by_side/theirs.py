"""The other side of the comparison: the same work by PyTorch, diffusers, Torch-Pruning, NumPy, SciPy and scikit-learn.

`run.py` starts it and writes one JSON object a line, as it does for `ours`:

* `{"do": "make", ...}` makes data that our side reads;
* `{"do": "prepare", "work": ..., "folder": ..., "other": what our side answered, "setting": ...}` does the work once,
  answers with the largest difference of the results, and finds PyTorch's fastest setting unless one is given;
* `{"do": "run"}` does the work once more and answers `{"seconds": ...}`.

`theirs.py steps FOLDER BATCH COUNT` instead does a few training steps and ends: for peak memory.
"""

import copy
import gc
import json
import pathlib
import sys
import time
import warnings

warnings.filterwarnings("ignore")

SETTINGS = ("plain", "channels_last", "compiled", "compiled, channels_last")


# ---- networks


def load(folder, prune=None):
    from diffusers import UNet2DModel

    model = UNet2DModel.from_pretrained(folder / "model", low_cpu_mem_usage=False)
    if prune is not None:
        pruned(model, prune)
    return model


def pruned(model, ratio):
    """Torch-Pruning in place, graph included."""
    import torch
    import torch_pruning
    from diffusers.models.attention_processor import Attention, AttnProcessor

    size = model.config.sample_size
    heads = {}
    for module in model.modules():
        if isinstance(module, Attention):
            # Scores stay divided by the root of the unpruned width, as in the reference.
            module.set_processor(AttnProcessor())
            for projection in (module.to_q, module.to_k, module.to_v):
                heads[projection] = module.heads
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        {"sample": torch.zeros(1, model.config.in_channels, size, size), "timestep": torch.ones((1,)).long()},
        importance=torch_pruning.importance.MagnitudeImportance(p=2, group_reduction="mean"),
        out_channel_groups=heads,
        pruning_ratio=ratio,
        ignored_layers=[model.conv_out],
    )
    pruner.step()
    for module in model.modules():
        if type(module).__name__ in ("Upsample2D", "Downsample2D"):
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels


class Training:
    """The step of `diffusion_core::training::Trainer`: noise, loss, clipping, Adam, average."""

    def __init__(self, model, images, options, setting):
        import torch
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

        optimizer, ema = options["optimizer"], options["ema"]
        self.torch = torch
        self.model = model.train()
        self.images = images
        if "channels_last" in setting:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = images.to(memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if "compiled" in setting else self.model
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=optimizer["learning_rate"],
            betas=(optimizer["beta1"], optimizer["beta2"]), eps=optimizer["epsilon"], fused=True,
        )
        self.ema = EMAModel(
            self.model.parameters(), decay=ema["max_decay"], use_ema_warmup=True,
            inv_gamma=ema["inv_gamma"], power=ema["power"], foreach=True,
        )
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        self.max_norm = options["max_grad_norm"]

    def step(self, noise=None, timesteps=None):
        torch = self.torch
        if noise is None:
            noise = torch.randn_like(self.images)
            timesteps = torch.randint(0, 1000, (len(self.images),))
        noisy = self.scheduler.add_noise(self.images, noise, timesteps)
        loss = torch.nn.functional.mse_loss(self.forward(noisy, timesteps).sample, noise)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self.optimizer.step()
        self.ema.step(self.model.parameters())
        return loss.item(), norm.item()


def fastest(candidates, make, repetitions=3):
    """The fastest of the settings that work, by the best of a few runs, and what each took."""
    times = {}
    for setting in candidates:
        try:
            work = make(setting)
            work()
            best = float("inf")
            for _ in range(repetitions):
                start = time.perf_counter()
                work()
                best = min(best, time.perf_counter() - start)
            times[setting] = best
        except Exception as error:  # a setting that does not work here is not the best one
            times[setting] = f"failed: {type(error).__name__}"
        work = None
        gc.collect()
    working = {setting: value for setting, value in times.items() if isinstance(value, float)}
    return min(working, key=working.get), times


def relative(left, right):
    return abs(left - right) / max(abs(right), 1e-30)


def train(work, folder, other, setting):
    import torch
    from safetensors.torch import load_file

    arrays = load_file(folder / "batches.safetensors")
    base = load(folder, other["prune"])

    def make(name):
        return Training(copy.deepcopy(base), arrays["images"], other["training"], name)

    def timed(name):
        training = make(name)
        return training.step

    checked = make("plain")
    difference = 0.0
    for step, expected in enumerate(other["check"]):
        loss, norm = checked.step(arrays[f"noise{step}"], arrays[f"timesteps{step}"].long())
        difference = max(difference, relative(loss, expected["loss"]), relative(norm, expected["norm"]))
    del checked
    setting, times = (setting, None) if isinstance(setting, str) else fastest(setting, timed)
    step = timed(setting)
    step()
    return step, {"difference": difference, "tolerance": 2e-4, "setting": setting, "times": times}


def sample(work, folder, other, setting):
    import torch
    from diffusers import DDIMScheduler
    from safetensors.torch import load_file

    arrays = load_file(folder / "samples.safetensors")
    base = load(folder).eval()
    scheduler = DDIMScheduler(num_train_timesteps=1000)

    def make(name, steps=work["steps"]):
        model, noise = base, arrays["noise"]
        if "channels_last" in name:
            model = copy.deepcopy(base).to(memory_format=torch.channels_last)
            noise = noise.to(memory_format=torch.channels_last)
        forward = torch.compile(model) if "compiled" in name else model

        def run():
            images = noise
            scheduler.set_timesteps(steps)
            with torch.inference_mode():
                for timestep in scheduler.timesteps:
                    images = scheduler.step(forward(images, timestep).sample, timestep, images).prev_sample
            return images

        return run

    difference = (make("plain", other["compared"])() - arrays["images"]).abs().max().item()
    setting, times = (setting, None) if isinstance(setting, str) else fastest(setting, make, 2)
    run = make(setting)
    run()
    return run, {"difference": difference, "tolerance": 1e-3, "setting": setting, "times": times}


def prune(work, folder, other, setting):
    from safetensors.torch import load_file

    base = load(folder)
    expected = load_file(folder / "pruned.safetensors")
    model = copy.deepcopy(base)
    pruned(model, work["ratio"])
    found = model.state_dict()
    if found.keys() != expected.keys() or any(found[name].shape != expected[name].shape for name in found):
        raise ValueError("Torch-Pruning kept other widths")
    difference = max((found[name] - expected[name]).abs().max().item() for name in found)

    models = [copy.deepcopy(base) for _ in range(work.get("copies", 8))]

    def run():
        # The copy was made before: only pruning is timed.
        pruned(models.pop(), work["ratio"])

    return run, {"difference": difference, "tolerance": 0.0, "setting": ""}


def gemm(work, folder, other, setting):
    import torch

    left, right = torch.randn(2, work["size"], work["size"])
    return (lambda: torch.mm(left, right)), {"difference": 0.0, "tolerance": 0.0, "setting": ""}


# ---- statistics


def table(folder, n, name=""):
    import numpy

    masks = numpy.fromfile(folder / f"{name}masks.u8", numpy.uint8).reshape(-1, n).astype(numpy.float64)
    return masks, numpy.fromfile(folder / f"{name}utilities.f64", numpy.float64)


def kernel_shap(work, folder, other, setting):
    import numpy

    masks, utilities = table(folder, other["n"])
    full, none = other["full"], other["none"]

    def run():
        count, n = masks.shape
        gram = masks.T @ masks / count
        target = masks.T @ (utilities - none) / count
        inverse = numpy.linalg.inv(gram)
        ones = numpy.ones(n)
        image = inverse @ ones
        values = inverse @ target
        values -= image * (values.sum() - (full - none)) / image.sum()
        if not work["intervals"]:
            return values, None
        # HC3 sandwich with the inverse under the constraint.
        inverse -= numpy.outer(image, image) / image.sum()
        projected = masks @ inverse
        leverage = (projected * masks).sum(1) / count
        residual = (utilities - none - masks @ values) / (1 - leverage) / count
        return values, numpy.sqrt((projected**2).T @ residual**2)

    values, errors = run()
    difference = numpy.abs(values - numpy.array(other["values"])).max()
    if errors is not None:
        difference = max(difference, numpy.abs(errors / numpy.array(other["errors"]) - 1).max())
    return run, {"difference": float(difference), "tolerance": 1e-8, "setting": ""}


def ridge_cv(work, folder, other, setting):
    import numpy
    from sklearn.linear_model import RidgeCV

    masks, utilities = table(folder, other["n"])

    def run():
        return RidgeCV(alphas=other["alphas"]).fit(masks, utilities)

    fit = run()
    difference = max(numpy.abs(fit.coef_ - numpy.array(other["values"])).max(), abs(fit.alpha_ - other["alpha"]))
    return run, {"difference": float(difference), "tolerance": 1e-8, "setting": ""}


def bootstrap(work, folder, other, setting):
    import numpy
    from scipy.stats import rankdata

    sets = [table(folder, other["n"], f"set{place}_") for place in range(other["sets"])]
    predicted = sets[0][0] @ numpy.cos(numpy.arange(other["n"]))
    utilities = [utility for _, utility in sets]
    generator = numpy.random.default_rng(0)

    def correlations(left, right):
        left, right = rankdata(left, axis=-1), rankdata(right, axis=-1)
        left -= left.mean(-1, keepdims=True)
        right -= right.mean(-1, keepdims=True)
        return (left * right).sum(-1) / numpy.sqrt((left**2).sum(-1) * (right**2).sum(-1))

    def run():
        score = 100 * numpy.mean([correlations(predicted, utility) for utility in utilities])
        chosen = generator.integers(0, len(predicted), (other["resamples"], len(predicted)))
        scores = 100 * numpy.mean([correlations(predicted[chosen], utility[chosen]) for utility in utilities], axis=0)
        return score, *numpy.quantile(scores, [0.025, 0.975])

    score, lower, upper = run()
    # The resamples are others, so the ends of the interval agree to Monte Carlo error only.
    loose = max(abs(lower - other["lower"]), abs(upper - other["upper"])) / (upper - lower)
    difference = max(abs(score - other["mean"]), 0.0 if loose < 0.05 else loose)
    return run, {"difference": float(difference), "tolerance": 1e-9, "setting": ""}


def make_features(work, folder):
    import numpy
    from safetensors.numpy import save_file

    generator = numpy.random.default_rng(0)
    features = work["features"]
    mixing = generator.standard_normal((features, features), numpy.float32) / numpy.sqrt(features, dtype=numpy.float32)
    mixing += numpy.eye(features, dtype=numpy.float32)
    reference = generator.standard_normal((work.get("rows", 10_000), features), numpy.float32) @ mixing
    samples = generator.standard_normal((work.get("rows", 10_000), features), numpy.float32) * 1.1 + 0.1
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"reference": reference, "samples": samples}, folder / "features.safetensors")


def frechet(work, folder, other, setting):
    import numpy
    import scipy.linalg
    from safetensors.numpy import load_file

    arrays = load_file(folder / "features.safetensors")

    def moments(rows):
        rows = rows.astype(numpy.float64)
        return rows.mean(0), numpy.cov(rows, rowvar=False)

    def by_sqrtm():
        """As in pytorch-fid."""
        (m1, c1), (m2, c2) = moments(arrays["reference"]), moments(arrays["samples"])
        root = scipy.linalg.sqrtm(c1 @ c2)
        return ((m1 - m2) ** 2).sum() + numpy.trace(c1) + numpy.trace(c2) - 2 * numpy.trace(root.real)

    def by_eigenvalues():
        """The same by two symmetric eigenproblems, the fastest way in SciPy."""
        (m1, c1), (m2, c2) = moments(arrays["reference"]), moments(arrays["samples"])
        values, vectors = scipy.linalg.eigh(c1)
        root = (vectors * numpy.sqrt(values.clip(0))) @ vectors.T
        products = scipy.linalg.eigvalsh(root @ c2 @ root)
        trace = numpy.sqrt(products.clip(0)).sum()
        return ((m1 - m2) ** 2).sum() + numpy.trace(c1) + numpy.trace(c2) - 2 * trace

    ways = {"sqrtm": by_sqrtm, "eigenvalues": by_eigenvalues}
    run = ways[work["way"]]
    difference = relative(float(run()), other["distance"])
    return run, {"difference": difference, "tolerance": 1e-6, "setting": ""}


WORK = {
    "train": train, "sample": sample, "prune": prune, "gemm": gemm, "kernel_shap": kernel_shap,
    "ridge_cv": ridge_cv, "bootstrap": bootstrap, "frechet": frechet,
}


def versions():
    import importlib.metadata

    names = ["torch", "diffusers", "torch-pruning", "numpy", "scipy", "scikit-learn"]
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def serve(threads):
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print; the protocol's channel is ours
    current = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "versions":
            answer = versions()
        elif request["do"] == "make":
            make_features(request["work"], pathlib.Path(request["folder"]))
            answer = {}
        elif request["do"] == "prepare":
            current = None
            gc.collect()
            if request["work"]["kind"] in ("train", "sample", "prune", "gemm"):
                import torch

                torch.set_num_threads(threads)
                torch.manual_seed(0)
            current, answer = WORK[request["work"]["kind"]](
                request["work"], pathlib.Path(request["folder"]), request["other"], request["setting"]
            )
        elif request["do"] == "run":
            start = time.perf_counter()
            current()
            answer = {"seconds": time.perf_counter() - start}
        else:
            current = None
            gc.collect()
            answer = {}
        print(json.dumps(answer), file=answers, flush=True)


def steps(threads, folder, batch, count):
    import torch

    torch.set_num_threads(threads)
    model = load(folder)
    images = torch.randn(batch, 3, model.config.sample_size, model.config.sample_size)
    options = {
        "optimizer": {"learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
        "ema": {"max_decay": 0.9999, "inv_gamma": 1.0, "power": 0.75}, "max_grad_norm": 1.0,
    }
    training = Training(model, images, options, "plain")
    for _ in range(count):
        training.step()


if __name__ == "__main__":
    if sys.argv[2:3] == ["steps"]:
        steps(int(sys.argv[1]), pathlib.Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        serve(int(sys.argv[1]))
