"""Compiles random configurations of every super-network in every format and compares each with torch.

    python tools/check_formats.py [--configurations 50] [--seed 0] [--supernet NAME ...] [--format NAME ...]

Prints, for each super-network and format, how many went the direct way, the largest difference from torch relative to
the largest output, and the CPU time of extracting, tracing, folding and writing one. Exits with 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from edgenas import supernets
from edgenas.compile import compile_module, fold, format_named, trace
from edgenas.errors import EdgenasError

NETWORKS = (
    "ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3_d234_e346_k357_w1.2", "ofa_proxyless_d234_e346_k357_w1.3",
    "ofa_resnet50", "hat_transformer_wmt_ende", "hat_transformer_wmt_enfr", "hat_transformer_iwslt_deen", "vit_base",
    "bert_base", "demo_mbv3", "fashion_mbv3",
)  # fmt: skip
# Weights of a real vocabulary would be most of the time and none of the point.
OPTIONS = {name: {"vocab": 1000} for name in NETWORKS if name.startswith(("hat_", "bert_"))}


def lively(net: Any, seed: int) -> None:
    """Statistics as after training: with means of 0 and variances of 1 everywhere, a lost one would not be noticed."""
    generator = torch.Generator().manual_seed(seed)
    for part in net.modules():
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.copy_(0.1 * torch.randn(part.running_mean.shape, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--supernet", nargs="*", default=list(NETWORKS))
    parser.add_argument("--format", nargs="*", default=["onnx", "tflite"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong = 0
    print(f"{'super-network':36} {'format':8} {'direct':>9} {'difference':>11} {'CPU ms':>8}")
    for name in options.supernet:
        torch.manual_seed(options.seed)
        net: Any = supernets.create(name, **OPTIONS.get(name, {}))
        lively(net, options.seed)
        configs = net.space.sample_many(options.configurations, options.seed)
        for format in options.format:
            direct, worst, cpu_ms = 0, 0.0, []
            for config in configs:
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        started = time.process_time()
                        module = net.extract(config)
                        inputs = (
                            list(net.input_specs(config)) if hasattr(net, "input_specs") else [net.input_spec(config)]
                        )
                        form = format_named(format)
                        graph = fold(trace(module, inputs))
                        form.write(form.arrange(graph) if form.arrange else graph, "fp32")
                        cpu_ms.append((time.process_time() - started) * 1e3)
                        artifact = compile_module(module, inputs, Path(folder), format=format)
                except EdgenasError as error:
                    wrong += 1
                    print(f"  {name} {format} {net.space.key(config)}: {error}")
                    continue
                direct += artifact.route == "direct"
                worst = max(worst, artifact.metadata["difference"])
            median = statistics.median(cpu_ms) if cpu_ms else float("nan")
            print(f"{name:36} {format:8} {direct:4}/{len(configs):<4} {worst:11.1e} {median:8.1f}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
