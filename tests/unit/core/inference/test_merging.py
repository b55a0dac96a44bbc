"""One file of several models: it must decide as its members do, asked one by one."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from PIL import Image

from core.errors import IntegrityError
from core.inference import merging
from core.inference.merging import Part, merge_models
from core.inference.predictor import Predictor
from core.inference.voting import decide


def draw(count, channels=1, size=28):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def ask(merged, **images):
    session = onnxruntime.InferenceSession(merged, providers=["CPUExecutionProvider"])
    names = ["class_index", "confidence", "probabilities", "votes"]
    return dict(zip(names, session.run(names, images), strict=True))


@pytest.fixture
def parts(make_model):
    return [Part(f"job_{seed}", make_model(seed=seed), weight) for seed, weight in enumerate([1.0, 2.5, 0.5])]


@pytest.mark.parametrize("voting", ["hard", "soft"])
@pytest.mark.parametrize("count", [1, 33])
def test_the_file_decides_as_its_members_do(parts, voting, count):
    images = draw(count)
    answers = [Predictor(part.model).predict(images) for part in parts]
    vote = decide(answers, voting=voting, weights=[part.weight for part in parts])
    found = ask(merge_models(parts, voting=voting), image=images)
    np.testing.assert_array_equal(found["class_index"], vote.order[:, 0])
    np.testing.assert_array_equal(found["votes"], vote.ballots.T)
    np.testing.assert_allclose(found["probabilities"], vote.shares, atol=1e-6)
    np.testing.assert_allclose(found["confidence"], vote.shares[np.arange(count), vote.order[:, 0]], atol=1e-6)


def test_a_tie_goes_to_the_higher_summed_probability_inside_too(parts):
    images = draw(64)
    pair = [Part(part.job_id, part.model, 1.0) for part in parts[:2]]
    answers = [Predictor(part.model).predict(images) for part in pair]
    split = answers[0].argmax(axis=1) != answers[1].argmax(axis=1)
    assert split.any(), "no image on which the two are not of one mind"
    found = ask(merge_models(pair, voting="hard"), image=images)
    np.testing.assert_array_equal(
        found["class_index"][split], decide(answers, voting="hard", weights=[1, 1]).order[split, 0]
    )
    np.testing.assert_allclose(found["confidence"][split], 0.5)


def test_members_of_two_forms_have_an_input_each(make_model):
    parts = [
        Part("job_a", make_model(seed=0), 1.0),
        Part("job_b", make_model(seed=1, color_mode="rgb"), 1.0),
        Part("job_c", make_model(seed=2), 1.0),
    ]
    gray, color = draw(5), draw(5, channels=3)
    merged = merge_models(parts, voting="soft")
    found = ask(merged, image_28_grayscale=gray, image_28_rgb=color)
    answers = [Predictor(part.model).predict(images) for part, images in zip(parts, (gray, color, gray), strict=True)]
    np.testing.assert_allclose(found["probabilities"], np.mean(answers, axis=0), atol=1e-6)
    about = describe(merged)
    assert about["inputs"] == [
        {"name": "image_28_grayscale", "image_size": 28, "color_mode": "grayscale"},
        {"name": "image_28_rgb", "image_size": 28, "color_mode": "rgb"},
    ]


def test_each_form_takes_gray_and_coloured_images(make_model):
    parts = [Part("job_a", make_model(seed=0), 1.0), Part("job_b", make_model(seed=1, color_mode="rgb"), 1.0)]
    color = draw(5, channels=3)
    gray = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in color])[..., None]
    merged = merge_models(parts, voting="soft")
    found = ask(merged, image_28_grayscale=color, image_28_rgb=color)
    expected = np.mean([Predictor(parts[0].model).predict(gray), Predictor(parts[1].model).predict(color)], axis=0)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    widened = ask(merged, image_28_grayscale=gray, image_28_rgb=gray)
    tripled = ask(merged, image_28_grayscale=gray, image_28_rgb=np.repeat(gray, 3, axis=3))
    np.testing.assert_array_equal(widened["probabilities"], tripled["probabilities"])


def test_a_member_from_before_holds_its_form_to_its_own_channels(parts, older_model):
    pair = [parts[0], Part("job_old", older_model, 1.0)]
    merged, images = merge_models(pair, voting="soft"), draw(5)
    expected = np.mean([Predictor(part.model).predict(images) for part in pair], axis=0)
    np.testing.assert_allclose(ask(merged, image=images)["probabilities"], expected, atol=1e-6)
    with pytest.raises(InvalidArgument, match="Got: 3 Expected: 1"):
        ask(merged, image=draw(5, channels=3))


def describe(merged):
    properties = {entry.key: entry.value for entry in onnx.load_from_string(merged).metadata_props}
    assert json.loads(properties["classes"]) == ["ant", "bee", "cat"]
    return json.loads(properties["lenet_ensemble"])


def test_the_file_says_whom_it_is_made_of(parts):
    about = describe(merge_models(parts, voting="hard"))
    assert about["voting"] == "hard"
    assert [member["job_id"] for member in about["members"]] == ["job_0", "job_1", "job_2"]
    assert [member["weight"] for member in about["members"]] == [1.0, 2.5, 0.5]
    assert {member["input"] for member in about["members"]} == {"image"}


def test_equal_members_give_equal_bytes(parts):
    assert merge_models(parts, voting="soft") == merge_models(parts, voting="soft")


def test_one_job_may_stand_in_it_twice(parts):
    merged = merge_models([parts[0], parts[0]], voting="soft")
    np.testing.assert_allclose(
        ask(merged, image=draw(3))["probabilities"], Predictor(parts[0].model).predict(draw(3)), atol=1e-6
    )


def test_what_is_no_model_of_the_platform_is_refused(parts):
    foreign = onnx.load_from_string(parts[0].model)
    del foreign.metadata_props[:]
    with pytest.raises(IntegrityError):
        merge_models([parts[1], Part("job_x", foreign.SerializeToString(), 1.0)], voting="soft")


def test_a_file_that_answers_otherwise_is_not_published(parts, monkeypatch):
    monkeypatch.setattr(merging, "normalize_weights", lambda weights: np.array([0.9, 0.05, 0.05], np.float32))
    with pytest.raises(IntegrityError) as refused:
        merge_models(parts, voting="soft")
    assert refused.value.code == "export_mismatch"
