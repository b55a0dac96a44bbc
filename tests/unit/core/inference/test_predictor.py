from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from core.errors import IntegrityError
from core.inference.predictor import Predictor


def draw(count):
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)


def test_it_knows_what_it_takes_and_what_it_says(model):
    predictor = Predictor(model)
    assert predictor.classes == ("ant", "bee", "cat")
    assert (predictor.metadata.image_size, predictor.metadata.color_mode) == (28, "grayscale")


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
def test_probabilities_come_in_order_whatever_the_batch(model, count):
    predictor, images = Predictor(model), draw(count)
    shares = predictor.predict(images)
    assert shares.shape == (count, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    for image, share in zip(images, shares, strict=True):
        np.testing.assert_allclose(predictor.predict(image[None])[0], share, atol=1e-6)


def test_a_model_from_before_the_graph_made_images_gray_answers_as_one_of_today(older_model, make_model):
    images = draw(40)
    np.testing.assert_array_equal(Predictor(older_model).predict(images), Predictor(make_model(seed=1)).predict(images))


def test_it_opens_a_file(model, tmp_path):
    (tmp_path / "model.onnx").write_bytes(model)
    predictor = Predictor.open(tmp_path / "model.onnx")
    np.testing.assert_array_equal(predictor.predict(draw(2)), Predictor(model).predict(draw(2)))


def test_several_threads_may_ask_at_once(model):
    predictor, images = Predictor(model), draw(40)
    expected = predictor.predict(images)
    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: predictor.predict(images), range(16)):
            np.testing.assert_array_equal(answer, expected)


def test_feature_maps_come_first_to_last(model):
    assert [maps.shape for maps in Predictor(model).feature_maps(draw(2))] == [(2, 6, 24, 24), (2, 16, 8, 8)]


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x08"])
def test_what_is_no_model_is_refused(data):
    with pytest.raises(IntegrityError, match="cannot be read"):
        Predictor(data)


def test_a_torn_model_is_refused(model):
    with pytest.raises(IntegrityError):
        Predictor(model[: len(model) // 2])


def test_a_model_of_somebody_else_is_refused(model):
    foreign = onnx.load_from_string(model)
    del foreign.metadata_props[:]
    with pytest.raises(IntegrityError, match="metadata"):
        Predictor(foreign.SerializeToString())


@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_with_as_many_threads_as_it_is_told(model, threads):
    predictor = Predictor(model, threads=threads)
    options = predictor._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    np.testing.assert_allclose(predictor.predict(draw(40)), Predictor(model).predict(draw(40)), atol=1e-6)


def test_logits_are_what_the_probabilities_come_from(model):
    predictor, images = Predictor(model), draw(40)
    powers = np.exp(predictor.compute_logits(images).astype(np.float64))
    np.testing.assert_allclose(predictor.predict(images), powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
