"""Scorers of cupel as models of lm-eval."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lm_eval.api import model as lm_eval_model
from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

import cupel

logger = logging.getLogger(__name__)


class LM(lm_eval_model.LM):
    """A model of cupel, or any scorer, for `lm_eval.simple_evaluate(model=...)`.

    Scores are those of lm-eval's own `HFLM` on the same weights: boundary="harness" and
    over_long="truncate_left" unless told otherwise. What lm-eval has no place for, such as requests
    that lost their beginning, is counted in `flags` and logged as a warning.

    Generation takes until, max_gen_toks, do_sample, temperature, top_k and top_p. Sampled text comes
    from `seed` and from the task, the document and the repeat, so it does not depend on what else
    runs.

    Args:
        model: A cupel.Scorer; or, with a tokenizer, a cupel.Model, a cupel.TokenModel or a causal
            language model of transformers.
        tokenizer: cupel's or any Hugging Face tokenizer. The latter brings its chat template, also
            beside a scorer.
        max_gen_toks: Most new tokens where a task does not say.
        seed: Of all sampling.
        **options: Those of cupel.ModelScorer.

    Raises:
        TypeError: A model without a tokenizer, or options beside a scorer.
        ValueError: When it runs: generation arguments that cupel does not know.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        max_gen_toks: int = 256,
        seed: int = 0,
        **options: Any,
    ):
        super().__init__()
        if isinstance(model, cupel.Scorer):
            if options:
                raise TypeError(
                    "[lm_eval.LM] a scorer has its options already. Got "
                    f"{', '.join(sorted(options))} as well."
                )
            self.scorer = model
        elif tokenizer is None:
            raise TypeError(
                "[lm_eval.LM] a model needs a tokenizer; only a cupel.Scorer goes without. Got a "
                f"{type(model).__name__} alone."
            )
        else:
            options = {"boundary": "harness", "over_long": "truncate_left"} | options
            self.scorer = cupel.ModelScorer(model, tokenizer, **options)
        self.max_gen_toks = max_gen_toks
        self.seed = seed
        self.flags: Counter[str] = Counter()
        # lm-eval reads its special tokens, which cupel's own tokenizer does not spell out.
        self.tokenizer = tokenizer if hasattr(tokenizer, "eos_token") else None

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(nats, is greedy) of each (context, continuation)."""
        pairs = [request.args for request in requests]
        scores = self.scorer.log_likelihood(pairs)
        answers = [(score.value, score.is_greedy) for score in scores]
        self._finish("loglikelihood", pairs, answers, scores)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Nats of each text."""
        texts = [request.args for request in requests]
        scores = self.scorer.rolling_log_likelihood([text for (text,) in texts])
        answers = [score.value for score in scores]
        self._finish("loglikelihood_rolling", texts, answers, scores)
        return answers

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What follows each context, up to a stop string, the end of sequence or the length."""
        repeats: Counter[tuple] = Counter()
        prompts = []
        for request in requests:
            context, arguments = request.args
            place = (request.task_name, request.doc_id, request.idx)
            prompts.append(self._prompt(context, arguments, (*place, repeats[place])))
            repeats[place] += 1
        made = self.scorer.generate(prompts)
        answers = [generation.text for generation in made]
        self._finish("generate_until", [request.args for request in requests], answers, made)
        return answers

    def get_model_info(self) -> dict[str, Any]:
        """For the results: what was scored, and how."""
        info = self.scorer.info()
        return {
            "model_dtype": info.model.dtype,
            "model_fingerprint": info.model.fingerprint,
            "tokenizer_fingerprint": info.tokenizer,
            "cupel_version": cupel.__version__,
            "cupel_settings": dict(info.settings),
        }

    @property
    def tokenizer_name(self) -> str:
        """Tells requests of one tokenizer from those of another in lm-eval's cache of them."""
        return self.scorer.info().tokenizer

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The tokenizer's template, or that of this name."""
        if not chat_template:
            return ""
        name = chat_template if isinstance(chat_template, str) else None
        return self._templates().get_chat_template(name)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as one prompt."""
        return self._templates().apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def _templates(self) -> Any:
        if not hasattr(self.tokenizer, "apply_chat_template"):
            raise ValueError(
                "[lm_eval.LM] a chat template is that of a tokenizer of transformers; pass one."
            )
        return self.tokenizer

    def _prompt(self, context: str, arguments: dict, place: tuple) -> cupel.GenerationRequest:
        rest = dict(normalize_gen_kwargs(arguments, self.max_gen_toks))
        length, stop = rest.pop("max_gen_toks"), [text for text in rest.pop("until") if text]
        temperature = float(rest.pop("temperature", 1.0))
        top_k, top_p = int(rest.pop("top_k", 0) or 0), float(rest.pop("top_p", 1.0))
        sampled = rest.pop("do_sample", False) and temperature > 0
        rest.pop("use_cache", None)  # states do what it asks for
        if rest:
            raise ValueError(
                "[lm_eval.LM] generation takes until, max_gen_toks, do_sample, temperature, top_k "
                f"and top_p. Got {', '.join(sorted(rest))}."
            )
        if not sampled:
            return cupel.GenerationRequest(context, max_new_tokens=length, stop=stop)
        return cupel.GenerationRequest(
            context,
            max_new_tokens=length,
            stop=stop,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=self._seed(place),
        )

    def _seed(self, place: tuple) -> int:
        digest = hashlib.sha256(repr((self.seed, *place)).encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def _finish(self, method: str, keys: Iterable, answers: list, results: Iterable) -> None:
        """Hands answers to lm-eval's cache, and says what happened to them."""
        for key, answer in zip(keys, answers, strict=True):
            self.cache_hook.add_partial(method, key, answer)
        flags = Counter(flag for result in results for flag in result.flags)
        self.flags.update(flags)
        if flags:
            said = ", ".join(f"{count} {flag}" for flag, count in sorted(flags.items()))
            logger.warning("%s: %s (of %d requests)", method, said, len(answers))
