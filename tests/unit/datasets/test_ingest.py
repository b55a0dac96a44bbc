import io
import json
import os
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from core.datasets import ingest as ingest_module
from core.datasets.ingest import build_pack, ingest
from core.datasets.limits import ArchiveLimits
from core.datasets.packs import Pack
from core.domain.datasets import Manifest, Outcome, WarningCode
from core.errors import DatasetRejectedError

# From Python 3.12 on a fork beside threads warns; those of NumPy's library are idle here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def run(output, make_zip):
    """Return a function that ingests the files given to it."""

    def ingest_files(files, *, image_size=8, **limits):
        return ingest(make_zip(files), output, limits=ArchiveLimits(**limits), image_size=image_size, processes=1)

    return ingest_files


def read_ledger(path):
    blank = dict.fromkeys(("reason", "split", "class_name", "width", "height", "mode"))
    return [SimpleNamespace(**(blank | json.loads(line))) for line in path.read_text("utf-8").splitlines()]


def warning_codes(result):
    return {warning.code.value for warning in result.manifest.warnings}


def find_warning(result, code):
    (warning,) = [warning for warning in result.manifest.warnings if warning.code == code]
    return warning


def test_a_sound_archive_becomes_pack_ledger_manifest_and_preview(run, output, dataset_files):
    files = dataset_files()
    result = run(files)
    pack = Pack.open(output / "pack")
    assert [pack.image_path(n) for n in range(len(pack))] == [name for name, _ in files]
    for position, (_, data) in enumerate(files):
        assert np.array_equal(pack.pixels[position, ..., 0], np.asarray(Image.open(io.BytesIO(data))))
    assert pack.labels.tolist() == [0] * 4 + [1] * 4 + [0] * 2 + [1] * 2
    assert len(pack.indices("train")) == 8
    assert Manifest.model_validate_json((output / "manifest.json").read_text()) == result.manifest
    assert result.manifest.counts == {"train": {"cat": 4, "dog": 4}, "validation": None, "test": {"cat": 2, "dog": 2}}
    assert result.manifest.color_mode == "grayscale"
    assert result.manifest.images.modes == {"L": 12}
    assert warning_codes(result) == {"few_images"}
    assert sorted(path.name for path in output.iterdir()) == ["ledger.jsonl", "manifest.json", "pack", "preview.png"]
    with Image.open(output / "preview.png") as preview:
        assert preview.format == "PNG"


def test_the_ledger_adds_up_to_the_archive(run, output, dataset_files):
    files = [
        *dataset_files(train=12),
        ("train/", b""),
        ("readme.txt", b"hello"),
        ("train/cat/broken.png", b"\x89PNG\r\n\x1a\n"),
        ("test/bird/1.png", b"never read"),
    ]
    result = run(files)
    entries = list(read_ledger(output / "ledger.jsonl"))
    assert [entry.path for entry in entries] == [name for name, _ in files]
    assert [entry.position for entry in entries] == list(range(len(files)))
    counts = result.manifest.entries
    assert (counts.accepted, counts.rejected, counts.ignored) == (28, 1, 3)
    accepted = entries[0]
    assert (accepted.outcome, accepted.split, accepted.class_name, accepted.mode) == ("accepted", "train", "cat", "L")
    assert (accepted.width, accepted.height) == (8, 8)
    broken = next(entry for entry in entries if entry.outcome == Outcome.REJECTED)
    assert broken.path == "train/cat/broken.png"
    assert "cannot be read" in broken.reason
    assert {entry.reason for entry in entries if entry.outcome == Outcome.IGNORED} == {
        "a folder",
        "not an image by its suffix",
        "its class is not in train",
    }


