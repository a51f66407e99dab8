#!/usr/bin/env bash
# Compares whole compressions with llm-compressor and GPTQModel, which are installed below build/peers,
# and writes build/benchmarks/*.json. Refuses on a busy machine unless ANYWAY is set.
. "$(dirname "$0")/common.sh"

anyway=${ANYWAY:+--anyway}
for peer in llm_compressor gptqmodel; do
  step "cupel and $peer"
  .venv/bin/python benchmarks/python/compare_$peer.py $anyway "$@"
done
