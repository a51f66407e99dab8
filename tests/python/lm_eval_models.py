"""lm-eval's own scores, the models and tokenizers that both libraries run, and questions for them."""

import json
import random

import cupel
import pytest
from conftest import TINY_CONFIG, tiny_state_dict, words

transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

LENGTH = 512
LETTERS = "klmt"


def byte_pairs(bos):
    """A tokenizer whose tokens span spaces, and so the join of context and continuation."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=8,
    )
    made.train_from_iterator([words(40, seed) for seed in range(100)], trainer)
    if bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", bos_token="<s>" if bos else None
    )


def small_models():
    """A seeded model that both libraries run, as (cupel's, transformers')."""
    config = TINY_CONFIG | {"vocab_size": 400, "max_position_embeddings": LENGTH}
    weights = tiny_state_dict(config)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**config, bos_token_id=0, eos_token_id=1)
    )
    theirs.load_state_dict(weights)
    return cupel.make_model(json.dumps(config), weights), theirs.eval()


def oracle(model, tokenizer, **options):
    return HFLM(pretrained=model, tokenizer=tokenizer, **options)


def instances(kind, arguments, **fields):
    made = [
        Instance(request_type=kind, doc={}, arguments=a, idx=0, metadata=("task", i, 1))
        for i, a in enumerate(arguments)
    ]
    for instance in made:
        for name, value in fields.items():
            setattr(instance, name, value)
    return made


def theirs_of(lm, pairs):
    return lm.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)


def questions(count, seed, full):
    """Five examples and a question each; four choices by letter, or `full` texts."""
    rng = random.Random(seed)

    def question(solved):
        answers = [words(rng.randint(1, 4 if full else 2), rng.random()) for _ in LETTERS]
        text = words(rng.randint(2, 4), rng.random()) + "\n"
        if not full:
            text += "".join(f"{k}. {a}\n" for k, a in zip(LETTERS, answers, strict=True))
        right = rng.choice(answers if full else LETTERS)
        return text + "Tu:" + (f" {right}\n\n" if solved else ""), answers

    made = []
    header = words(8, seed) + "\n\n"
    shots = "".join(question(True)[0] for _ in range(5))
    for _ in range(count):
        text, answers = question(False)
        made.append([(header + shots + text, f" {a}") for a in (answers if full else LETTERS)])
    return made
