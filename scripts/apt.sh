#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that this machine lacks; does nothing when all are there.
. "$(dirname "$0")/common.sh"
. scripts/python.sh

# docs/install.md says what each is for.
packages=(ca-certificates g++ cmake ninja-build ccache git libeigen3-dev nlohmann-json3-dev
          libsentencepiece-dev libpcre2-dev libicu-dev zlib1g-dev catch2)
[[ -n ${PYTHON:-} ]] || find_python >/dev/null || packages+=(python3-dev python3-venv)

if ! command -v dpkg-query >/dev/null; then
  step "not a Debian system: taking the compiler and libraries as they are (docs/install.md)"
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
  [[ $state == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  # Ask for a password only where somebody can type it.
  if ! command -v sudo >/dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2>/dev/null; }; then
    fail "cupel needs these packages: sudo apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q)
step "installing apt packages: ${missing[*]}"
# One package source that is down does not mean that ours are.
(logged apt-update "${apt[@]}" update) 2>/dev/null ||
  step "apt-get update reported errors (build/logs/apt-update.log); going on with what it has"
logged apt-install "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
