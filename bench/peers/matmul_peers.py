#!/usr/bin/env python3
"""Times what others multiply with, at the shapes of CudaMatMulPackedBench, on a machine with an NVIDIA GPU and PyTorch.

    python3 matmul_peers.py [--rows 1,16,64,256,1024] [--shapes llama-8b|llama-70b|all]

Always: torch.matmul in BF16 (cuBLAS) and torch's int4 kernel (tinygemm, groups of 128). Where they are there:
    MARLIN_DIR=DIR             a built checkout of MARLIN: F16 x int4, groups of 128
    CUTLASS_EXAMPLE_55=FILE    the built program 55_hopper_int4_bf16_gemm of CUTLASS, groups of 128, weights reordered

A time is the median of 30 replays of a graph of 20 products, each with another copy of the weights, so that they come from memory and not from the
second-level cache. Printed: microseconds, GB/s of the bytes that have to move, TFLOP/s, and how much faster than BF16 in this run.
"""
import argparse
import os
import subprocess
import sys

import torch

SHAPES = {
    "llama-8b": [("qkv", 6144, 4096), ("o", 4096, 4096), ("gate_up", 28672, 4096), ("down", 4096, 14336)],
    "llama-70b": [("qkv", 10240, 8192), ("o", 8192, 8192), ("gate_up", 57344, 8192), ("down", 8192, 28672)],
}
GROUP = 128
LAUNCHES, REPLAYS, WARM_UP = 20, 30, 5
COLD_BYTES = 200e6  # more than any second-level cache


def microseconds(product, copies):
    """Median time of product(i), i the copy of the weights to use."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(min(copies, 3)):
            product(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for i in range(LAUNCHES):
            product(i % copies)
    times = []
    for i in range(WARM_UP + REPLAYS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / LAUNCHES)
    return sorted(times[WARM_UP:])[REPLAYS // 2]


def copies_of(weight_bytes):
    return max(1, min(LAUNCHES, int(COLD_BYTES / weight_bytes) + 1))


def dense(n, k, rows):
    """BF16 weights through cuBLAS."""
    copies = copies_of(2 * n * k)
    weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) / k**0.5 for _ in range(copies)]
    x, y = torch.randn(rows, k, device="cuda", dtype=torch.bfloat16), torch.empty(rows, n, device="cuda", dtype=torch.bfloat16)
    return microseconds(lambda i: torch.matmul(x, weights[i].t(), out=y), copies)


def tinygemm(n, k, rows):
    """torch._weight_int4pack_mm: BF16 by int4."""
    copies = copies_of(n * k / 2)
    codes = torch.randint(0, 256, (n, k // 2), device="cuda", dtype=torch.uint8)
    weights = [torch.ops.aten._convert_weight_to_int4pack(codes, 8) for _ in range(copies)]
    scales = torch.rand(k // GROUP, n, 2, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(rows, k, device="cuda", dtype=torch.bfloat16)
    return microseconds(lambda i: torch.ops.aten._weight_int4pack_mm(x, weights[i], GROUP, scales), copies)


def marlin_peer():
    folder = os.environ.get("MARLIN_DIR")
    if not folder:
        return None
    sys.path.insert(0, folder)
    import marlin

    def time(n, k, rows):
        copies = copies_of(n * k / 2)
        weights = [torch.randint(-(2**31), 2**31 - 1, (k // 16, n * 2), device="cuda", dtype=torch.int32) for _ in range(copies)]
        scales = torch.rand(k // GROUP, n, device="cuda", dtype=torch.half)
        x, y = torch.randn(rows, k, device="cuda", dtype=torch.half), torch.empty(rows, n, device="cuda", dtype=torch.half)
        workspace = torch.zeros(n // 128 * 16, device="cuda", dtype=torch.int32)
        return microseconds(lambda i: marlin.mul(x, weights[i], y, scales, workspace), copies)

    return time


def cutlass_report(n, k, rows):
    """What CUTLASS's own program says; it times itself, with one copy of the weights."""
    program = os.environ.get("CUTLASS_EXAMPLE_55")
    if not program:
        return
    # It computes the transposed product: its m are rows of x, its n outputs.
    command = [program, f"--m={rows}", f"--n={n}", f"--k={k}", f"--g={GROUP}", "--mode=1", "--shuffle=true", "--iterations=100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        if "runtime" in line.lower() or "flops" in line.lower() or "error" in line.lower():
            print(f"    CUTLASS 55 (weights warm): {line.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,4,8,16,24,32,48,64,96,128,256,512,1024,4096")
    parser.add_argument("--shapes", default="llama-8b", choices=[*SHAPES, "all"])
    options = parser.parse_args()
    peers = {"int4 tinygemm": tinygemm, "int4 MARLIN": marlin_peer()}
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"{'shape':28} {'rows':>5} {'kernel':14} {'us':>9} {'GB/s':>7} {'TFLOP/s':>8} {'x BF16':>7}")
    for family in SHAPES if options.shapes == "all" else [options.shapes]:
        for name, n, k in SHAPES[family]:
            for rows in map(int, options.rows.split(",")):
                base = dense(n, k, rows)
                times = {"BF16 cuBLAS": (base, 2 * n * k)}
                times.update({peer: (time(n, k, rows), n * k * (0.5 + 2 / GROUP)) for peer, time in peers.items() if time})
                for kernel, (time, weight_bytes) in times.items():
                    moved = weight_bytes + 2 * rows * (n + k)
                    print(f"{family + ' ' + name + f' {n}x{k}':28} {rows:5} {kernel:14} {time:9.2f} {moved / time / 1e3:7.0f} "
                          f"{2 * rows * n * k / time / 1e6:8.1f} {base / time:7.2f}", flush=True)
                cutlass_report(n, k, rows)


if __name__ == "__main__":
    main()
