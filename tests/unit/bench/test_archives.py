import io
import zipfile
from collections import Counter

from PIL import Image

from bench.cifar import thin_out
from bench.noise_zip import write_noise_zip
from bench.peers.decoder import decode


def test_noise_is_so_many_different_images_of_every_class_in_both_splits(tmp_path):
    archive = write_noise_zip(tmp_path / "noise.zip", 400, side=9)

    with zipfile.ZipFile(archive) as opened:
        contents = {name: opened.read(name) for name in opened.namelist()}
    images = [Image.open(io.BytesIO(content)) for content in contents.values()]
    assert {(image.format, image.mode, image.size) for image in images} == {("PNG", "L", (9, 9))}
    assert len({image.tobytes() for image in images}) == len(contents) == 400
    folders = Counter(name.rpartition("/")[0] for name in contents)
    assert folders == {
        f"{split}/{label}": count for split, count in (("train", 36), ("test", 4)) for label in range(10)
    }


def test_a_thinned_archive_has_every_so_manieth_entry_as_it_was(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as whole:
        for number in range(10):
            whole.writestr(f"train/a/{number}.jpg", str(number))

    thinned = thin_out(tmp_path / "whole.zip", tmp_path / "thin.zip", every=4)

    with zipfile.ZipFile(thinned) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == {
            "train/a/0.jpg": b"0",
            "train/a/4.jpg": b"4",
            "train/a/8.jpg": b"8",
        }


def test_the_peer_decodes_every_image(tmp_path):
    assert decode(write_noise_zip(tmp_path / "noise.zip", 30, side=8)) == 30
