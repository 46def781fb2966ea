"""Tribute beside PyTorch, diffusers, Torch-Pruning, NumPy, SciPy and scikit-learn, on this machine: one table from one run.

    python3 benches/side_by_side/run.py            # about ten minutes after the first run
    python3 benches/side_by_side/run.py --short    # a look at each kind of work, without targets
    python3 benches/side_by_side/run.py --write    # the table into docs/src/speed.md

The first run makes a virtual environment under target/side_by_side with the libraries, builds the programs, and finds for each
piece of work PyTorch's fastest setting (plain, channels_last, torch.compile, both), which later runs reuse. Each row: the same
weights and data on both sides, results compared first, then ours and theirs in turn with the same number of threads, and the
medians of at least five runs. `--python` names an interpreter that has the libraries already.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = {
    "torch": ["torch", "diffusers", "torch-pruning", "safetensors", "accelerate"],
    "statistics": ["numpy", "scipy", "scikit-learn", "safetensors"],
}


def rows(short):
    """Name, work, target of theirs / ours, share of the whole work that is timed, whether it needs PyTorch."""
    table = [
        ("train step, demo UNet 16 x 16, batch 64", {"kind": "train", "network": "demo16", "batch": 64}, 3.0),
        ("train step, demo UNet 32 x 32, batch 64", {"kind": "train", "network": "demo32", "batch": 64}, 3.0),
        ("train step, (64, 128, 128) UNet 32 x 32, batch 32", {"kind": "train", "network": "medium", "batch": 32}, 1.5),
        ("train step, CIFAR UNet of 35.75 M, batch 16", {"kind": "train", "network": "cifar", "batch": 16}, 1.2),
        ("train step, the same pruned at 0.3, batch 16", {"kind": "train", "network": "cifar_pruned", "batch": 16}, 1.2),
        ("DDIM, 64 images, 50 steps, demo UNet 16 x 16",
         {"kind": "sample", "network": "demo16", "images": 64, "steps": 50}, 1.5),
        ("DDIM, 64 images, 50 steps, demo UNet 32 x 32",
         {"kind": "sample", "network": "demo32", "images": 64, "steps": 50}, 1.5),
        ("DDIM, 64 images, 1 of 50 steps, CIFAR UNet",
         {"kind": "sample", "network": "cifar", "images": 64, "steps": 1}, 1.5),
        ("pruning, CIFAR UNet, magnitude 0.3 (Torch-Pruning)", {"kind": "prune", "network": "cifar", "ratio": 0.3}, 20.0),
        ("Kernel SHAP values, n = 258, m = 2,000 (NumPy)",
         {"kind": "kernel_shap", "contributors": 258, "draws": 2000, "intervals": False}, 10.0),
        ("the same with HC3 standard errors (NumPy)",
         {"kind": "kernel_shap", "contributors": 258, "draws": 2000, "intervals": True}, None),
        ("datamodel, ridge CV of 100 penalties (scikit-learn)",
         {"kind": "ridge_cv", "contributors": 258, "draws": 2000}, 10.0),
        ("LDS with 10,000 bootstrap resamples (NumPy, SciPy)",
         {"kind": "bootstrap", "coalitions": 100, "resamples": 10_000}, 10.0),
        ("Fréchet distance, 10,000 x 1280 (NumPy, SciPy sqrtm)", {"kind": "frechet", "features": 1280, "way": "sqrtm"}, 2.0),
        ("Fréchet distance, 10,000 x 1280 (NumPy, SciPy eigh)",
         {"kind": "frechet", "features": 1280, "way": "eigenvalues"}, None),
        ("Fréchet distance, 10,000 x 2048 (NumPy, SciPy sqrtm)", {"kind": "frechet", "features": 2048, "way": "sqrtm"}, 2.0),
        ("Fréchet distance, 10,000 x 2048 (NumPy, SciPy eigh)",
         {"kind": "frechet", "features": 2048, "way": "eigenvalues"}, None),
    ]
    if not short:
        return table
    # One of each kind, small.
    return [
        ("train step, demo UNet 16 x 16, batch 64", {"kind": "train", "network": "demo16", "batch": 64}, None),
        ("DDIM, 16 images, 10 steps, demo UNet 16 x 16",
         {"kind": "sample", "network": "demo16", "images": 16, "steps": 10}, None),
        ("Kernel SHAP with HC3 standard errors, n = 258, m = 2,000 (NumPy)",
         {"kind": "kernel_shap", "contributors": 258, "draws": 2000, "intervals": True}, None),
        ("datamodel, ridge CV of 100 penalties (scikit-learn)",
         {"kind": "ridge_cv", "contributors": 64, "draws": 500}, None),
        ("LDS with 10,000 bootstrap resamples (NumPy, SciPy)",
         {"kind": "bootstrap", "coalitions": 100, "resamples": 10_000}, None),
        ("Fréchet distance, 2,000 x 320 (NumPy, SciPy sqrtm)",
         {"kind": "frechet", "features": 320, "rows": 2000, "way": "sqrtm"}, None),
    ]


# Seconds for which short work goes on in each turn.
TURN = 0.3
NEEDS_TORCH = ("train", "sample", "prune", "gemm")


class Side:
    """A process that does work when told."""

    def __init__(self, name, command, environment):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended at {request} with exit code {self.process.wait()}")
        return json.loads(line)

    def timed(self, by_cpu, repeats=1):
        """Mean seconds of that many more runs: elapsed, or those that its threads were on a processor."""
        before = self.on_processor() if by_cpu else 0.0
        elapsed = sum(self.ask(do="run")["seconds"] for _ in range(repeats))
        return (self.on_processor() - before if by_cpu else elapsed) / repeats

    def on_processor(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def environment(threads):
    """Both sides' number of threads, and nothing that slows NumPy down."""
    found = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for name in ("RAYON", "OMP", "OPENBLAS", "MKL"):
        found[f"{name}_NUM_THREADS"] = str(threads)
    return found


