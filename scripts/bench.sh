#!/usr/bin/env bash
# Measures kernels and solvers, and writes build/benchmarks/*.json. Refuses on a busy machine unless
# ANYWAY is set. With valgrind installed, counts the kernels' instructions as well.
. "$(dirname "$0")/common.sh"

out=build/benchmarks
mkdir -p $out
anyway=${ANYWAY:+--anyway}
step "building the kernels' benchmark"
cmake -S . -B build/release -DCUPEL_BUILD_BENCHMARKS=ON >/dev/null
cmake --build build/release --target kernel_speed -j "${JOBS:-1}" >/dev/null
kernels=build/release/benchmarks/kernel_speed
step "solvers against plain PyTorch"
.venv/bin/python benchmarks/python/solver_speed.py --json $out/solvers.json $anyway "$@"
step "rows, columns, tokens and threads"
.venv/bin/python benchmarks/python/scaling_curves.py --json $out/scaling.json $anyway
step "kernels"
for size in 1024 4096; do $kernels --size $size; done | tee $out/kernels.jsonl
if command -v valgrind >/dev/null; then
  step "instructions of the kernels"
  .venv/bin/python benchmarks/python/instruction_counts.py $kernels \
    --json $out/instructions.json
fi
