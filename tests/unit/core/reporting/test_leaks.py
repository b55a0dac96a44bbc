"""The leaks of the report are those of which ingest warns."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from core.datasets.ingest import ingest
from core.datasets.limits import ArchiveLimits
from core.datasets.packs import Pack
from core.domain.datasets import WarningCode
from core.reporting.leaks import find_leaks

# From Python 3.12 on a fork beside threads warns; those of NumPy's library are idle here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def encode(pixels, form):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(("shape", "image_size"), [((28, 28), 28), ((40, 60, 3), 32)], ids=["as they are", "resized"])
def test_every_image_that_ingest_warns_of_is_found_and_no_other(tmp_path, shape, image_size):
    pixels = np.random.default_rng(0).integers(0, 256, (60, *shape), dtype=np.uint8)
    with zipfile.ZipFile(tmp_path / "leaky.zip", "w") as archive:
        for number, image in enumerate(pixels[:40]):
            archive.writestr(f"train/{'ab'[number % 2]}/{number}.png", encode(image, "PNG"))
        for number, image in enumerate(pixels[40:]):
            archive.writestr(f"test/{'ab'[number % 2]}/{number}.png", encode(image, "PNG"))
        # The same pixels in another form and another class, and one picture twice.
        for name, number in (("a/seen", 3), ("b/seen", 4), ("a/again", 3)):
            archive.writestr(f"test/{name}.bmp", encode(pixels[number], "BMP"))
    result = ingest(tmp_path / "leaky.zip", tmp_path, limits=ArchiveLimits(), image_size=image_size, processes=1)
    (warning,) = [one for one in result.manifest.warnings if one.code == WarningCode.TRAIN_TEST_LEAK]
    pack = Pack.open(tmp_path / "pack")
    test = pack.indices("test")
    found = [pack.image_path(int(position)) for position in test[find_leaks(pack, test)]]
    assert sorted(found) == sorted(warning.examples)
    assert len(found) == warning.count == 3
