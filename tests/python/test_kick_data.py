"""Where a grid finds the data of its tasks, and what it writes down of them."""

import cupel
import pytest
from cupel import touchstone
from kick_grids import write_data
from mmlu_data import write_small

MODEL = touchstone.folder()


@pytest.fixture
def options(tmp_path):
    (tmp_path / "texts_of_the_grid").mkdir()
    return write_data(tmp_path / "texts_of_the_grid")


def test_a_folder_of_data_has_the_hash_of_its_manifest(options, tmp_path):
    @cupel.task("folder_of_texts")
    class Texts(cupel.Task):
        info = cupel.TaskInfo("folder_of_texts", protocols=["strict"], data="texts")

        def load(self, path, options):
            return [{"id": "1"}]

        def requests(self, item, protocol, outputs):
            return [] if outputs else [("Tom has", " a")]

        def score(self, item, protocol, outputs):
            return cupel.ItemScore({"value": outputs[0].likelihood.value})

    for name in ("b/c.txt", "b-c.txt", "b.txt", "é.txt"):  # "b-c" < "b.txt" < "b/c" as texts
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(name)
    try:
        chosen = options | {
            "tasks": "folder_of_texts",
            "data": tmp_path,
            "methods": [],
            "sparsity": [],
        }
        result = cupel.kick(MODEL, tmp_path / "out", **chosen)
    finally:
        cupel.remove_task("folder_of_texts")
    manifest = result.dense.scores.manifests["folder_of_texts"]
    assert result.kick["settings"]["data_sha256"] == {"folder_of_texts": manifest.data_sha256}
    assert result.to_markdown().splitlines()[0].count("folder_of_texts value") == 1


def test_built_in_tasks_are_found_below_data(options, tmp_path):
    write_small(tmp_path / "data" / "mmlu")
    chosen = options | {
        "tasks": "mmlu:shots=0",
        "data": tmp_path / "data",
        "methods": ["magnitude"],
        "quantizers": [],
        "bits": [],
    }
    result = cupel.kick(MODEL, tmp_path / "out", **chosen)
    assert [cell.status for cell in result.cells] == ["done"]
    (manifest,) = result.dense.scores.manifests.values()
    assert result.kick["settings"]["data_sha256"] == {"mmlu:shots=0": manifest.data_sha256}
    page = cupel.write_html_report(tmp_path / "out")["index.html"].read_text(encoding="utf-8")
    assert "mmlu" in page and "magnitude" in page
