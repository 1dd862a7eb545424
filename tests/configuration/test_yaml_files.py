"""YAML files: what is read, and that everything else is one clear line before it costs memory or time."""

import pytest

import cjepa.configuration.yaml_files as yaml_files
from cjepa.cli import main
from cjepa.configuration.yaml_files import MAX_CHARACTERS, MAX_DEPTH, read_yaml
from cjepa.errors import UserError

DEEP = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
BOMB = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)),
    ]
)
CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 1))])
REFUSED = {
    "cycle": ("trainer: &a {callbacks: *a}", r"the alias \*a"),
    "renewed cycle": ("a: &a 1\nb: &a {c: *a}", r"the alias \*a"),
    "unknown alias": ("trainer: *nobody", r"\*?nobody"),
    "bomb": (BOMB, "aliases make it too large"),
    "chain": (CHAIN, "aliases make it too large"),
    "deep": (f"trainer: {DEEP}", "deeper than 50"),
    "very deep": ("[" * 200_000, "deeper than 50"),
    "deep mappings": ("{a: " * 60, "deeper than 50"),
    "long": ("x" * (MAX_CHARACTERS + 1), "longer than 1,000,000"),
    "digits": (f"trainer: {{max_steps: {'9' * 5000}}}", "an integer of thousands of digits"),
    "hexadecimal digits": (f"trainer: {{max_steps: 0x{'f' * 4000}}}", "an integer beyond 64 bits"),
    "classes": (f"a: [{'{class_path: a.B}, ' * 501}]", "more than 500 class paths"),
    "repeated classes": (f"a: [&a {{class_path: a.B}}, {'*a, ' * 500}]", "more than 500 class paths"),
    "twice": ("trainer: {max_steps: 2, min_steps: 1, max_steps: 3}", "'max_steps' stands twice, again in line 1"),
    "bool": ("a: !!bool maybe", "maybe"),
    "object": ("a: !!python/object/apply:os.system [ls]", "python/object"),
    "open": ("a: [", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
    "control characters": ("a: \x07", "not valid YAML"),
}
EVERY_KIND = pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)


@EVERY_KIND
def test_what_is_refused(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refusal:
        read_yaml(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


@EVERY_KIND
@pytest.mark.parametrize("verb", ["collect", "fit"])
def test_what_every_verb_refuses(verb, text, message, tmp_path, refused):
    (tmp_path / "bad.yaml").write_text(text)
    assert "bad.yaml" in refused(verb, "-c", "bad.yaml")


@pytest.mark.parametrize("verb", ["collect", "fit", "study"])
def test_not_utf8(verb, tmp_path, refused):
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe")
    words = [verb, "bad.yaml"] if verb == "study" else [verb, "-c", "bad.yaml"]
    line = refused(*words)
    assert "bad.yaml" in line and "UTF-8" in line


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml: no such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="not readable"):
        read_yaml(tmp_path)


def test_what_is_read(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("base: &base {a: 1, b: [2, 3]}\nmore: {<<: *base, a: 4}\nagain: [*base, *base]\n1: x\n'1': y\n")
    base = {"a": 1, "b": [2, 3]}
    assert read_yaml(path) == {"base": base, "more": {**base, "a": 4}, "again": [base, base], 1: "x", "1": "y"}
    path.write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert str(read_yaml(path)).count("[") == MAX_DEPTH
    path.write_text(f"a: {2**64 - 1}")
    assert read_yaml(path) == {"a": 2**64 - 1}
    path.write_text("")
    assert read_yaml(path) is None


def test_nothing_is_built_of_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_files.yaml, "load", lambda *_, **__: pytest.fail("built"))
    (tmp_path / "bomb.yaml").write_text(BOMB)
    with pytest.raises(UserError, match="too large"):
        read_yaml(tmp_path / "bomb.yaml")


def test_values_of_a_command_line(refused):
    for value in (BOMB, "&a {callbacks: *a}", "[" * 100_000):
        assert main(["fit", "--trainer", value]) == 2
