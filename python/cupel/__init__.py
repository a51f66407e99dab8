"""cupel: compress language models, and assay what the compression cost.

The names below are those of the C++ library. They resolve when they are first used, and only then is
torch imported, so `import cupel` and the command's help are instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._build import VERSION as __version__  # noqa: F401
    from ._chat import ChatTemplate as ChatTemplate
    from ._chat import chat_template as chat_template
    from ._chat import use_model_template as use_model_template
    from ._cupel import *  # noqa: F403
    from ._decorators import criterion as criterion
    from ._decorators import quantizer as quantizer
    from ._decorators import task as task
    from ._kick.grid import KickGrid as KickGrid
    from ._kick.result import KickResult as KickResult
    from ._kick.runner import kick as kick
    from ._masks import apply_masks_ as apply_masks_
    from .html_report import write_html_report as write_html_report
    from .judges import OpenAIJudge as OpenAIJudge
    from .judges import QueueJudge as QueueJudge
    from .judges import judge_grid as judge_grid

# What the compiled module offers; tests/python/test_import.py holds the two together.
_COMPILED = (
    # files and tensors
    "FormatError", "NumericalError", "Progress",
    "read_safetensors", "write_safetensors", "Quantized", "dequantize",
    # text and models
    "Tokenizer", "load_tokenizer",
    "chat_prompt", "chat_templates", "add_chat_template", "remove_chat_template",
    "Model", "ModelConfig", "load_model", "make_model", "save_model", "generate",
    # calibration
    "Calibration", "InputStats", "Needs", "sample_windows",
    # compression
    "Pattern", "unstructured", "row_wise", "matrix_wise", "n_of_m", "parse_pattern", "keep_mask",
    "Criterion", "add_criterion", "remove_criterion", "criteria", "Grid",
    "add_quantizer", "remove_quantizer", "quantizers",
    "Compressor", "SharedFactors", "LayerTask", "LayerResult", "finish_result", "Prune", "SparseGpt", "Rtn", "Gptq", "Chain",
    "LayerShape", "Allocation", "uniform", "global_magnitude", "owl",
    "CompressionResult", "compress", "compress_checkpoint", "matches_layer",
    # evaluation and reports
    "TokenModel", "TokenModelInfo", "NativeTokenModel", "CallableTokenModel",
    "Scorer", "ScorerInfo", "ScorerCounts", "TextMeasure", "ModelScorer",
    "LogLikelihood", "GenerationRequest", "Generation",
    "Perplexity", "perplexity", "Divergence", "divergence",
    "Interval", "Estimate", "McNemar", "mcnemar", "Flips", "count_flips", "holm",
    "minimum_detectable_effect", "wilson", "quantile", "PairedBootstrap", "paired_bootstrap",
    "Match", "MatchVerdict", "matching", "matching_verdict", "PairedLoss", "paired_loss",
    "block_standard_error",
    "RougeScore", "Rouge", "rouge", "porter_stem", "TextFigures", "text_figures",
    "distinct_ngrams", "repeated_ngrams", "novel_ngrams",
    "Task", "TaskInfo", "TaskItem", "TaskRequest", "TaskOutput", "ItemScore",
    "add_task", "remove_task", "tasks", "make_task", "task_info", "data_sha256",
    "lower_case", "normalize_answer", "token_f1", "exact_match", "normalized_equal", "contains_answer",
    "two_way_substring", "kick_normalize", "kick_substring",
    "RunManifest", "EvalRun", "EvalResult", "evaluate",
    "PairedPerplexity", "PairedTask", "Comparison", "compare",
    "Judge", "JudgeInfo", "JudgeRequest", "JudgeReply", "LocalJudge",
    "JudgeGrades", "judge_parsers", "read_grades", "add_judge_parser", "remove_judge_parser",
    "Judgment", "JudgeResult", "judge",
    "Table", "ReportEntry", "layer_table", "score_table", "task_table", "write_report",
    "weight_bytes_on_disk",
)  # fmt: skip
_PYTHON = {
    "criterion": "._decorators",
    "quantizer": "._decorators",
    "task": "._decorators",
    "apply_masks_": "._masks",
    "kick": "._kick.runner",
    "KickGrid": "._kick.grid",
    "KickResult": "._kick.result",
    "write_html_report": ".html_report",
    "ChatTemplate": "._chat",
    "chat_template": "._chat",
    "use_model_template": "._chat",
    "OpenAIJudge": ".judges",
    "QueueJudge": ".judges",
    "judge_grid": ".judges",
}
_MODULES = ("cli", "html_report", "huggingface", "judges", "lm_eval", "touchstone")

__all__ = [*_COMPILED, *_PYTHON, *_MODULES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _COMPILED:
        from ._load import compiled

        value = getattr(compiled(), name)
    elif name in _PYTHON:
        value = getattr(importlib.import_module(_PYTHON[name], __name__), name)
    elif name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    elif name == "__version__":
        from ._load import build

        value = build().VERSION
    else:
        raise AttributeError(f"module 'cupel' has no attribute {name!r}")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
