"""A student's text encoder picked from BERT and DistilBERT: the same output where nothing is left out, else a selection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ViltConfig,
    ViltForQuestionAnswering,
)

from compress.errors import RecipeError
from compress.models.inherit import copy_linear, find_bert, inherit_bag, inherit_text, pick_heads
from compress.models.text import Bag, TextEncoder

TOKENS, VOCABULARY = 10, 40


def bert(**changes: object) -> BertModel:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(**{**sizes, "vocab_size": VOCABULARY, "max_position_embeddings": TOKENS, "initializer_range": 0.3, **changes})
    return BertModel(config, add_pooling_layer=False).eval()


def distilbert() -> DistilBertModel:
    torch.manual_seed(1)
    config = DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=VOCABULARY, max_position_embeddings=TOKENS, initializer_range=0.3
    )
    return DistilBertModel(config).eval()


def student(**changes: int) -> TextEncoder:
    sizes = {"vocabulary": VOCABULARY, "length": TOKENS, "width": 32, "layers": 2, "heads": 4, "feedforward": 48}
    return TextEncoder(**{**sizes, **changes}).eval()


def texts() -> Tensor:
    text = torch.randint(1, VOCABULARY, (5, TOKENS), generator=torch.Generator().manual_seed(0))
    text[1:4, 6:] = 0
    return text


def mean_pooled(teacher: nn.Module, text: Tensor) -> Tensor:
    mask = (text != 0).long()
    hidden = teacher(input_ids=text, attention_mask=mask).last_hidden_state
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("build", [bert, distilbert])
@torch.no_grad()
def test_student_of_the_teachers_size_gives_its_mean_pooled_output(build: type) -> None:
    teacher, model = build(), student()
    assert inherit_text(model, teacher, list(range(VOCABULARY)))["teacher_layers"] == [0, 1]
    torch.testing.assert_close(model(texts()), mean_pooled(teacher, texts()), atol=1e-4, rtol=0)


@torch.no_grad()
def test_kept_tokens_are_the_teachers_under_new_numbers() -> None:
    teacher, kept = bert(), [0, 7, 30, 12]
    model = student(vocabulary=4)
    inherit_text(model, teacher, kept)
    text = torch.tensor([[1, 3, 2, 1, 0, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(model(text), mean_pooled(teacher, torch.tensor(kept)[text]), atol=1e-4, rtol=0)


@torch.no_grad()
def test_first_layers_alone_are_the_teachers_first_layers() -> None:
    teacher, model = bert(num_hidden_layers=3), student(layers=1)
    assert inherit_text(model, teacher, list(range(VOCABULARY)))["teacher_layers"] == [0]
    shallow = bert(num_hidden_layers=1)
    shallow.load_state_dict({k: v for k, v in teacher.state_dict().items() if k in shallow.state_dict()})
    torch.testing.assert_close(model(texts()), mean_pooled(shallow, texts()), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("layers", "expected"), [(2, [0, 5]), (3, [0, 2, 5]), (6, [0, 1, 2, 3, 4, 5])])
def test_layers_are_spread_from_the_first_to_the_last(layers: int, expected: list[int]) -> None:
    model, teacher = student(layers=layers), bert(num_hidden_layers=6)
    assert inherit_text(model, teacher, list(range(VOCABULARY)))["teacher_layers"] == expected
    for layer, index in zip(model.layers, expected, strict=True):
        assert torch.equal(layer.expand.bias, teacher.encoder.layer[index].intermediate.dense.bias)


def test_narrower_student_is_a_selection_of_the_teachers_channels() -> None:
    teacher, model = bert(), student(width=16, heads=2, feedforward=20)
    with torch.no_grad():
        teacher.embeddings.word_embeddings.weight[:, :16] *= 0.01  # so that the second half of the channels varies most
        for parameter in teacher.parameters():
            if parameter.dim() == 1:
                parameter.normal_()
    assert inherit_text(model, teacher, list(range(VOCABULARY)))["channels"] == 16
    assert torch.equal(model.words.weight, teacher.embeddings.word_embeddings.weight[:, 16:])
    places = teacher.embeddings.position_embeddings.weight + teacher.embeddings.token_type_embeddings.weight[0]
    assert torch.equal(model.positions, places[:, 16:])
    assert torch.equal(model.norm.weight, teacher.embeddings.LayerNorm.weight[16:])
    source = teacher.encoder.layer[1]
    assert torch.equal(model.layers[1].output_norm.bias, source.output.LayerNorm.bias[16:])
    assert set(model.layers[1].expand.bias.tolist()) <= set(source.intermediate.dense.bias.tolist())
    own = model.layers[1].attention.inputs.bias.chunk(3)
    for bias, name in zip(own, ("query", "key", "value"), strict=True):
        assert set(bias.tolist()) <= set(getattr(source.attention.self, name).bias.tolist())
    assert torch.isfinite(model(texts())).all()


def test_strongest_neurons_are_kept_and_weights_scaled() -> None:
    teacher, model = bert(num_hidden_layers=1), student(layers=1, feedforward=12)
    source = teacher.encoder.layer[0]
    with torch.no_grad():
        source.output.dense.weight[:, ::4] *= 50  # neurons 0, 4, 8, ...: 12 of 48
    inherit_text(model, teacher, list(range(VOCABULARY)))
    assert torch.equal(model.layers[0].expand.weight, source.intermediate.dense.weight[::4])
    torch.testing.assert_close(model.layers[0].project.weight, source.output.dense.weight[:, ::4] * 2)  # sqrt(48 / 12)


def test_copy_linear_keeps_the_size_of_sums_over_fewer_inputs() -> None:
    torch.manual_seed(0)
    source, target, x = nn.Linear(512, 64), nn.Linear(128, 64), torch.randn(200, 128)
    with torch.no_grad():
        source.bias.zero_()
        copy_linear(target, source, torch.arange(64), torch.arange(128))
        ratio = target(x).std() / source(torch.randn(200, 512)).std()
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("heads", "width", "expected"),
    [
        (1, 4, [8, 9, 10, 11]),  # the strongest head whole
        (2, 2, [0, 1, 8, 9]),  # the first channels of the two strongest, in the teacher's order
        (1, 8, [0, 1, 2, 3, 8, 9, 10, 11]),  # one head as wide as two
        (6, 2, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]),  # twice the teacher's number: each head's other half, no channel twice
    ],
)
def test_pick_heads(heads: int, width: int, expected: list[int]) -> None:
    output = torch.ones(12, 12)
    output[:, :4], output[:, 8:] = 2.0, 3.0  # three heads of 4 channels; the last one is the strongest, then the first
    assert pick_heads(output, 3, heads=heads, width=width).tolist() == expected


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"width": 64}, "student.encoders.text.options.width: 64 cannot be picked from the teacher's 32"),
        ({"layers": 3}, "student.encoders.text.options.layers: 3 cannot be picked from the teacher's 2"),
        ({"feedforward": 64}, "student.encoders.text.options.feedforward: 64 cannot be picked from the teacher's 48"),
        ({"length": 12}, "data.inputs.text.length: 12 cannot be picked from the teacher's 10"),
    ],
)
def test_student_larger_than_the_teacher_is_refused(changes: dict[str, int], place: str) -> None:
    with pytest.raises(RecipeError, match=place) as caught:
        inherit_text(student(**changes), bert(), list(range(VOCABULARY)))
    assert len(caught.value.problems) == 1 and caught.value.problems[0].endswith("set student.encoders.text.initialise: random")


def test_bert_is_found_inside_a_larger_model() -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=VOCABULARY)
    classifier = BertForSequenceClassification(config)
    body, embeddings, layers = find_bert(nn.ModuleDict({"image": nn.Linear(2, 2), "text": classifier}))
    assert body is classifier.bert and embeddings is body.embeddings and len(layers) == 1


def vilt() -> nn.Module:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": VOCABULARY}
    model = ViltForQuestionAnswering(ViltConfig(**sizes, image_size=32, patch_size=16, max_position_embeddings=TOKENS))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


@torch.no_grad()
def test_layers_are_picked_from_vilt_by_what_is_normalised_next() -> None:
    """It normalises before a part, a student behind it: the norm between two parts is the same one."""
    teacher, model = vilt(), student()
    assert inherit_text(model, teacher, list(range(VOCABULARY)))["teacher_layers"] == [0, 1]
    body, (first, second) = teacher.vilt, teacher.vilt.encoder.layer
    texts_of = body.embeddings.text_embeddings
    assert torch.equal(model.words.weight, texts_of.word_embeddings.weight)
    assert torch.equal(model.positions, texts_of.position_embeddings.weight + texts_of.token_type_embeddings.weight[0])
    assert torch.equal(model.layers[0].attention.inputs.weight[:32], first.attention.attention.query.weight)
    assert torch.equal(model.layers[0].attention_norm.weight, first.layernorm_after.weight)
    assert torch.equal(model.layers[0].output_norm.weight, second.layernorm_before.weight)
    assert torch.equal(model.layers[1].output_norm.weight, body.layernorm.weight)
    assert torch.isfinite(model(texts())).all()


def electra() -> nn.Module:
    """A BERT whose words have other channels than its layers."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": VOCABULARY}
    return ElectraModel(ElectraConfig(**sizes, embedding_size=16))


