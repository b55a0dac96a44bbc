"""An application on a real SQLite file, a store in memory and a queue that only remembers."""

import dataclasses
import io
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from reading import read_arrays

from api.app import create_app
from api.models import Models
from api.ports import Ports
from api.queue import Outbox
from api.readiness import Probes
from api.streams import Streams
from core.db.engine import open_engine, open_sessions, read_clock, transaction
from core.db.rows import DatasetRow, EpochRow, Row
from core.domain.datasets import DatasetStatus, EntryCounts, ImageSummary, Manifest
from core.domain.exports import FEATURE_MAPS, INPUT, LOGITS, PROBABILITIES, ModelMetadata
from core.domain.identifiers import new_id
from core.domain.jobs import StopReason
from core.inference.cache import ModelCache
from core.services import claims, jobs, keys, results
from core.settings import Settings
from core.storage.keys import artifact
from core.storage.memory import MemoryStore

SECRET = "administrator-key-0001"
CLASSES = ("ant", "bee")
MANIFEST = Manifest(
    classes=list(CLASSES),
    counts={"train": {"ant": 300, "bee": 300}, "validation": None, "test": {"ant": 20, "bee": 20}},
    images=ImageSummary(total=640, modes={"L": 640}, min_size=(28, 28), max_size=(28, 28)),
    color_mode="grayscale",
    warnings=[],
    entries=EntryCounts(accepted=640, rejected=0, ignored=1),
)


class RememberingSender:
    """A queue that keeps what it is given; ``failure`` is raised instead where it is set."""

    def __init__(self):
        self.sent = []
        self.failure = None

    def send(self, message):
        if self.failure:
            raise self.failure
        self.sent.append(message)

    def depth(self, queue):
        return sum(message.queue == queue for message in self.sent)


class InProcess:
    """Decodes where it is asked to."""

    def reader(self):
        return read_arrays


class Platform:
    """Puts things into the database and the store as workers would."""

    def __init__(self, sessions, store):
        self.sessions = sessions
        self.store = store
        self.tenant_id = self.make_tenant("default")

    def make_tenant(self, name):
        with transaction(self.sessions) as session:
            return keys.ensure_tenant(session, name)

    def make_headers(self, *scopes, tenant="default", expires_at=None):
        secret = keys.new_secret()
        with transaction(self.sessions) as session:
            tenant_id = keys.ensure_tenant(session, tenant)
            keys.create_key(
                session, tenant_id, name="test", scopes=scopes or ("admin",), secret=secret, expires_at=expires_at
            )
        return {"Authorization": f"Bearer {secret}"}

    def make_dataset(self, *, status=DatasetStatus.READY, tenant_id=None, **values):
        dataset_id = new_id("ds")
        with transaction(self.sessions) as session:
            now = read_clock(session)
            row = DatasetRow(
                id=dataset_id,
                tenant_id=tenant_id or self.tenant_id,
                name="insects",
                status=status,
                size_bytes=3,
                sha256=dataset_id.ljust(64, "0"),
                archive_key="tenants/t/datasets/d/archive",
                manifest=MANIFEST.model_dump(mode="json") if status == DatasetStatus.READY else None,
                entries=MANIFEST.entries.model_dump() if status == DatasetStatus.READY else None,
                attempt=0,
                created_at=now,
                updated_at=now,
            )
            for name, value in values.items():
                setattr(row, name, value)
            session.add(row)
        return dataset_id

    def make_job(self, *, dataset_id=None, tenant_id=None, **wanted):
        dataset_id = dataset_id or self.make_dataset(tenant_id=tenant_id)
        with transaction(self.sessions) as session:
            job, _ = jobs.submit_job(
                session,
                tenant_id or self.tenant_id,
                jobs.NewJob(dataset_id=dataset_id, **wanted),
                actor="key_test",
                request_id=None,
                max_attempts=3,
            )
            return job.id

    def claim(self):
        with transaction(self.sessions) as session:
            return claims.claim_job(session, worker="host-1", device="cpu", lease_seconds=60)

    def add_epoch(self, claim, number, *, images_per_second=600.0):
        with transaction(self.sessions) as session:
            session.add(
                EpochRow(
                    job_id=claim.job_id,
                    attempt=claim.attempt,
                    epoch=number,
                    train_loss=1.0 / number,
                    train_accuracy=0.5,
                    val_loss=float("nan"),
                    val_accuracy=0.25,
                    learning_rate=0.01,
                    seconds=1.0,
                    images_per_second=images_per_second,
                    finished_at=read_clock(session),
                )
            )
            claims.write_fenced(session, claim)

    def succeed(self, claim, files):
        stored = []
        for name, (media_type, content) in files.items():
            key = artifact(claim.tenant_id, claim.job_id, attempt=claim.attempt, name=name)
            stored.append(results.NewArtifact(name, media_type, self.store.put(key, io.BytesIO(content))))
        with transaction(self.sessions) as session:
            results.succeed(
                session,
                claim,
                metrics={"test_accuracy": 0.75},
                stop_reason=StopReason.EPOCHS_DONE,
                parameters=1234,
                artifacts=stored,
            )

    def make_succeeded_job(self, files, **wanted):
        self.make_job(**wanted)
        claim = self.claim()
        self.succeed(claim, files)
        return claim.job_id

    def make_trained_job(self):
        """Make a job with a model that answers; return its id."""
        return self.make_succeeded_job({"model.onnx": ("application/octet-stream", build_model())})


