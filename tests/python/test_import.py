"""`import cupel` is light, and says clearly why the compiled part cannot be loaded."""

import os
import subprocess
import sys
from pathlib import Path

import cupel
import pytest

PACKAGE = Path(cupel.__file__).parent


def python(code, path=(), **environment):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), str(PACKAGE.parent)])}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env | environment
    )


@pytest.mark.parametrize(
    "code",
    [
        "import cupel",
        "import cupel; dir(cupel); cupel.__version__; cupel.__all__",
        "import cupel; hasattr(cupel, 'no_such_name')",
        "import cupel.touchstone",
        "import cupel.huggingface",
        "import cupel.lm_eval",
        "from cupel.cli import main; main([])",
        "from cupel.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from cupel.cli import main\ntry: main(['compress', '--help'])\nexcept SystemExit: pass",
        "from cupel.cli import main\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass",
        "from cupel.cli import main\ntry: main(['judge', '--help'])\nexcept SystemExit: pass",
        "from cupel.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_imported(code):
    heavy = ("torch", "numpy", "rich", "transformers", "lm_eval", "cupel._cupel")
    done = python(f"{code}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_torch_is_imported_at_the_first_use():
    done = python("import cupel, sys; cupel.Grid; print('torch' in sys.modules)")
    assert done.stdout == "True\n", done.stderr


def test_every_name_resolves_and_the_list_is_that_of_the_compiled_module():
    for name in cupel.__all__:
        assert getattr(cupel, name) is not None
    from cupel import _cupel

    compiled = {name for name in vars(_cupel) if not name.startswith("_")} - {"torch_minor"}
    assert compiled == set(cupel._COMPILED)
    assert set(cupel.__all__) <= set(dir(cupel))


def test_the_version_is_that_of_the_build():
    from cupel import _cupel

    assert cupel.__version__ == _cupel.__version__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'prune'"):
        _ = cupel.prune


def error_line(done):
    assert done.returncode != 0
    return done.stderr.splitlines()[-1]


def test_another_torch_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("__version__ = '2.9.1+cpu'")
    line = error_line(python("import cupel; cupel.load_model", [tmp_path]))
    assert line.startswith("ImportError: this build of cupel works with torch 2.")
    assert "torch 2.9.1+cpu is installed" in line and "pip install 'torch==2." in line


def test_a_missing_torch_says_how_to_install_it():
    block = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise ModuleNotFoundError('no torch', name='torch')\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    line = error_line(python(block + "from cupel import load_model"))
    assert line.startswith("ImportError: cupel needs torch 2.")
    assert "pip install 'torch==2." in line


def test_a_folder_of_sources_says_that_it_is_not_built(tmp_path):
    (tmp_path / "cupel").mkdir()
    for file in PACKAGE.glob("*.py"):
        if file.name != "_build.py":
            (tmp_path / "cupel" / file.name).write_bytes(file.read_bytes())
    line = error_line(python("import cupel; cupel.load_model", [tmp_path]))
    assert line.startswith("ImportError: cupel's compiled module is missing here")


def test_python_criteria_do_not_crash_the_interpreter_at_its_end():
    done = python(
        "import cupel\n"
        "@cupel.criterion('mine')\n"
        "def mine(weight, stats): return weight.abs()\n"
        "cupel.Prune(mine, cupel.unstructured(0.5))"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_type_checkers_find_a_marker_and_stubs():
    assert (PACKAGE / "py.typed").is_file()
    stubs = PACKAGE / "_cupel.pyi"
    if not stubs.is_file():
        pytest.skip(f"{stubs} is not there: this build made no stubs")
    text = stubs.read_text(encoding="utf-8")
    assert "def load_model(" in text and "class CompressionResult" in text
