# Sourced: chooses the Python that .venv is made from.
# A Python that somebody built or installed by other means than apt (pyenv, uv, deadsnakes) brings
# venv and Python.h itself, so both are looked for directly and not as apt packages.

python_is_usable() {
  "$1" - 2>/dev/null <<'PY'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not (sys.version_info >= (3, 10) and os.path.exists(header)))
PY
}

# Prints the first usable one of $PYTHON, the python3 on PATH and Debian's.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3; do
    if python_is_usable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}