@pytest.fixture
def settings(tmp_path):
    return Settings(
        data_dir=tmp_path,
        api_key=SECRET,
        max_upload_bytes=200_000,
        max_request_bytes=20_000,
        max_predict_bytes=100_000,
        max_predict_images=5,
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Return a SQLite file with every table, to be copied: making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    Row.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(tmp_path, empty_database):
    shutil.copyfile(empty_database, tmp_path / "test.db")
    engine = open_engine(f"sqlite:///{tmp_path}/test.db")
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine):
    return open_sessions(engine)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def sender():
    return RememberingSender()


@pytest.fixture
def ports(settings, sessions, store, sender):
    return Ports(
        settings=settings,
        sessions=sessions,
        store=store,
        outbox=Outbox(sender),
        models=Models(store, ModelCache(settings.model_cache_bytes)),
        decoders=InProcess(),
        probes=Probes({"database": lambda: None, "redis": lambda: None, "store": lambda: None}, timeout_seconds=0.2),
        streams=Streams(2),
    )


@pytest.fixture
def make_client(ports):
    """Return a function that makes a client of an application on the ports, some of them replaced."""

    def make(*, headers=None, **replaced):
        client = create_app(dataclasses.replace(ports, **replaced)).test_client()
        for name, value in ({"Authorization": f"Bearer {SECRET}"} if headers is None else headers).items():
            client.environ_base[f"HTTP_{name.upper()}"] = value
        return client

    return make


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def anonymous(make_client):
    return make_client(headers={})


@pytest.fixture
def platform(sessions, store):
    return Platform(sessions, store)


@pytest.fixture
def sent(ports, sender):
    """Return a function that gives what was sent so far."""

    def look():
        ports.outbox.settle()
        return sender.sent

    return look


@pytest.fixture(scope="session")
def model_file():
    """Return an exported model that takes bright images for bees."""
    return build_model()


@pytest.fixture(scope="session")
def make_model_file():
    """Return a function that exports such a model; the higher ``dark``, the brighter a bee has to be."""
    return build_model


def build_model(*, dark=5.0, classes=CLASSES):
    weights = np.array([[0.0] * 784, [1 / 784 / 25] * 784], np.float32).T
    graph = helper.make_graph(
        [
            helper.make_node("Cast", [INPUT], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "filters"], ["sums"]),
            helper.make_node("Relu", ["sums"], [f"{FEATURE_MAPS}1"]),
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], [LOGITS]),
            helper.make_node("Softmax", [LOGITS], [PROBABILITIES]),
        ],
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", 28, 28, 1])],
        [
            helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info(f"{FEATURE_MAPS}1", TensorProto.FLOAT, ["batch", 2, 26, 26]),
        ],
        [
            numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "filters"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([dark, 0.0], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    metadata = ModelMetadata(classes=classes, image_size=28, color_mode="grayscale", architecture="lenet5")
    helper.set_model_props(model, metadata.properties())
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def make_image():
    """Return a function that encodes an even gray picture."""

    def make(brightness, *, size=(28, 28)):
        buffer = io.BytesIO()
        Image.new("L", size, brightness).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def yesterday():
    return datetime.now(UTC) - timedelta(days=1)
