"""The tokenizer as tokenizer.json, for transformers and tokenizers: the ids of tokenizer.model.

transformers 5 takes any tokenizer.model of a Llama for BPE; this one is a unigram model.
"""

from sentencepiece import sentencepiece_model_pb2 as model_pb2
from vocabulary import BOS, EOS, SPACE, UNK


def _replace(pattern: dict[str, str], content: str) -> dict:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _normalizer() -> dict:
    """Spaces at both ends dropped, several made one, one put in front, all written as SPACE.

    At the end SentencePiece drops a SPACE that stood in the text, too.
    """
    steps = [
        _replace({"Regex": r"\A +"}, ""),
        _replace({"Regex": rf"[ {SPACE}]+\z"}, ""),
        _replace({"Regex": " {2,}"}, " "),
        {"type": "Prepend", "prepend": SPACE},
        _replace({"String": " "}, SPACE),
    ]
    return {"type": "Sequence", "normalizers": steps}


def _begin_with(piece: str, id: int) -> dict:
    def special() -> dict:
        return {"SpecialToken": {"id": piece, "type_id": 0}}

    def sequence(name: str) -> dict:
        return {"Sequence": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [special(), sequence("A")],
        "pair": [special(), sequence("A"), special(), sequence("B")],
        "special_tokens": {piece: {"id": piece, "ids": [id], "tokens": [piece]}},
    }


def tokenizer_json(tokenizer: bytes) -> dict:
    """The content of tokenizer.json for a serialised model of `vocabulary.make_tokenizer`."""
    model = model_pb2.ModelProto.FromString(tokenizer)
    pieces = [piece.piece for piece in model.pieces]
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": pieces[id], **added, "special": True} for id in (UNK, BOS, EOS)
        ],
        "normalizer": _normalizer(),
        # Only pieces that never stand for text hold a "<"; apart, it cannot be read as one of them.
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": "<"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": _begin_with(pieces[BOS], BOS),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                _replace({"String": SPACE}, " "),
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": UNK,
            "vocab": [[piece.piece, piece.score] for piece in model.pieces],
            "byte_fallback": True,
        },
    }