def test_color_mode_follows_the_images(run, output, dataset_files, image_bytes):
    files = dataset_files()
    files[0] = (files[0][0], image_bytes(99, mode="RGB"))
    result = run(files)
    warning = find_warning(result, WarningCode.MIXED_COLOR_MODES)
    assert result.manifest.color_mode == "rgb"
    assert (warning.count, warning.examples) == (1, [files[0][0]])
    pack = Pack.open(output / "pack")
    assert pack.pixels.shape == (12, 8, 8, 3)
    assert (pack.pixels[1, ..., 0] == pack.pixels[1, ..., 2]).all()
    assert not (pack.pixels[0, ..., 0] == pack.pixels[0, ..., 2]).all()


def test_gray_chunks_and_colour_chunks_meet_in_one_pack(monkeypatch, run, output, dataset_files, image_bytes):
    monkeypatch.setattr("core.datasets.decoding._CHUNK_ENTRIES", 3)
    files = dataset_files()
    files[7] = (files[7][0], image_bytes(99, mode="RGB"))
    run(files)
    pack = Pack.open(output / "pack")
    for position, (_, data) in enumerate(files):
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(pack.pixels[position], expected)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_broken_colour_image_leaves_a_gray_pack_whole(split, run, output, dataset_files, image_bytes):
    torn = image_bytes(999, size=(28, 28), mode="RGB", image_format="JPEG")
    files = [*dataset_files(train=30, test=6), (f"{split}/cat/torn.jpg", torn[: len(torn) // 2])]
    result = run(files)
    assert result.manifest.color_mode == "grayscale"
    assert set(result.manifest.images.modes) == {"L"}
    assert result.manifest.entries.rejected == 1
    pack = Pack.open(output / "pack")
    assert pack.pixels.shape == (72, 8, 8, 1)
    assert sorted(set(pack.labels.tolist())) == [0, 1]
    assert 0 < pack.mean[0] < 1


@pytest.fixture
def rebuild(tmp_path):
    """Return a function that makes another pack of the archive that was ingested."""

    def build(image_size, color_mode):
        target = tmp_path / "other"
        target.mkdir()
        options = {"image_size": image_size, "color_mode": color_mode, "limits": ArchiveLimits(), "processes": 1}
        digest = build_pack(tmp_path / "dataset.zip", target, **options)
        assert [path.name for path in target.iterdir()] == ["pack"]
        return Pack.open(target / "pack"), digest

    return build


@pytest.mark.parametrize("form", [(8, "grayscale"), (8, "rgb"), (12, "rgb"), (5, "grayscale")])
def test_a_pack_of_another_form_has_the_same_images_in_the_same_order(form, run, output, rebuild, image_bytes):
    files = [(f"all/{name}/1.png", image_bytes(n, mode="RGB")) for n, name in enumerate("ab")]
    files += [(f"all/{'ab'[n % 2]}/x{n}.png", image_bytes(n)) for n in range(10, 40)]
    files.append(("all/a/broken.png", b"broken"))
    result = run(files)
    first = Pack.open(output / "pack")
    other, digest = rebuild(*form)
    assert (other.image_size, other.color_mode) == form
    assert np.array_equal(other.labels, first.labels)
    assert np.array_equal(other.splits, first.splits)
    assert [other.image_path(n) for n in range(len(other))] == [first.image_path(n) for n in range(len(first))]
    assert (digest == result.digest) == (form == (8, "rgb"))


def test_tar_and_tar_gz_give_the_same_pack_as_zip(tmp_path, run, output, dataset_files):
    files = dataset_files()
    expected = run(files).digest
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        path = tmp_path / f"x.{suffix}"
        with tarfile.open(path, mode) as archive:
            for name, data in files:
                about = tarfile.TarInfo(name)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
        assert ingest(path, output, limits=ArchiveLimits(), image_size=8, processes=2).digest == expected
    assert sorted(path.name for path in output.iterdir()) == ["ledger.jsonl", "manifest.json", "pack", "preview.png"]


def test_a_split_is_made_where_there_is_no_test(run, output, image_bytes):
    files = [(f"{name}/{n}.png", image_bytes(n + 100 * (name == "b"))) for name in "ab" for n in range(20)]
    result = run(files)
    assert result.manifest.counts["train"] == {"a": 16, "b": 16}
    assert result.manifest.counts["test"] == {"a": 4, "b": 4}
    assert find_warning(result, WarningCode.SPLIT_MADE).count == 8
    first = {entry.path: entry.split for entry in read_ledger(output / "ledger.jsonl")}
    assert run(files[::-1]).manifest.counts == result.manifest.counts
    assert {entry.path: entry.split for entry in read_ledger(output / "ledger.jsonl")} == first


def test_a_split_that_is_made_keeps_equal_files_on_one_side(run, image_bytes):
    files = [(f"{name}/{n}.png", image_bytes(n // 4 + 100 * (name == "b"))) for name in "ab" for n in range(40)]
    result = run(files)
    assert "train_test_leak" not in warning_codes(result)
    assert find_warning(result, WarningCode.DUPLICATE_IMAGES).count == 60


def test_what_stands_in_two_classes_stays_in_train_when_a_split_is_made(run, output, image_bytes):
    for seed in range(3):
        shared = [image_bytes(100 * seed + n) for n in range(5)]
        own = [image_bytes(1000 + 100 * seed + n) for n in range(5)]
        result = run(
            [(f"a/{n}.png", data) for n, data in enumerate(shared + own)]
            + [(f"b/{n}.png", data) for n, data in enumerate(shared)]
        )
        assert "train_test_leak" not in warning_codes(result)
        splits = {entry.path: entry.split for entry in read_ledger(output / "ledger.jsonl")}
        assert all(splits[f"{name}/{n}.png"] == "train" for name in "ab" for n in range(5))
        assert list(splits.values()).count("test") == 2


def test_a_given_validation_stays_when_a_split_is_made(run, dataset_files):
    files = [(name.replace("test/", "val/"), data) for name, data in dataset_files(train=10)]
    counts = run(files).manifest.counts
    assert (counts["train"], counts["validation"], counts["test"]) == (
        {"cat": 8, "dog": 8},
        {"cat": 2, "dog": 2},
        {"cat": 2, "dog": 2},
    )


def test_duplicates_and_leaks_are_found_by_pixels(run, dataset_files, image_bytes):
    files = dataset_files()
    pixels = Image.open(io.BytesIO(files[0][1]))
    buffer = io.BytesIO()
    pixels.save(buffer, "BMP")
    files += [("train/cat/again.bmp", buffer.getvalue()), ("test/dog/seen.bmp", buffer.getvalue())]
    result = run(files)
    assert find_warning(result, WarningCode.DUPLICATE_IMAGES).examples == ["train/cat/again.bmp"]
    assert find_warning(result, WarningCode.TRAIN_TEST_LEAK).examples == ["test/dog/seen.bmp"]


def test_duplicates_are_found_across_processes(monkeypatch, output, make_zip, dataset_files):
    monkeypatch.setattr("core.datasets.decoding._CHUNK_ENTRIES", 1)
    files = dataset_files(train=8)
    files += [(name.replace(".png", "-again.png"), data) for name, data in files[:8]]
    result = ingest(make_zip(files), output, limits=ArchiveLimits(), processes=3)
    assert find_warning(result, WarningCode.DUPLICATE_IMAGES).count == 8


def test_images_of_equal_bytes_and_other_shape_are_no_duplicates(run, dataset_files):
    flat = Image.new("L", (4, 2), 7), Image.new("L", (2, 4), 7)
    files = dataset_files()
    for number, image in enumerate(flat):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append((f"train/cat/flat{number}.png", buffer.getvalue()))
    assert "duplicate_images" not in warning_codes(run(files))


def test_classes_that_splits_lack_are_warned_of(run, dataset_files, image_bytes):
    files = [(name, data) for name, data in dataset_files() if not name.startswith("test/dog")]
    files.append(("test/bird/1.png", image_bytes(50)))
    result = run(files)
    assert find_warning(result, WarningCode.CLASS_MISSING_IN_TEST).examples == ["dog"]
    assert find_warning(result, WarningCode.CLASS_ONLY_IN_TEST).examples == ["test/bird/1.png"]
    assert result.manifest.classes == ["cat", "dog"]
    assert result.manifest.counts["test"] == {"cat": 2, "dog": 0}


def test_imbalance_and_few_images_are_warned_of(run, image_bytes):
    files = [(f"train/{name}/{n}.png", image_bytes(n)) for name, count in (("a", 60), ("b", 20)) for n in range(count)]
    result = run([*files, ("test/a/x.png", image_bytes(1000)), ("test/b/x.png", image_bytes(1001))])
    assert find_warning(result, WarningCode.CLASS_IMBALANCE).examples == ["a", "b"]
    assert find_warning(result, WarningCode.FEW_IMAGES).examples == ["b"]


def test_few_unreadable_images_are_left_out_and_many_reject(run, output, dataset_files):
    # A52: never silent
    files = dataset_files(train=30, test=5)
    files.append(("train/cat/bad.png", files[0][1][:50]))
    result = run(files)
    assert find_warning(result, WarningCode.UNREADABLE_IMAGE).examples == ["train/cat/bad.png"]
    bad = [(f"train/cat/bad{n}.png", b"none") for n in range(4)]
    with pytest.raises(DatasetRejectedError) as error:
        run(files + bad)
    assert [fault.pointer for fault in error.value.faults] == ["train/cat/bad.png", *(name for name, _ in bad)]
    entries = list(read_ledger(output / "ledger.jsonl"))
    assert sum(entry.outcome == Outcome.REJECTED for entry in entries) == 5


def test_oversized_images_are_named(run, dataset_files, image_bytes):
    # A48
    with pytest.raises(DatasetRejectedError) as error:
        run([*dataset_files(), ("train/cat/big.png", image_bytes(0, size=(200, 200)))], pixels=30_000)
    assert error.value.faults[0].pointer == "train/cat/big.png"
    assert "more than 30,000 pixels" in error.value.faults[0].detail


def test_a_class_with_one_image_or_none_that_can_be_read_is_refused(run, dataset_files):
    # A44
    one = [entry for entry in dataset_files(train=30) if not entry[0].startswith("train/dog") or "/0." in entry[0]]
    with pytest.raises(DatasetRejectedError, match="dog: the class has one readable image"):
        run(one)
    with pytest.raises(DatasetRejectedError, match="dog: the class has no readable image"):
        run([(name, b"broken" if name.startswith("train/dog") else data) for name, data in one])


def test_what_children_find_wrong_rejects_the_archive(output, tmp_path, zip_bytes, entry, dataset_files):
    # A35, A45: also in entries that are no images
    entries = [entry(name, data) for name, data in dataset_files()]
    entries.append(entry("notes.txt", b"x", local_name="other.txt"))
    entries.append(entry("train/cat/bomb.png", bytes(100_000), method=8, size=10))
    path = tmp_path / "lying.zip"
    path.write_bytes(zip_bytes(*entries))
    with pytest.raises(DatasetRejectedError) as error:
        ingest(path, output, limits=ArchiveLimits(), processes=2)
    assert sorted(fault.pointer for fault in error.value.faults) == ["notes.txt", "train/cat/bomb.png"]
    assert list(output.iterdir()) == []


def test_strange_class_names_are_data(run, output, dataset_files):
    # A47
    names = ["<script>alert(1)<script>", "=cmd()", "'; DROP TABLE jobs; --", "🐈‍⬛", '"quoted"', "{}%s"]
    result = run(dataset_files(classes=names))
    assert result.manifest.classes == sorted(names)
    assert Pack.open(output / "pack").classes == tuple(sorted(names))
    for line in (output / "ledger.jsonl").read_text().splitlines():
        assert json.loads(line)["class_name"] in names


def test_an_image_that_kills_the_decoder_is_rejected_alone(monkeypatch, run, output, dataset_files):
    # A55
    from core.datasets import images

    decode = images.decode

    def crash(data, **options):
        if data == b"crash":
            os._exit(11)
        return decode(data, **options)

    monkeypatch.setattr(images, "decode", crash)
    result = run([*dataset_files(train=12), ("train/dog/evil.png", b"crash")])
    assert find_warning(result, WarningCode.UNREADABLE_IMAGE).examples == ["train/dog/evil.png"]
    reason = next(entry.reason for entry in read_ledger(output / "ledger.jsonl") if entry.outcome == Outcome.REJECTED)
    assert "ends the decoder" in reason
    assert len(Pack.open(output / "pack")) == 28


def test_too_many_crashes_end_the_run(monkeypatch, run, dataset_files):
    # A55
    monkeypatch.setattr("core.datasets.findings.MAX_CRASHES", 2)
    monkeypatch.setattr("core.datasets.images.decode", lambda data, **options: os._exit(11))
    with pytest.raises(DatasetRejectedError, match="more than 2 images end the decoder"):
        run([*dataset_files(train=12), *((f"train/dog/e{n}.png", b"crash") for n in range(9))])


def test_a_pack_that_would_fill_the_disk_is_refused(run, dataset_files):
    with pytest.raises(DatasetRejectedError, match="too many"):
        run(dataset_files(), image_size=500, total_bytes=2_000_000)


def test_progress_grows_from_zero_to_one(make_zip, output, dataset_files):
    seen = []
    ingest(make_zip(dataset_files()), output, limits=ArchiveLimits(), processes=1, on_progress=seen.append)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def test_the_number_of_processes_changes_nothing(make_zip, output, dataset_files, monkeypatch):
    monkeypatch.setattr("core.datasets.decoding._CHUNK_ENTRIES", 5)
    path = make_zip(dataset_files(train=30))
    digests = {ingest(path, output, limits=ArchiveLimits(), processes=n).digest for n in (1, 3)}
    assert len(digests) == 1


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    assert ingest_module.count_cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert ingest_module.count_cores() == os.cpu_count()


@pytest.mark.real_data
def test_sign_digits_turns_its_three_photos_upright(test_data, output):
    result = ingest(test_data / "sign-digits.zip", output, limits=ArchiveLimits())
    assert result.manifest.images_in("train") == 1651
    assert result.manifest.images_in("test") == 411
    assert result.manifest.images.max_size == (3024, 3024)
    assert result.manifest.warnings == []
    pack = Pack.open(output / "pack")
    paths = [pack.image_path(n) for n in range(len(pack))]
    turned = [pack.pixels[n].mean(axis=0) for n, path in enumerate(paths) if path.endswith(("5874.JPG", "5978.JPG"))]
    others = np.mean([pack.pixels[n].mean(axis=0) for n, path in enumerate(paths) if "train/7/" in path], axis=0)
    for columns in turned:  # a hand stands in the middle; lying, its arm would reach a side
        assert np.corrcoef(columns.mean(axis=1), others.mean(axis=1))[0, 1] > 0.5


@pytest.mark.real_data
def test_produce_photos_are_read_with_their_png_and_their_duplicate(test_data, output):
    result = ingest(test_data / "produce-photos.zip", output, limits=ArchiveLimits())
    assert result.manifest.images.modes == {"RGB": 156, "RGBA": 1}
    assert (result.manifest.images.min_size, result.manifest.images.max_size) == ((465, 280), (3872, 2592))
    assert warning_codes(result) == {"class_imbalance", "few_images", "duplicate_images"}
    with zipfile.ZipFile(test_data / "produce-photos.zip") as archive:
        assert sum(result.manifest.entries.model_dump().values()) == len(archive.namelist())
