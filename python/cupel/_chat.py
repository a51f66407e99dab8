"""Chat templates of model folders, as Hugging Face writes them: in Jinja."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cupel

Message = Mapping[str, str]


class ChatTemplate:
    """A conversation -> the prompt that asks for the assistant's next answer.

    Call it with messages, dicts {"role", "content"}, or register it for tasks:

        cupel.add_chat_template("mine", cupel.chat_template("path/to/model"))
        cupel.evaluate(model, tokenizer, ["instruction:template=mine"], data="data")

    Attributes:
        name: Where it comes from.
        source: The Jinja text; None for a built-in template.
        stop: Texts that end an answer, beside the end of sequence.
        special: Texts that the model knows as one token each.
    """

    def __init__(
        self,
        name: str,
        source: str | None,
        stop: Sequence[str] = (),
        special: Sequence[str] = (),
        variables: Mapping[str, Any] | None = None,
        strip: str = "",
    ):
        self.name, self.source = name, source
        self.stop, self.special = tuple(stop), tuple(special)
        self._variables = dict(variables or {})
        self._strip = strip
        self._compiled = None if source is None else _compile(name, source)

    def __call__(self, messages: Sequence[Message], **variables: Any) -> str:
        """The prompt.

        Args:
            messages: Dicts {"role", "content"}.
            variables: More names for the template, as `enable_thinking=False`.

        Raises:
            ValueError: The template refuses the messages, or is no template.
        """
        if self._compiled is None:
            if variables:
                raise ValueError(f"[chat_template] {self.name} takes no variables.")
            return cupel.chat_prompt(self.name, messages)
        import jinja2

        names = {"messages": list(messages), "tools": None, "documents": None}
        names |= {"add_generation_prompt": True} | self._variables | variables
        try:
            prompt = self._compiled.render(**names)
        except jinja2.TemplateError as error:
            raise ValueError(f"[chat_template] {self.name} refuses it: {error}") from error
        return prompt.removeprefix(self._strip)

    def __repr__(self) -> str:
        return f"<ChatTemplate {self.name}>"


def chat_template(
    path_or_name: str | os.PathLike[str],
    variant: str = "default",
    strip_bos: bool | None = None,
    stop: Sequence[str] | None = None,
) -> ChatTemplate:
    """The chat template of a Hugging Face model folder, or a built-in one by its name.

    It is read from chat_template.jinja, or from "chat_template" in tokenizer_config.json (one text, or
    a list of named ones), and rendered in Jinja's sandbox with what transformers gives:
    raise_exception, strftime_now, tojson, break and continue, the special tokens. Such a template is
    a program of whoever wrote the folder. The sandbox keeps it from files and from Python's objects,
    not from running long.

    Args:
        path_or_name: A folder, a .jinja file, or one of cupel.chat_templates().
        variant: Which of several named templates.
        strip_bos: Take off a BOS that the template puts in front. None: where the tokenizer adds one
            by itself (add_bos_token), so that there is one and not two, or its letters.
        stop: Texts that end an answer; by default the EOS of tokenizer_config.json.

    Raises:
        ValueError: No such name, folder or variant, or a text that is no template. A FormatError for
            a bad file.
    """
    name = os.fspath(path_or_name)
    path = Path(name)
    if not path.exists():
        if name not in cupel.chat_templates():
            known = ", ".join(cupel.chat_templates())
            raise ValueError(
                f"[chat_template] there is no such folder, and no template of that name; known: "
                f"{known}. Got {name!r}."
            )
        from ._cupel import _chat_template_ends

        own_stop, special = _chat_template_ends(name)
        return ChatTemplate(name, None, own_stop if stop is None else stop, special)
    folder = path if path.is_dir() else path.parent
    config = _read_object(folder / "tokenizer_config.json")
    source = path.read_text("utf-8") if path.is_file() else _source(folder, config, variant)
    tokens = _special_tokens(folder, config)
    bos, eos = tokens.get("bos_token", ""), tokens.get("eos_token", "")
    if strip_bos is None:
        llama = (folder / "tokenizer.model").exists()  # whose tokenizer adds one unless told not to
        strip_bos = bool(config.get("add_bos_token", llama))
    return ChatTemplate(
        str(path),
        source,
        stop=([eos] if eos else []) if stop is None else stop,
        special=[text for text in tokens.values() if text and text in source] + [eos] * bool(eos),
        variables=tokens,
        strip=bos if strip_bos else "",
    )


def use_model_template(folder: str | os.PathLike[str]) -> ChatTemplate:
    """Makes the chat template of a model folder the one that tasks call "model" (template=model).

    `cupel evaluate` and `cupel kick` do this for tasks that ask for it.

    Raises:
        ValueError: The folder has none. A FormatError for a bad file.
    """
    found = chat_template(Path(folder))
    cupel.remove_chat_template("model")
    cupel.add_chat_template("model", found)
    return found


def use_asked_template(folder: Path, tasks: Sequence[Any]) -> None:
    """The same where one of the tasks' texts asks for it."""
    from ._kick.options import task_options

    if any(task_options(str(task))[1].get("template") == "model" for task in tasks):
        use_model_template(folder)


def _read_object(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _bad_file(file, "", f"is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise _bad_file(file, "", "must be an object.")
    return config


def _bad_file(file: Path, where: str, rule: str) -> cupel.FormatError:
    error = cupel.FormatError(f"{file}: {where}{': ' if where else ''}{rule}")
    error.file, error.where, error.rule = str(file), where, rule
    return error


def _source(folder: Path, config: Mapping[str, Any], variant: str) -> str:
    found: dict[str, str] = {}
    given = config.get("chat_template")
    if isinstance(given, str):
        found["default"] = given
    elif isinstance(given, list):
        for entry in given:
            if not (isinstance(entry, dict) and {"name", "template"} <= entry.keys()):
                raise _bad_file(
                    folder / "tokenizer_config.json",
                    "chat_template",
                    "a list holds objects of name and template.",
                )
            found[entry["name"]] = entry["template"]
    # Files of their own are the newer way, and transformers lets them win.
    files = {"default": folder / "chat_template.jinja"}
    files |= {f.stem: f for f in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    found |= {name: file.read_text("utf-8") for name, file in files.items() if file.exists()}
    if variant not in found:
        have = ", ".join(sorted(found)) or "none"
        raise ValueError(
            f"[chat_template] {folder} has the chat templates: {have}. Got variant {variant!r}."
        )
    return found[variant]


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """bos_token, eos_token and so on, as text."""
    tokens: dict[str, str] = {}
    for source in [_read_object(folder / "special_tokens_map.json"), config]:
        for name, value in source.items():
            text = value.get("content") if isinstance(value, dict) else value
            if name.endswith("_token") and isinstance(text, str):
                tokens[name] = text
    return tokens


def _compile(name: str, source: str) -> Any:
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """{% generation %}: marks what an assistant wrote, for training; here only its text."""

        tags = {"generation"}

        def parse(self, parser: jinja2.parser.Parser) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson  # Jinja's own escapes HTML
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise ValueError(f"[chat_template] {name} holds no template: {error}") from error
