"""All that a finished training leaves beside its model: plots, a card, its origin, and one archive of it all."""

import hashlib
import importlib.resources
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from core.domain.plots import plot_file
from core.domain.reports import Report
from core.portable.predict import Model
from core.reporting.card import write_card, write_readme
from core.reporting.golden import GOLDEN, Golden
from core.reporting.plots import Leavings, draw_plots, read_epochs

BUNDLE, PROVENANCE = "bundle.zip", "provenance.json"
_PNG, _JSON, _ZIP = "image/png", "application/json", "application/zip"
_MOMENT = (1980, 1, 1, 0, 0, 0)
# What is packed already does not get smaller.
_PACKED = (".png", ".npz")


def write_package(
    folder: Path, names: tuple[str, ...], *, on_file: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Draw and write what people get beside the model.

    Equal trainings give equal files.

    Args:
        folder: The work folder of a training that has ended, with all that it wrote.
        names: The files in it that are kept.
        on_file: Called after each file that is drawn.

    Returns:
        The files that are written there now, each with its media type.
    """
    left = read_leavings(folder)
    media_types: dict[str, str] = {}
    for name, content in draw_plots(left):
        (folder / plot_file(name)).write_bytes(content)
        media_types[plot_file(name)] = _PNG
        on_file()
    _write_provenance(folder, (*names, *media_types), left.report)
    media_types[PROVENANCE] = _JSON
    files = {_place(name): (folder / name).read_bytes() for name in (*names, *media_types)}
    _write_archive(folder / BUNDLE, {**files, **_explain(left)})
    return {**media_types, BUNDLE: _ZIP}


def read_leavings(folder: Path) -> Leavings:
    """Return what a training wrote into its work folder."""
    return Leavings(
        report=Report.model_validate_json((folder / "report.json").read_bytes()),
        model=Model.open(folder / "model.npz"),
        golden=Golden.load(folder / GOLDEN),
        epochs=read_epochs(folder / "history.csv"),
    )


def _write_provenance(folder: Path, names: tuple[str, ...], report: Report) -> None:
    """Write what the model was made of and with, and the hash of every file that came of it."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}
    told = {**report.provenance, "config": json.loads(report.provenance["config"]), "sha256": hashes}
    (folder / PROVENANCE).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _explain(left: Leavings) -> dict[str, bytes]:
    """Return the files that only the archive has: the program, texts for people and the golden images."""
    program = importlib.resources.files("core.portable").joinpath("predict.py").read_bytes()
    golden = {f"golden/{name}": content for name, content in left.golden.files(left.report.classes).items()}
    classes = json.dumps(left.report.classes, indent=1, ensure_ascii=False)
    return {
        "predict.py": program,
        "README.md": write_readme(left).encode(),
        "MODEL_CARD.md": write_card(left).encode(),
        "classes.json": f"{classes}\n".encode(),
        **golden,
    }


def _place(name: str) -> str:
    """Return where a file stands in the archive."""
    return f"plots/{name}" if name.endswith(".png") else name


def _write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a ZIP, always the same bytes for the same files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.external_attr = 0o644 << 16
            packed = name.endswith(_PACKED)
            archive.writestr(entry, content, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)
