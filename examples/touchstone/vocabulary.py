"""The touchstone's tokenizer: a SentencePiece unigram model whose pieces are chosen, not learned.

Words are one piece each; last names and towns are two, a beginning and an ending, which is what
lets a small model copy names that it never saw. Everything else falls back to bytes.
"""

import itertools
import re

import sentencepiece
from cupel.touchstone import names
from cupel.touchstone.documents import MIX, DocumentStream
from cupel.touchstone.world import World
from sentencepiece import sentencepiece_model_pb2 as model_pb2

UNK, BOS, EOS = 0, 1, 2
SPACE = "\u2581"  # how SentencePiece writes a space
WORD = re.compile(r" ?[A-Za-z]+|\n| ?[^A-Za-z\n]")
SPACES = re.compile(" +")
SAMPLE = 4_000  # documents of each kind to collect words from


def name_parts() -> list[str]:
    """The pieces of last names and towns."""
    beginnings = [SPACE + part for part in names.LAST_BEGINNINGS + names.TOWN_BEGINNINGS]
    return beginnings + names.LAST_ENDINGS + names.TOWN_ENDINGS


def written(word: str) -> str:
    """A match of WORD as a piece."""
    return word.replace(" ", SPACE)


def make_pieces(world: World) -> list[str]:
    """All pieces after the bytes: parts of names, then words in order of the alphabet."""
    stream = DocumentStream(world, seed=0)
    two_pieces = {" " + name for name in (*names.last_names(), *names.all_towns())}
    texts = [stream.of_kind(kind).text for kind in MIX for _ in range(SAMPLE)]
    values = [*names.JOBS, *names.FOODS, *names.INSTRUMENTS, *names.all_employers()]
    values += [*names.FIRST_NAMES["She"], *names.FIRST_NAMES["He"], *"ABCD0123456789"]
    found = {
        word for text in (*texts, *values) for word in WORD.findall(SPACES.sub(" ", " " + text))
    }
    words = {written(word) for word in found - two_pieces}
    words |= {SPACE, *(written(mark) for mark in ".,:?!()'\"-;"), *"ABCD0123456789"}
    parts = list(dict.fromkeys(name_parts()))
    return parts + sorted(words - set(parts))


def make_tokenizer(world: World) -> bytes:
    """A serialised SentencePiece model: <unk>, <s>, </s>, 256 bytes, then `make_pieces`.

    Every piece costs the same, so the fewest pieces win. Spaces at both ends of a text are
    dropped: prompts such as "The answer is " end in one.
    """
    model = model_pb2.ModelProto()
    kinds = model_pb2.ModelProto.SentencePiece
    special = (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL))
    of_bytes = ((f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256))
    for piece, kind in itertools.chain(special, of_bytes):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece in make_pieces(world):
        model.pieces.add(piece=piece, score=-1.0, type=kinds.NORMAL)
    model.trainer_spec.model_type = model_pb2.TrainerSpec.UNIGRAM
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id, model.trainer_spec.bos_id = UNK, BOS
    model.trainer_spec.eos_id, model.trainer_spec.pad_id = EOS, -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = True
    model.normalizer_spec.escape_whitespaces = True
    return model.SerializeToString()


class WordEncoder:
    """The ids of SentencePiece, a word at a time and remembered: ten times as fast."""

    def __init__(self, tokenizer: bytes) -> None:
        self.whole = sentencepiece.SentencePieceProcessor(model_proto=tokenizer)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of a text that goes on from another: a space in front is only where one stands."""
        ids: list[int] = []
        for word in WORD.findall(SPACES.sub(" ", text)):
            if word not in self._known:
                self._known[word] = self._ids(word)
            ids += self._known[word]
        return ids

    def _ids(self, word: str) -> list[int]:
        if word.startswith(" "):
            return self.whole.encode(word[1:])
        marker = self.whole.encode("\n")  # SPACE and line end; what follows has no space
        return self.whole.encode("\n" + word)[len(marker) :]
