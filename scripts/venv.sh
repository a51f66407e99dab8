#!/usr/bin/env bash
# Makes .venv and puts the pinned packages into it; does nothing when they are there.
. "$(dirname "$0")/common.sh"
. scripts/python.sh

one_at_a_time
torch=torch==2.13.0
packages=(
  numpy rich jinja2 markupsafe PyYAML                      # the package and its command
  transformers tokenizers safetensors sentencepiece protobuf  # the huggingface extra; oracles in tests
  pytest pytest-xdist hypothesis compressed-tensors==0.19.0  # tests
  lm_eval accelerate scipy statsmodels pandas rouge_score  # oracles in tests; EvalResult.to_pandas
  nbclient ipykernel matplotlib                            # the notebooks, which tests run
  scikit-build-core pybind11-stubgen                       # building
  ruff clang-format                                        # make lint, make format
)

stamp=.venv/cupel-packages
wanted="$(sha256sum <python/constraints.txt) $torch ${packages[*]}"
# A venv whose Python has gone (a removed pyenv version) is of no more use.
[[ ! -e .venv ]] || .venv/bin/python -c '' 2>/dev/null || rm -rf .venv
if stamped $stamp "$wanted"; then exit 0; fi

if [[ ! -e .venv ]]; then
  python=$(find_python) ||
    fail "${PYTHON:-python3} has to be Python 3.10 to 3.14 with venv and Python.h" \
         "(Debian: apt-get install python3-dev python3-venv); PYTHON=... names another one"
  step "creating .venv ($("$python" --version))"
  logged venv "$python" -m venv .venv
fi

# torch comes first and alone: anything that may choose a torch for itself, pip's build isolation
# included, can fetch gigabytes of another one.
pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input)
step "installing $torch${TORCH_INDEX_URL:+ from $TORCH_INDEX_URL}"
logged pip-torch "${pip[@]}" install "$torch" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"}
step "installing ${packages[*]}"
logged pip-packages "${pip[@]}" install -c python/constraints.txt "${packages[@]}"
printf '%s' "$wanted" >$stamp
