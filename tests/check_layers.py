"""Checks the shape of the tree: one-way includes, overflow-checked sizes, short files.

Run as `python tests/check_layers.py [ROOT]`; prints every violation as file:line and exits 1 if
there is any. The rules are those of docs/architecture.md.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

# A folder may include its own headers and those of the folders named here, nothing else.
MAY_INCLUDE = {
    "core": set(),
    "checkpoint": {"core"},
    "text": {"core"},
    "model": {"core", "checkpoint"},
    "calibration": {"core", "text", "model"},
    "compress": {"core", "checkpoint", "model", "calibration"},
    "eval": {"core", "text", "model"},  # an unbiased judge knows nothing of compression
    "report": {"core", "compress", "eval"},
}
ROOT_HEADERS = {"cupel.h", "version.h"}
CODE = {".h", ".cpp", ".def"}

MAX_LINES = 400
SOURCE_FOLDERS = ("include", "lib", "python", "tests", "examples", "benchmarks", "cmake", "scripts")
SOURCE_SUFFIXES = CODE | {".cu", ".cuh", ".py", ".cmake", ".sh"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# The size of a tensor as a file claims it may overflow: checked_nbytes() is the only place for the
# product.
RAW_SIZE = re.compile(
    r"numel\(\)\s*\*.*(element_size|itemsize)|(element_size|itemsize)\(?.*\)?\s*\*.*numel\(\)"
)


def code_files(root):
    """(path, folder) of every C++ file under include/cupel and lib; "" for the root headers."""
    for base in (root / "include" / "cupel", root / "lib"):
        for path in sorted(base.rglob("*")):
            if path.suffix in CODE:
                parts = path.relative_to(base).parts
                yield path, parts[0] if len(parts) > 1 else ""


def included_folder(root, path, name, angled):
    """The folder that `#include name` in `path` reaches; "" is a root header, None not ours."""
    if not angled:
        beside = Path(os.path.normpath(path.parent / name))
        for base in (root / "include" / "cupel", root / "lib"):
            if beside.is_relative_to(base) and beside.is_file():
                parts = beside.relative_to(base).parts
                return parts[0] if len(parts) > 1 else ""
    parts = Path(name).parts
    if parts[0] == "cupel" and len(parts) > 1:
        return "" if parts[1] in ROOT_HEADERS else parts[1]
    # Private headers are written from lib: "core/json.h".
    if not angled and len(parts) > 1:
        return parts[0]
    return None


def find_cycle(edges):
    """A list of folders that leads back to its first, or None."""
    done = set()

    def visit(folder, trail):
        if folder in trail:
            return [*trail[trail.index(folder) :], folder]
        if folder in done:
            return None
        for other in sorted(edges.get(folder, ())):
            cycle = visit(other, [*trail, folder])
            if cycle:
                return cycle
        done.add(folder)
        return None

    for folder in sorted(edges):
        cycle = visit(folder, [])
        if cycle:
            return cycle
    return None


def check_includes(root):
    edges = {}
    for path, folder in code_files(root):
        where = path.relative_to(root)
        if folder and folder not in MAY_INCLUDE:
            yield f"{where}:1: unknown folder {folder}/"
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if folder == "checkpoint" and RAW_SIZE.search(line) and "checked_nbytes" not in line:
                yield f"{where}:{number}: an unchecked size; call checked_nbytes()"
            match = INCLUDE.match(line)
            if not match:
                continue
            target = included_folder(root, path, match[2], match[1] == "<")
            if target is None or target == folder:
                continue
            if target == "":
                if folder and match[2] != "cupel/version.h":
                    yield f"{where}:{number}: {folder}/ includes the umbrella header {match[2]}"
            elif target not in MAY_INCLUDE:
                yield f"{where}:{number}: unknown folder {target}/ in {match[2]}"
            elif folder:
                edges.setdefault(folder, set()).add(target)
                if target not in MAY_INCLUDE[folder]:
                    yield f"{where}:{number}: {folder}/ must not include {target}/ ({match[2]})"
    for name, graph in (("the rules", MAY_INCLUDE), ("the tree", edges)):
        cycle = find_cycle(graph)
        if cycle:
            yield f"a cycle of folders in {name}: {' -> '.join(cycle)}"


def source_files(root):
    """Files that git tracks or would take; every file in an unpacked archive."""
    if (root / ".git").exists():
        command = "git ls-files -z --cached --others --exclude-standard".split()
        listing = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if listing.returncode == 0:
            return [root / name for name in listing.stdout.split("\0") if name]
    return [path for folder in SOURCE_FOLDERS for path in (root / folder).rglob("*")]


def check_lengths(root):
    for path in sorted(set(source_files(root))):
        where = path.relative_to(root)
        source = path.suffix in SOURCE_SUFFIXES or path.name == "CMakeLists.txt"
        if not source or where.parts[0] not in SOURCE_FOLDERS or not path.is_file():
            continue
        lines = path.read_bytes().count(b"\n")
        if lines > MAX_LINES:
            yield f"{where}:{MAX_LINES + 1}: {lines} lines; files end at {MAX_LINES}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    violations = [*check_includes(root), *check_lengths(root)]
    for violation in violations:
        print(violation)
    files = sum(1 for _ in code_files(root))
    print(f"check_layers: {len(violations)} violations in {files} C++ files")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
