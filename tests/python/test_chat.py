"""Chat templates: the built-in ones, and those of folders beside transformers."""

import json
import shutil

import cupel
import pytest
from cupel import touchstone

TALK = [
    {"role": "user", "content": "Hi <b>'there'</b>?"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Again, é."},
]
SYSTEM = [{"role": "system", "content": "Be short."}]

LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'].strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
BLOCKS = """
{%- set date = strftime_now('%Y') %}
{%- for message in messages %}
    {%- if loop.index > 40 %}{% break %}{% endif %}
    {%- if message.role == 'assistant' %}
{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}

    {%- else %}
<|{{ message.role }}|>
{{ message | tojson }} {{ [message.content] | tojson(indent=2) }}
    {%- endif %}

{% endfor %}
{% if add_generation_prompt %}
<|assistant|> {{ date | length }}
{%- endif %}
"""


def write(folder, template=None, files=(), **config):
    folder.mkdir(exist_ok=True)
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}} | config
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name, text in dict(files).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("template", [LLAMA, BLOCKS], ids=["llama", "blocks"])
def test_a_folders_template_writes_what_transformers_writes(template, tmp_path, shared_path):
    transformers = pytest.importorskip("transformers")
    folder = shared_path("models/stories260K")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made = cupel.chat_template(write(tmp_path / "m", template), strip_bos=False)
    talks = [TALK, TALK[:1]] + ([SYSTEM + TALK] if template == BLOCKS else [])
    for talk in talks:
        expected = tokenizer.apply_chat_template(
            talk, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        assert made(talk) == expected


def test_variants_and_files(tmp_path):
    named = [
        {"name": "default", "template": "D{{ messages[0]['content'] }}"},
        {"name": "tool_use", "template": "T"},
    ]
    folder = write(tmp_path / "m", named)
    assert cupel.chat_template(folder)(TALK[:1]) == "DHi <b>'there'</b>?"
    assert cupel.chat_template(folder, variant="tool_use")(TALK) == "T"
    with pytest.raises(ValueError, match="default, tool_use. Got variant 'rag'"):
        cupel.chat_template(folder, variant="rag")
    files = {"chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "rag {{ x }}"}
    folder = write(tmp_path / "m", named, files)
    assert cupel.chat_template(folder)(TALK) == "file"
    assert cupel.chat_template(folder, variant="rag")(TALK, x=3) == "rag 3"
    assert cupel.chat_template(folder / "chat_template.jinja")(TALK) == "file"
    with pytest.raises(ValueError, match="has the chat templates: none"):
        cupel.chat_template(write(tmp_path / "bare"))


def test_the_sandbox_holds(tmp_path):
    for text in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}"):
        made = cupel.chat_template(write(tmp_path / "m", text))
        with pytest.raises(ValueError, match="refuses it"):
            made(TALK)
    with pytest.raises(ValueError, match="roles must alternate"):
        cupel.chat_template(write(tmp_path / "m", LLAMA))(SYSTEM + TALK)
    with pytest.raises(ValueError, match="holds no template"):
        cupel.chat_template(write(tmp_path / "m", "{% for %}"))


def test_bad_files_are_format_errors(tmp_path):
    folder = write(tmp_path / "m", [{"name": "x"}])
    with pytest.raises(cupel.FormatError, match="objects of name and template"):
        cupel.chat_template(folder)
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(cupel.FormatError, match="is no JSON") as caught:
        cupel.chat_template(folder)
    assert caught.value.file == str(folder / "tokenizer_config.json")
    with pytest.raises(
        ValueError, match="known: chatml, llama-2, model, none, vicuna_v1.1. Got 'x y'"
    ):
        cupel.chat_template("x y")


def test_bos_stands_once(tmp_path, shared_path):
    """With either tokenizer, whether the template spells BOS out or not."""
    transformers = pytest.importorskip("transformers")
    real = shared_path("models/stories260K")
    own = cupel.load_tokenizer(real)
    theirs = transformers.AutoTokenizer.from_pretrained(real)
    model = cupel.load_model(real)
    prompt = cupel.chat_template(write(tmp_path / "m", LLAMA, add_bos_token=True))(TALK[:1])
    assert prompt == "[INST] Hi <b>'there'</b>? [/INST]"
    spelled = cupel.chat_template(tmp_path / "m", strip_bos=False)(TALK[:1])
    assert spelled == "<s>" + prompt
    scorer = cupel.ModelScorer(model, own)
    count = scorer.measure().count
    assert count(prompt) == len(own.encode(prompt)) == len(own.encode(prompt, False)) + 1
    assert count(spelled) > count(prompt) + 1  # letters to cupel's tokenizer: hence strip_bos
    scorer = cupel.ModelScorer(model, theirs)
    count = scorer.measure().count
    assert theirs(spelled, add_special_tokens=False)["input_ids"][0] == theirs.bos_token_id
    # One BOS and not two: as many tokens as the prompt without it.
    assert count(spelled) == len(theirs(spelled, add_special_tokens=False)["input_ids"])


def test_built_in_templates():
    assert cupel.chat_templates() == ["chatml", "llama-2", "model", "none", "vicuna_v1.1"]
    assert cupel.chat_prompt("llama-2", TALK[:1]) == "[INST] Hi <b>'there'</b>? [/INST]"
    made = cupel.chat_template("chatml")
    assert made(TALK) == cupel.chat_prompt("chatml", TALK)
    assert made.stop == ("<|im_end|>",) and made.source is None
    with pytest.raises(ValueError, match="takes no variables"):
        made(TALK, x=1)
    with pytest.raises(ValueError, match="where 'user' is due, in message 0"):
        cupel.chat_prompt("none", TALK[1:])
    with pytest.raises(ValueError, match="texts role and content"):
        cupel.chat_prompt("none", [{"role": "user"}])
    with pytest.raises(TypeError, match="a message is a dict"):
        cupel.chat_prompt("none", ["x"])


def test_ones_own_template_reaches_a_task(tmp_path, tiny, tokenizer_model):
    folder = write(tmp_path / "m", "{% for m in messages %}{{ m['content'] }}/{% endfor %}")
    cupel.add_chat_template("mine", cupel.chat_template(folder))
    try:
        with pytest.raises(ValueError, match="unique. Got 'mine'"):
            cupel.add_chat_template("mine", lambda messages: "")
        file = tmp_path / "q.jsonl"
        file.write_text(json.dumps({"turns": ["ka lo", "mi"]}))
        task = cupel.make_task("instruction")
        (item,) = task.load(file, {"template": "mine"})
        (request,) = task.requests(item, "strict", [])
        assert request.generation.prompt == "ka lo/"
        assert request.generation.stop == ["</s>"]
        result = cupel.evaluate(
            tiny(),
            cupel.load_tokenizer(tokenizer_model),
            [f"instruction:template=mine,max_new_tokens=4,file={file}"],
        )
        assert result.metrics["instruction"]["strict"]["items"] == 1
    finally:
        cupel.remove_chat_template("mine")
    with pytest.raises(ValueError, match="unknown chat template 'mine'"):
        cupel.chat_prompt("mine", TALK)


def test_a_folders_own_template_is_the_one_called_model(tmp_path, command):
    with pytest.raises(ValueError, match="read from a model's folder"):
        cupel.chat_prompt("model", [{"role": "user", "content": "Hi"}])
    folder = tmp_path / "model"
    shutil.copytree(touchstone.folder(), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}<{{ m.role }}> {{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "q.jsonl").write_text('{"id": 1, "text": "Where is it?"}\n')
    task = f"instruction:file={tmp_path / 'q.jsonl'},template=model,max_new_tokens=4"
    done = command("evaluate", folder, "--tasks", task, "--out", tmp_path / "own")
    assert done.returncode == 0, done.stderr
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    done = command("evaluate", folder, "--tasks", task)
    assert done.returncode != 0 and "chat template" in done.stderr
    # The judge reads the questions again, which asks nothing of the template.
    judged = cupel.judge(tmp_path / "own", lambda request: "[[5]]", data=tmp_path / "q.jsonl")
    assert judged.scores.metrics["instruction"]["single"]["score"] == 5


def test_special_tokens_of_a_prompt_are_one_token_each():
    """What a template writes around earlier answers is not letters to a SentencePiece tokenizer."""
    folder = touchstone.folder()
    model, tokenizer = cupel.load_model(folder, dtype="float32"), cupel.load_tokenizer(folder)
    asked = cupel.GenerationRequest("Where?</s>Who is it?</s>", 8, special=["</s>"])
    made = cupel.ModelScorer(model, tokenizer).generate([asked])[0]
    end = [tokenizer.eos]
    ids = tokenizer.encode("Where?") + end + tokenizer.encode("Who is it?", False) + end
    assert tokenizer.decode(cupel.generate(model, ids, max_new_tokens=8)) == made.text.strip()
    letters = cupel.GenerationRequest(asked.prompt, 8)
    assert tokenizer.encode(asked.prompt) != ids
    assert cupel.ModelScorer(model, tokenizer).generate([letters])[0].text != made.text