def interpreter(arguments, folder):
    if arguments.python:
        return arguments.python
    packages = PACKAGES["statistics"] if arguments.without_torch else PACKAGES["torch"] + PACKAGES["statistics"]
    venv = folder / "venv"
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    installed = venv / "installed"
    wanted = " ".join(packages)
    if not installed.exists() or installed.read_text() != wanted:
        # The index of CPU builds, where torch does not bring CUDA along.
        extra = [] if arguments.without_torch else ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
        subprocess.run([python, "-m", "pip", "install", "-q", *extra, *packages], check=True)
        installed.write_text(wanted)
    return str(python)


def build(arguments):
    if arguments.programs:
        return pathlib.Path(arguments.programs)
    subprocess.run(
        ["cargo", "build", "--release", "-p", "tribute", "--bin", "tribute-train", "--example", "side_by_side"],
        cwd=ROOT, check=True,
    )
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return pathlib.Path(target) / "release"


def finished(command, environment):
    """Seconds and peak resident bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} failed:\n{errors.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def seconds(value):
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


class Table:
    def __init__(self, short):
        self.short = short
        self.lines = []
        self.peak = 0.0

    def add(self, name, ours, theirs, target, unit=seconds, note="", flops=None):
        """`ours` and `theirs` are runs in turn; the ratio's spread is that of neighbouring runs."""
        ratio = statistics.median(theirs) / statistics.median(ours)
        pairs = sorted(b / a for a, b in zip(ours, theirs))
        verdict = "" if target is None or self.short else (f"{target:g}" + (" met" if ratio >= target else " **missed**"))
        share = f"{100 * flops / statistics.median(ours) / self.peak:.0f} %" if flops and self.peak else ""
        line = [name, unit(statistics.median(ours)), unit(statistics.median(theirs)), f"{ratio:.2f}",
                f"{pairs[0]:.2f}-{pairs[-1]:.2f}", verdict, share, note]
        self.lines.append(line)
        print("  " + " | ".join(line), flush=True)

    def markdown(self):
        head = ["work", "Tribute", "theirs", "ratio", "range", "target", "of peak", "theirs is"]
        body = [head, ["---", "--:", "--:", "--:", "--:", "---", "--:", "---"], *self.lines]
        return "\n".join("| " + " | ".join(line) + " |" for line in body) + "\n"


def compare(table, sides, name, work, target, folder, settings, arguments):
    ours, theirs = sides
    place = folder / "_".join(str(value) for key, value in work.items() if key not in ("way", "rows"))
    if work["kind"] == "frechet":
        if not (place / "features.safetensors").exists():
            theirs.ask(do="make", work=work, folder=str(place))
    mine = {k: v for k, v in work.items() if k not in ("way", "rows")}
    answer = ours.ask(do="prepare", work=mine, folder=str(place))
    setting = settings.get(name, arguments.torch.split(";"))
    other = theirs.ask(do="prepare", work=work, folder=str(place), other=answer, setting=setting)
    if other.get("times"):
        settings[name] = other["setting"]
        print(f"  settings of PyTorch: {other['times']}", flush=True)
    if not other["difference"] <= other["tolerance"]:
        sys.exit(f"{name}: results differ by {other['difference']}, more than {other['tolerance']}")
    print(f"  {name}: results differ by {other['difference']:.1e} (at most {other['tolerance']:.0e})", flush=True)
    # Short work is repeated before the other side has its turn, as it is in use: a side's first run in a turn finds its data
    # gone from the caches, and the other side's idle threads still looking for work.
    repeats = max(1, round(TURN / max(ours.timed(False), theirs.timed(False))))
    times = ([], [])
    started = time.perf_counter()
    while len(times[0]) < arguments.runs or (
        len(times[0]) < 8 * arguments.runs and time.perf_counter() - started < arguments.seconds and work["kind"] != "prune"
    ):
        for side, taken in zip(sides, times):
            taken.append(side.timed(arguments.cpu_time, repeats))
    for side in sides:
        side.ask(do="drop")
    if work["kind"] == "gemm":
        return answer["flops"] / min(min(times[0]), min(times[1])), answer["flops"] / min(times[0])
    note = other.get("setting", "")
    table.add(name, *times, target, note=note, flops=answer.get("flops"))
    return None


