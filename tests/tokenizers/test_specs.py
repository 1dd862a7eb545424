"""What users type and what files hold, as what builds a tokenizer."""

import json

import pytest

from cjepa.errors import UserError
from cjepa.tokenizers.baselines.global_token import GlobalTokenizer
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer, tokenizer_spec

ATTRIBUTES = ["present", "x", "y", "angle", "vx", "vy"]
GLOBAL = "cjepa.tokenizers.baselines.global_token.GlobalTokenizer"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"source": "zoo:pusht-slots", "patch_grid": 0, "bodies": 0, "attributes": []}, "0552af38bc425fac"),
        ({"source": "zoo:pusht-slots", "patch_grid": 4, "bodies": 0, "attributes": []}, "84c5d24897f4f655"),
        ({"source": "oracle", "patch_grid": 0, "bodies": 2, "attributes": ATTRIBUTES}, "5ddca48166ca8834"),
        ({"source": "oracle:12", "patch_grid": 0, "bodies": 2, "attributes": ATTRIBUTES}, "f57867a4ef1006a8"),
    ],
)
def test_files_of_before_name_the_same_tokenizers(content, expected):
    """The fingerprints are those that version 0.2.0 gave."""
    spec = TokenizerSpec.from_plain(content)
    assert fingerprint(build_tokenizer(spec)) == expected
    assert TokenizerSpec.from_plain(json.loads(json.dumps(spec.plain()))) == spec


def test_short_words_stand_for_classes(episodes):
    names = json.loads(episodes.attributes["attribute_names"])
    bodies = {"num_bodies": 2, "attributes": names}
    assert tokenizer_spec("oracle", episodes) == ("cjepa.tokenizers.oracle.OracleTokenizer", bodies)
    assert tokenizer_spec("oracle:7", episodes).init_args == {**bodies, "dim": 7}
    patches = tokenizer_spec("dino:some/model", episodes, patch_grid=14)
    assert patches.class_path == "cjepa.tokenizers.baselines.patches.PatchTokenizer" and str(patches) == (
        "patches of some/model"
    )
    zoo = tokenizer_spec("zoo:pusht-slots", episodes, patch_grid=4)
    assert zoo.init_args == {"trained": tokenizer_spec("zoo:pusht-slots", episodes).plain(), "grid": 4}
    assert str(zoo) == "patches of zoo:pusht-slots"


def test_a_class_is_named_by_its_path(episodes, tmp_path, monkeypatch):
    assert tokenizer_spec(GLOBAL, episodes) == (GLOBAL, {})
    for written in (
        {"class_path": GLOBAL, "init_args": {"dim": 8}},
        f"{{class_path: {GLOBAL}, init_args: {{dim: 8}}}}",
    ):
        tokenizer = build_tokenizer(tokenizer_spec(written, episodes))
        assert isinstance(tokenizer, GlobalTokenizer) and tokenizer.slot_dim == 8 and not tokenizer.training
        again = build_tokenizer(tokenizer_spec(written, episodes))
        assert fingerprint(tokenizer) == fingerprint(again)  # what is drawn is drawn the same
    oracle = tokenizer_spec(
        {"class_path": "cjepa.tokenizers.oracle.OracleTokenizer", "init_args": {"dim": 7}}, episodes
    )
    assert oracle == tokenizer_spec("oracle:7", episodes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.Tokenizer").write_text("a file that is there is a checkpoint")
    assert tokenizer_spec("my.Tokenizer", episodes).init_args == {"checkpoint": "my.Tokenizer"}


def test_patches_of_a_class(episodes):
    slots = {"class_path": "cjepa.tokenizers.slots.tokenizer.SlotTokenizer"}
    start = {"class_path": "cjepa.tokenizers.slots.starts.LearnedStart", "init_args": {"num_slots": 2, "slot_dim": 32}}
    tokenizer = build_tokenizer(tokenizer_spec({**slots, "init_args": {"start": start}}, episodes, patch_grid=8))
    assert isinstance(tokenizer, PatchTokenizer) and isinstance(tokenizer.trained, SlotTokenizer)
    assert tokenizer.num_slots == 64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"class_path": "nowhere.MyTokenizer", "init_args": {}}, "^nowhere.MyTokenizer: No module named 'nowhere'"),
        ({"class_path": "cjepa.tokenizers.oracle.Other", "init_args": {}}, "has no attribute 'Other'"),
        ({"class_path": "torch.nn.Linear", "init_args": {}}, "torch.nn.Linear does not correspond to a subclass"),
        ({"class_path": GLOBAL, "init_args": {"width": 3}}, f"^{GLOBAL}: Option 'width' is not accepted$"),
        ({"class_path": GLOBAL, "init_args": {"dim": "many"}}, "\"dim\": Expected a <class 'int'>. Got value: many$"),
        ({"class_path": GLOBAL, "init_args": {"image_size": 60}}, "^GlobalTokenizer: image_size: expected 4 times"),
        ({"class_path": GLOBAL}, "expected class_path and init_args of a tokenizer, not"),
        ({"converted_from": "x.pkl"}, "expected class_path and init_args of a tokenizer, not"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(content, said):
    with pytest.raises(UserError, match=said) as error:
        build_tokenizer(TokenizerSpec.from_plain(content))
    assert "\n" not in str(error.value)


def test_what_is_no_class_is_refused_before_anything_is_read(episodes):
    with pytest.raises(UserError, match="^nowhere.MyTokenizer: No module named 'nowhere'"):
        tokenizer_spec("nowhere.MyTokenizer", episodes)
    with pytest.raises(UserError, match="not valid YAML"):
        tokenizer_spec("{class_path: ", episodes)


def test_a_dinov2_has_patches_only(tiny_dinov2, episodes):
    with pytest.raises(UserError, match=f"dino:{tiny_dinov2}: DINOv2 provides only patches; set patch_grid"):
        tokenizer_spec(f"dino:{tiny_dinov2}", episodes)
    with pytest.raises(UserError, match="PatchTokenizer: a grid of 4 does not divide the encoder's 14 x 14 cells"):
        build_tokenizer(tokenizer_spec(f"dino:{tiny_dinov2}", episodes, 4))
    with pytest.raises(UserError, match="no DINOv2 at 'no/where/at/all'"):
        build_tokenizer(tokenizer_spec("dino:no/where/at/all", episodes, 14))


def test_a_checkpoint_that_is_not_there(episodes):
    with pytest.raises(UserError, match="^nowhere.ckpt"):
        build_tokenizer(TokenizerSpec("cjepa.tokenizers.training.load_tokenizer", {"checkpoint": "nowhere.ckpt"}))
    with pytest.raises(UserError, match="nowhere.ckpt"):
        tokenizer_spec("nowhere.ckpt", episodes)
