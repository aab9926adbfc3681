"""Chat templates: tokens equal to transformers', the tokens of the assistant, and templates that do harm."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

from kerora.data.documents import messages_of, turn
from kerora.data.turns import turns_of
from kerora.errors import DataError, PresetError
from kerora.models import chat_sandbox
from kerora.models.architectures import ARCHITECTURES
from kerora.models.chat_sandbox import Sandbox, TemplateProblem
from kerora.models.chat_template import ChatTemplate
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import huggingface_tokenizer
from tests.models.chat_templates import MARKED, NO_SYSTEM, QWEN_2_5, QWEN_3, SPECIAL, TEMPLATES, ZEPHYR
from tests.tiny_huggingface import corpus

NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
TALK = [
    {"role": "user", "content": "  What is a café?\n"},
    {"role": "assistant", "content": "A place to drink. 😀 <b>Really</b>"},
    {"role": "user", "content": 'And \' "quotes" {{ not jinja }} </s>?'},
    {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes.\n"},
]
SYSTEM = {"role": "system", "content": "Be short."}
CALLS = [
    {"role": "user", "content": "Weather in Oslo?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo <&>", "n": 3}}}
        ],
    },
    {"role": "tool", "content": '{"sky": "clear"}'},
    {"role": "assistant", "content": "Clear."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    # a template writes the start token itself: this one must not come a second time
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(NAMES))
    return folder


def ours(folder: Path, template: str) -> TextTokenizer:
    tokenizer = huggingface_tokenizer(folder, ARCHITECTURES["llama3"])
    tokenizer.chat = ChatTemplate(template, tokenizer.special_names, "the test")
    return tokenizer


def theirs(folder: Path, template: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    return tokenizer


def learnt(tokenizer: TextTokenizer, messages: list[dict[str, Any]]) -> list[str]:
    """Return the stretches of tokens that the loss counts, as text."""
    ids, counted = tokenizer.conversation(parts(messages))
    found, before = [], 0
    for number, counts in zip(ids, counted, strict=True):
        if counts:
            found = [*found[:-1], [*found[-1], number]] if before else [*found, [number]]
        before = counts
    return [tokenizer.decode(stretch, skip_special=False) for stretch in found]


def parts(messages: list[dict[str, Any]]) -> Any:
    found = turns_of(messages, "messages")
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_tokens_equal_those_of_transformers(name: str, system: bool, folder: Path) -> None:
    messages = [SYSTEM, *TALK] if system else TALK
    mine, other = ours(folder, TEMPLATES[name]), theirs(folder, TEMPLATES[name])
    if system and name in NO_SYSTEM:
        with pytest.raises(DataError, match="cannot write the conversation 'row 7': .*(alternate|not supported)"):
            mine.conversation(parts(messages), "row 7")
        return
    assert mine.conversation(parts(messages))[0] == other.apply_chat_template(messages, return_dict=False)
    prompt = messages[:-1]
    wanted = other.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    assert mine.chat_prompt([turn(m["content"], False, m["role"]) for m in prompt]) == wanted


LEARNT = {
    "chatml": ["{0}<|im_end|>\n", "{1}<|im_end|>\n"],
    "smollm2": ["{0}<|im_end|>\n", "{1}<|im_end|>\n"],
    "llama 2": [" {0} </s>", " <think>\nHm.\n</think>\n\nYes. </s>"],
    "llama 3": ["{0}<|eot_id|>", "<think>\nHm.\n</think>\n\nYes.<|eot_id|>"],
    "llama 3.1": ["{0}<|eot_id|>", "<think>\nHm.\n</think>\n\nYes.<|eot_id|>"],
    "mistral": ["{0}</s>", "{1}</s>"],
    "zephyr": ["{0}</s>\n", "{1}</s>\n"],
    "gemma": ["{0}<end_of_turn>\n", "<think>\nHm.\n</think>\n\nYes.<end_of_turn>\n"],
    "phi 3": ["{0}<|end|>\n", "{1}<|end|>\n</s>"],
    "qwen 2.5": ["{0}<|im_end|>\n", "{1}<|im_end|>\n"],
    # of earlier turns the template leaves out the thoughts
    "qwen 3": ["{0}<|im_end|>\n", "<think>\nHm.\n</think>\n\nYes.\n<|im_end|>\n"],
    "deepseek r1": ["{0}</s>", "\n\nYes.\n</s>"],
    "vicuna": [" {0}</s>\n", " <think>\nHm.\n</think>\n\nYes.</s>\n"],
    "marked": ["{0}<|im_end|>", "{1}<|im_end|>"],
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_loss_counts_what_the_assistant_says(name: str, folder: Path) -> None:
    answers = [TALK[1]["content"], TALK[3]["content"]]
    assert learnt(ours(folder, TEMPLATES[name]), TALK) == [form.format(*answers) for form in LEARNT[name]]


def test_marks_equal_those_of_transformers(folder: Path) -> None:
    found = theirs(folder, MARKED).apply_chat_template(
        [SYSTEM, *TALK], return_dict=True, return_assistant_tokens_mask=True
    )
    ids, counted = ours(folder, MARKED).conversation(parts([SYSTEM, *TALK]))
    assert ids == found["input_ids"]
    assert counted == found["assistant_masks"]


@pytest.mark.parametrize("name", ["qwen 2.5", "llama 3.1"])
def test_calls_of_tools_are_objects(name: str, folder: Path) -> None:
    mine, other = ours(folder, TEMPLATES[name]), theirs(folder, TEMPLATES[name])
    assert mine.conversation(parts(CALLS))[0] == other.apply_chat_template(CALLS, return_dict=False)
    call, answer = learnt(mine, CALLS)
    assert '"weather"' in call and "Oslo <&>" in call and "Clear." in answer and "sky" not in call + answer


def test_thoughts_go_by_several_names(folder: Path) -> None:
    messages = [TALK[0], {"role": "assistant", "content": "Yes.", "reasoning": "Because."}]
    wanted = theirs(folder, QWEN_3).apply_chat_template(messages, return_dict=False)
    assert ours(folder, QWEN_3).conversation(parts(messages))[0] == wanted


def test_a_conversation_that_ends_with_the_user_is_learnt_up_to_there(folder: Path) -> None:
    assert learnt(ours(folder, QWEN_2_5), TALK[:3]) == [f"{TALK[1]['content']}<|im_end|>\n"]


def test_what_ends_a_turn_ends_a_generated_text(folder: Path) -> None:
    ends = {name: ours(folder, source).text_ends() for name, source in TEMPLATES.items()}
    number = SPECIAL.index
    assert ends["gemma"] == {number("</s>"), number("<end_of_turn>")}
    assert ends["phi 3"] == {number("</s>"), number("<|end|>")}
    assert ends["mistral"] == {number("</s>")}
    assert ours(folder, "{{ nothing.here }}").text_ends() == {number("</s>")}


def test_messages_keep_their_further_fields() -> None:
    turns = parts(CALLS)
    assert messages_of(turns)[1] == {"role": "assistant", "tool_calls": CALLS[1]["tool_calls"]}
    assert messages_of(turns)[2] == CALLS[2]


def test_turns_that_a_template_leaves_out_are_refused(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"the test cannot write the conversation '5': it leaves out turn 3, of the role 't"
    ):
        ours(folder, ZEPHYR).conversation(parts(CALLS[:1] + TALK[1:2] + CALLS[2:]), "5")
    late = [*TALK[:2], SYSTEM, *TALK[2:]]
    with pytest.raises(DataError, match="leaves out turn 3, of the role 'system'"):
        ours(folder, QWEN_2_5.replace(" or (message.role == 'system' and not loop.first)", "")).conversation(
            parts(late)
        )


def test_a_template_without_marks_and_order_is_refused(folder: Path) -> None:
    backwards = "{% for m in messages[::-1] %}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="does not follow the text before it unchanged, and the template does not mark"):
        ours(folder, backwards).conversation(parts(TALK))
    nothing = (
        "{% if false %}{% generation %}{% endgeneration %}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(DataError, match="marks nothing of the conversation"):
        ours(folder, nothing).conversation(parts(TALK))


def test_private_characters_cannot_forge_marks(folder: Path) -> None:
    forged = [TALK[0], {"role": "assistant", "content": f"a{chat_sandbox.START}b"}]
    with pytest.raises(DataError, match="turn 2 holds the private characters"):
        ours(folder, MARKED).conversation(parts(forged))


def test_a_template_that_is_no_jinja_names_its_place(folder: Path) -> None:
    with pytest.raises(
        PresetError, match=r"chat template of the test cannot be used: line 1: .* --chat-template none\."
    ):
        ours(folder, "{% for %}").conversation(parts(TALK))


SHORT = "{% set x = 'aaaaaaaaaa' %}"
HARM = [
    ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ("{{ cycler.__init__.__globals__ }}", "unsafe"),
    ("{{ messages.append(1) }}", "unsafe"),
    ("{{ messages[0].update(role='x') }}", "unsafe"),
    ("{% set ns = namespace(__init__=1) %}", "private name"),
    ("{% include 'x' %}", "no loader"),
    ("{{ open('/etc/passwd') }}", "undefined"),
    ("{{ raise_exception('no\n' + 'tools') }}", "^no tools$"),
    ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "does not end"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    (
        "{% macro f(n) %}{% if n %}{% set a = f(n-1) %}{% set b = f(n-1) %}{% endif %}{% endmacro %}{{ f(60) }}",
        "not end",
    ),
    ("{{ 2 ** 99 }}", "too large"),
    ("{{ 'a' * 9999999999 }}", "too large"),
    (SHORT + "{% set x = x ~ x %}" * 40 + "{{ x }}", "longer than"),
    (SHORT + "{% set x = x + x %}" * 40 + "{{ x }}", "longer than"),
    (SHORT + "{% set x = x.replace('a', x) %}" * 9 + "{{ x }}", "longer than"),
    (SHORT + "{% set x = x | replace('a', x) %}" * 9 + "{{ x }}", "longer than"),
    (SHORT + "{% set x = x.join(x) %}" * 9 + "{{ x }}", "longer than"),
    ("{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}", "longer than"),
    ("{% set x = 3 %}" + "{% set x = x * x %}" * 40 + "{{ x }}", "number that is too large"),
    ("{{ 'a'.center(99999999999) }}{{ 'a' | center(99999999999) }}", "longer than"),
    ("{{ 'a' | center(99999999999) }}", "longer than"),
    ("{{ 'a' | indent(99999999999) }}", "longer than"),
    ("{{ [1] | tojson(indent=99999999999) }}", "indents"),
    ("{{ '%99999999d' % 3 }}", "wide field"),
    ("{{ '%99999999d' | format(3) }}", "wide field"),
    ("{{ '{:99999999}'.format(3) }}", "wide field"),
    ("{{ '{:{}}'.format(3, 99999999) }}", "wide field"),
    ("{{ lipsum(99) }}", "undefined"),
    ("{% for i in range(9) %}{{ 'a' * 1000000 }}{% endfor %}", "longer than"),
    ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ("a" * 600_000, "more than 500,000"),
]


@pytest.mark.parametrize(("source", "message"), HARM, ids=range(len(HARM)))
def test_templates_that_do_harm_are_stopped(source: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_sandbox, "MOST_STEPS", 20_000)
    monkeypatch.setattr(chat_sandbox, "MOST_SIZE", 2_000_000)
    started = time.monotonic()
    with pytest.raises(TemplateProblem, match=message):
        Sandbox(source).render({"messages": TALK})
    assert time.monotonic() - started < 5


def test_slow_steps_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_sandbox, "SECONDS", 0.05)
    with pytest.raises(TemplateProblem, match="does not end within"):
        Sandbox("{% for i in range(99999) %}{% set x = 'ab' * 1000000 %}{% endfor %}").render({"messages": TALK})


def test_a_rendering_leaves_the_messages_as_they_are(folder: Path) -> None:
    messages = [dict(message) for message in TALK]
    ours(folder, QWEN_3).conversation(parts(messages))
    assert messages == TALK
