#!/usr/bin/env bash
# Compiles into build/release and installs the Python package from there: C++ is compiled once.
. "$(dirname "$0")/common.sh"

one_at_a_time
build=build/release

# One compiler needs up to 2 GB on LibTorch's headers.
default_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ { print int($2 / 2097152) }' /proc/meminfo)
  ((memory >= 1)) || memory=1
  echo $((cores < memory ? cores : memory))
}

# Ninja's "[12/80] ..." lines in, a line per tenth of the work out.
progress() {
  local line tenth=0
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    local done=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]}
    if ((all > 5 && 10 * done / all > tenth)); then
      tenth=$((10 * done / all))
      echo "   $done of $all"
    fi
  done
}

compile() {
  local log=build/logs/compile.log
  NINJA_STATUS='[%f/%t] ' cmake --build $build -j "${JOBS:-$(default_jobs)}" 2>&1 | tee $log | progress ||
    {
      # The compilers that failed, without what others said before.
      if grep -q '^FAILED' $log; then sed -n '/^FAILED/,$p' $log; else cat $log; fi |
        grep -v '^\[[0-9]*/[0-9]*\] ' >&2
      fail "building failed (the log: $log)"
    }
}

# What the installed package is made of: paths and contents, so that neither a fresh clone's dates
# nor a deleted file mislead it.
fingerprint() {
  {
    find python/cupel include cmake scripts/build.sh pyproject.toml VERSION README.md LICENSE \
      -name __pycache__ -prune -o -type f -print0
    find $build -maxdepth 2 \( -name '*.so*' -o -name '*.pyi' -o -name _build.py \) -type f -print0
    find .venv/cupel-packages -print0
  } 2>/dev/null | sort -z | xargs -0 sha256sum | sha256sum
}

# A new set of packages may hold another torch: ask for it again.
if [[ ! -f $build/build.ninja || .venv/cupel-packages -nt $build/build.ninja ]]; then
  step "configuring $build"
  logged configure cmake --preset release "-DPython3_EXECUTABLE=$root/.venv/bin/python"
fi
step "building $build"
compile

contents=$(fingerprint)
stamp=$build/installed-package
if [[ ! -x .venv/bin/cupel ]] || ! stamped $stamp "$contents"; then
  step "installing the Python package into .venv"
  # The same build folder with the same options: only the installation is left to do. (Debian 12's
  # pip does not know -C.)
  logged install-package .venv/bin/python -m pip --disable-pip-version-check install \
    --no-build-isolation --no-deps --no-index --force-reinstall \
    --config-settings=build-dir=$build --config-settings=cmake.define.CUPEL_BUILD_TESTS=ON \
    --config-settings=cmake.define.CUPEL_BUILD_EXAMPLES=ON \
    --config-settings=cmake.define.CUPEL_INSTALL_TORCH_PATH=ON .
  fingerprint >$stamp
fi