@pytest.mark.parametrize("build", [electra, lambda: nn.Linear(2, 2)])
def test_teacher_without_a_bert_is_refused(build: type) -> None:
    with pytest.raises(RecipeError, match="no BERT-like text encoder to pick layers from; set it to random"):
        inherit_text(student(), build(), list(range(VOCABULARY)))


def test_bag_starts_from_the_directions_in_which_the_teachers_words_differ_most() -> None:
    teacher, bag, kept = bert(), Bag(vocabulary=20, width=2), list(range(10, 30))
    words = teacher.embeddings.word_embeddings.weight
    with torch.no_grad():
        words.mul_(0.001)
        words[:, 5] += torch.linspace(-3, 3, VOCABULARY)  # one channel tells the words apart, the others hardly
    found = inherit_bag(bag, teacher, kept)
    assert (found["channels"], found["teacher_channels"]) == (2, 32)
    first, second = bag.words.weight.detach()[1:].T
    told = (words[kept, 5] - words[kept, 5].mean()).detach()[1:]
    torch.testing.assert_close((first / first.abs().max()).abs(), (told / told.abs().max()).abs(), atol=2e-2, rtol=0)
    assert second.std() < 0.01 * first.std() and bag.words.weight[0].tolist() == [0, 0]  # padding


def test_whole_bag_keeps_how_far_the_teachers_words_are_apart() -> None:
    teacher, bag = bert(), Bag(vocabulary=VOCABULARY, width=32)
    inherit_bag(bag, teacher, list(range(VOCABULARY)))
    own, theirs = (
        torch.cdist(x.double(), x.double()) for x in (bag.words.weight.detach()[1:], teacher.embeddings.word_embeddings.weight.detach()[1:])
    )
    torch.testing.assert_close(own / own.max(), theirs / theirs.max(), atol=1e-4, rtol=0)


def test_bag_wider_than_the_teachers_words_is_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"student\.encoders\.text\.options\.width: 33 cannot be picked from the teacher's 32; make it smaller"
    ):
        inherit_bag(Bag(vocabulary=VOCABULARY, width=33), bert(), list(range(VOCABULARY)))
