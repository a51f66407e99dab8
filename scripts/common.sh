# Sourced by the other scripts: the repository root, one line per step, logs on failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly root=$PWD

step() { printf '%s\n' "-- $*"; }

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# logged NAME COMMAND...: runs COMMAND into build/logs/NAME.log and shows the log only if it fails.
logged() {
  local name=$1 log=$root/build/logs/$1.log status=0
  shift
  mkdir -p "$root/build/logs"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if ((status != 0)); then
    cat "$log" >&2
    fail "$name failed (exit $status): $*  (this log: build/logs/$name.log)"
  fi
}

# one_at_a_time: waits for another make in this tree that changes .venv or build/.
one_at_a_time() {
  command -v flock >/dev/null || return 0
  mkdir -p "$root/build"
  exec 9>"$root/build/.lock"
  flock -n 9 || { step "waiting for another make in this tree"; flock 9; }
}

# stamped FILE VALUE: whether FILE holds VALUE, that is, whether the step that wrote it is up to date.
stamped() { [[ -f $1 && $(<"$1") == "$2" ]]; }
