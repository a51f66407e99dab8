# Sourced: chooses the Python that .venv is made from.
# A Python that somebody built or installed by other means than apt (pyenv, uv, deadsnakes) brings
# venv and Python.h itself, so both are looked for directly and not as apt packages.

python_is_usable() {
  "$1" - 2>/dev/null <<'PY'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
# torch 2.13 has wheels for 3.10 to 3.14.
sys.exit(not ((3, 10) <= sys.version_info < (3, 15) and os.path.exists(header)))
PY
}

# Prints $PYTHON where it is set, else the first usable one of the python3 on PATH and Debian's.
find_python() {
  local candidate candidates=(python3 /usr/bin/python3)
  [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
  for candidate in "${candidates[@]}"; do
    if python_is_usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}
