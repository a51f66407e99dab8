#!/usr/bin/env bash
# Checks style, include layers and file lengths; with --fix, rewrites the files in the house style.
. "$(dirname "$0")/common.sh"

# Files that git knows or would take, so that nothing generated is touched.
sources() { git ls-files -z --cached --others --exclude-standard -- "$@"; }

if [[ ${1:-} == --fix ]]; then
  sources '*.h' '*.cpp' | xargs -0 -r .venv/bin/clang-format -i
  .venv/bin/ruff format --quiet
  .venv/bin/ruff check --quiet --fix
  exit
fi
status=0
step "clang-format"
sources '*.h' '*.cpp' | xargs -0 -r .venv/bin/clang-format --dry-run -Werror || status=1
step "ruff"
.venv/bin/ruff format --quiet --check || { .venv/bin/ruff format --check || true; status=1; }
.venv/bin/ruff check --quiet || status=1
step "include layers and file lengths"
.venv/bin/python tests/check_layers.py || status=1
exit $status