def whole_processes(table, programs, python, folder, arguments, env):
    """Peak memory of the training step, and the time from start to the first step."""
    threads = str(arguments.threads)
    program = programs / "examples" / "side_by_side"
    place = folder / "train_medium_32"
    memory = ([], [])
    for _ in range(2):
        memory[0].append(finished([program, "steps", "medium", "32", "3"], env)[1])
        memory[1].append(finished([python, HERE / "theirs.py", threads, "steps", place, "32", "3"], env)[1])
    table.add("peak resident memory of that train step, (64, 128, 128)", *memory, 2.0, unit=lambda b: f"{b / 1e9:.2f} GB",
              note="plain; 3 steps in a process of their own")
    imports = "import torch, diffusers; from diffusers import UNet2DModel, DDPMScheduler"
    study = folder / "first_step.toml"
    demo = ROOT / "datasets" / "studies" / "demo.toml"
    text = demo.read_text().replace('"../', f'"{ROOT}/datasets/').replace("steps = 2000", "steps = 1", 1)
    study.write_text(text)
    start = ([], [])
    for run in range(arguments.runs):
        out = folder / f"first_step_{os.getpid()}_{run}"
        start[0].append(finished([programs / "tribute-train", study, "--out", out, "--threads", threads, "--quiet"], env)[0])
        start[1].append(finished([python, "-c", imports], env)[0])
    table.add("start to first training step, demo study", *start, 20.0,
              note="`import torch, diffusers` alone; ours with images read, one step done, model written")


def machine(threads):
    names = {line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")}
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    best = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{', '.join(sorted(names))}, {os.cpu_count()} cores with {best}, {platform.system()}; {threads} threads on both sides"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small work, no targets")
    parser.add_argument("--write", action="store_true", help="put the table into docs/src/speed.md")
    parser.add_argument("--only", help="only rows whose name contains this")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5, help="runs of each side at least")
    parser.add_argument("--seconds", type=float, default=8.0, help="goes on with short work for about this long")
    parser.add_argument("--cpu-time", action="store_true",
                        help="processor time in place of elapsed time: with --threads 1, on a busy machine")
    parser.add_argument("--python", help="an interpreter that has the libraries")
    parser.add_argument("--programs", help="folder with built programs, such as target/release")
    parser.add_argument("--without-torch", action="store_true", help="only rows that need no PyTorch")
    parser.add_argument("--torch", default="plain;channels_last;compiled;compiled, channels_last",
                        help="settings of PyTorch to choose among, separated by semicolons")
    parser.add_argument("--search", action="store_true", help="look for PyTorch's fastest settings again")
    arguments = parser.parse_args()

    folder = ROOT / "target" / "side_by_side"
    folder.mkdir(parents=True, exist_ok=True)
    python, programs = interpreter(arguments, folder), build(arguments)
    env = environment(arguments.threads)
    sides = (
        Side("Tribute's program", [programs / "examples" / "side_by_side"], env),
        Side("theirs.py", [python, HERE / "theirs.py", str(arguments.threads)], env),
    )
    versions = sides[1].ask(do="versions")
    remembered = folder / "settings.json"
    settings = json.loads(remembered.read_text()) if remembered.exists() and not arguments.search else {}
    if arguments.short:
        arguments.seconds = min(arguments.seconds, 2.0)
        settings = {name: "plain" for name, _, _ in rows(True)}
    table = Table(arguments.short)
    print(machine(arguments.threads), "|", ", ".join(f"{k} {v}" for k, v in versions.items()), flush=True)
    if not arguments.without_torch:
        table.peak, own = compare(table, sides, "gemm", {"kind": "gemm", "size": 2048}, None, folder, settings, arguments)
        print(f"peak: {table.peak / 1e9:.0f} GFLOP/s by a 2048 x 2048 product (Tribute's own {own / 1e9:.0f})", flush=True)
    for name, work, target in rows(arguments.short):
        if arguments.without_torch and work["kind"] in NEEDS_TORCH:
            continue
        if arguments.only and arguments.only not in name:
            continue
        compare(table, sides, name, work, target, folder, settings, arguments)
        if not arguments.short:
            remembered.write_text(json.dumps(settings, indent=1))
    if not (arguments.short or arguments.without_torch or arguments.only):
        whole_processes(table, programs, python, folder, arguments, env)
    for side in sides:
        side.process.stdin.close()
        side.process.wait()
    print("\n" + table.markdown())
    if arguments.write:
        write(table, versions, arguments)


def write(table, versions, arguments):
    """Replaces what stands between the two markers of docs/src/speed.md."""
    page = ROOT / "docs" / "src" / "speed.md"
    before, _, rest = page.read_text().partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->")
    described = (
        f"Measured on {datetime.date.today()}: {machine(arguments.threads)}; "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + f". Peak: {table.peak / 1e9:.0f} GFLOP/s, the fastest of both sides' plain 2048 x 2048 matrix product in the same run.\n\n"
    )
    page.write_text(before + "<!-- table -->\n" + described + table.markdown() + "<!-- end of table -->" + after)


if __name__ == "__main__":
    main()
