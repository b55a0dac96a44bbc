import subprocess
import sys
import threading
import time

import pytest
from reading import read_arrays

from core.errors import InvalidError, UnavailableError, UnreadableError
from core.inference import predictions as module
from core.inference.predictions import Form, map_images, predict_images
from core.inference.predictor import Predictor

LIMIT = 100_000


@pytest.fixture
def predictor(model):
    return Predictor(model)


def test_an_answer_has_the_contracts_shape(predictor, make_image):
    (prediction,) = predict_images(predictor, [("a.png", make_image())], top_k=2, max_pixels=LIMIT, read=read_arrays)
    answer = prediction.model_dump()
    assert list(answer) == ["filename", "class", "class_index", "confidence", "top"]
    assert answer["filename"] == "a.png"
    assert predictor.classes[answer["class_index"]] == answer["class"] == answer["top"][0]["class"]
    assert answer["confidence"] == answer["top"][0]["probability"] >= answer["top"][1]["probability"]
    assert len(answer["top"]) == 2


def test_answers_come_in_the_order_sent(predictor, make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 2)
    sent = [(f"{seed}.png", make_image(seed)) for seed in range(5)]
    together = predict_images(predictor, sent, top_k=3, max_pixels=LIMIT, read=read_arrays)
    alone = [predict_images(predictor, [image], top_k=3, max_pixels=LIMIT, read=read_arrays)[0] for image in sent]
    assert [answer.filename for answer in together] == [filename for filename, _ in sent]
    for one, other in zip(together, alone, strict=True):
        assert one.class_name == other.class_name
        assert one.confidence == pytest.approx(other.confidence, abs=1e-6)


def test_images_of_any_size_and_mode_are_taken(make_model, make_image):
    sent = [
        ("small", make_image(size=(5, 9))),
        ("rgb", make_image(size=(300, 20), mode="RGB")),
        ("alpha", make_image(mode="RGBA")),
        ("jpeg", make_image(size=(64, 64), kind="JPEG")),
    ]
    for color_mode in ("grayscale", "rgb"):
        predictor = Predictor(make_model(color_mode=color_mode))
        assert len(predict_images(predictor, sent, top_k=1, max_pixels=LIMIT, read=read_arrays)) == 4


def test_more_ranks_than_classes_are_all_classes(predictor, make_image):
    (prediction,) = predict_images(predictor, [("a", make_image())], top_k=50, max_pixels=LIMIT, read=read_arrays)
    assert {ranked.class_name for ranked in prediction.top} == set(predictor.classes)
    assert sum(ranked.probability for ranked in prediction.top) == pytest.approx(1)


def test_every_bad_image_is_named(predictor, make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 2)
    sent = [
        ("good.png", make_image()),
        ("text.png", b"no image"),
        ("good2.png", make_image()),
        ("large.png", make_image(size=(400, 400))),
        ("empty.png", b""),
    ]
    with pytest.raises(InvalidError) as caught:
        predict_images(predictor, sent, top_k=1, max_pixels=LIMIT, read=read_arrays)
    faults = caught.value.faults
    assert [fault.pointer for fault in faults] == ["/image/1", "/image/3", "/image/4"]
    assert [fault.detail.split(":")[0] for fault in faults] == ["text.png", "large.png", "empty.png"]


def test_the_next_images_are_read_while_the_last_are_looked_at(predictor, make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 2)
    begun, looked_at = [], threading.Event()

    def read(files, **wanted):
        begun.append(len(files))
        if len(begun) == 2:
            assert looked_at.wait(30), "the second images wait until the first were looked at"
        return read_arrays(files, **wanted)

    def predict(pixels):
        looked_at.set()
        return type(predictor).predict(predictor, pixels)

    monkeypatch.setattr(predictor, "predict", predict)
    sent = [(f"{seed}.png", make_image(seed)) for seed in range(5)]
    answers = predict_images(predictor, sent, top_k=1, max_pixels=LIMIT, read=read)
    assert [answer.filename for answer in answers] == [filename for filename, _ in sent]
    assert sorted(begun) == [1, 2, 2]


def test_the_first_images_are_looked_at_before_the_last_have_come(make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 1)
    looked_at = threading.Event()

    def send():
        for seed in range(8):
            if seed == 7:
                assert looked_at.wait(30), "nothing is looked at until everything has come"
            yield f"{seed}.png", make_image(seed)

    found = map_images(lambda _: looked_at.set(), send(), [Form(28, "rgb")], max_pixels=LIMIT, read=read_arrays)
    assert [name for (name,), _ in found] == [f"{seed}.png" for seed in range(8)]


def test_of_a_long_row_of_images_only_a_few_are_taken_ahead(make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 1)
    taken = []

    def send():
        for seed in range(9):
            taken.append(seed)
            yield f"{seed}.png", make_image(seed)

    found = map_images(len, send(), [Form(28, "rgb")], max_pixels=LIMIT, read=read_arrays)
    for number, _ in enumerate(found, start=1):
        time.sleep(0.02)
        assert len(taken) <= number + 1 + module._CHUNKS_AHEAD
    assert len(taken) == 9


def test_what_breaks_while_images_come_reaches_whoever_asked_and_ends_the_threads(predictor, make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 1)

    def send():
        for seed in range(5):
            yield f"{seed}.png", make_image(seed)
        raise UnreadableError("The form is broken, or ends too early.")

    with pytest.raises(UnreadableError):
        predict_images(predictor, send(), top_k=1, max_pixels=LIMIT, read=read_arrays)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_an_error_of_the_reader_reaches_whoever_asked(predictor, make_image, monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 1)

    def read(files, **wanted):
        if files == [b"busy"]:
            raise UnavailableError("All decoders are busy.", code="decoders_busy")
        return read_arrays(files, **wanted)

    sent = [("a.png", make_image()), ("b.png", b"busy"), ("c.png", make_image())]
    with pytest.raises(UnavailableError):
        predict_images(predictor, sent, top_k=1, max_pixels=LIMIT, read=read)


def test_an_image_that_cannot_be_read_in_the_second_form_is_named_too(make_image):
    def read(files, *, color_mode, **wanted):
        for number, found in enumerate(read_arrays(files, color_mode=color_mode, **wanted)):
            is_late = color_mode == "grayscale" and number == 1
            yield InvalidError("It takes too long.", code="decoding_too_long") if is_late else found

    sent = [(f"{seed}.png", make_image(seed)) for seed in range(3)]
    with pytest.raises(InvalidError) as caught:
        list(map_images(len, sent, [Form(28, "rgb"), Form(28, "grayscale")], max_pixels=LIMIT, read=read))
    assert [fault.pointer for fault in caught.value.faults] == ["/image/1"]


def test_no_images_give_no_answers(predictor):
    assert predict_images(predictor, [], top_k=1, max_pixels=LIMIT, read=read_arrays) == []


def test_prediction_loads_no_torch():
    script = "import core.inference.cache, core.inference.predictions, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
