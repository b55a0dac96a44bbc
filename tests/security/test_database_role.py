"""The role of the API and the workers reads and writes rows, and can do nothing else in PostgreSQL."""

import io
import shutil

import pytest
from security.database_roles import ROLE, make_role, run_script
from sqlalchemy import inspect, text
from sqlalchemy.exc import ProgrammingError

from core.db.engine import open_engine, open_sessions, transaction
from core.db.migrations import migrate
from core.db.rows import Row
from core.services import claims, jobs, keys, results, sweeper, workers
from core.services.datasets import register_dataset
from core.services.ingest import claim_dataset
from core.services.jobs import NewJob
from core.storage.memory import MemoryStore

PASSWORD = "of-the-application-0001"
FORBIDDEN = [
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE other",
    "CREATE DATABASE other",
    "ALTER TABLE jobs ADD COLUMN mine int",
    "DROP TABLE jobs",
    "TRUNCATE jobs",
    "CREATE INDEX mine ON jobs (id)",
    "CREATE TRIGGER t BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "UPDATE alembic_version SET version_num = '0001'",
    "DELETE FROM alembic_version",
    "UPDATE audit_events SET action = 'nothing'",
    "DELETE FROM audit_events",
    "ALTER ROLE lenet_app SUPERUSER",
    "SET ROLE postgres",
    "COPY jobs TO PROGRAM 'id'",
    "COPY jobs TO '/tmp/jobs'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT lo_import('/etc/passwd')",
    "ALTER SYSTEM SET log_statement = 'all'",
]


def ask(url, statement):
    """Execute a statement on a connection of its own, and return its one value where it has one."""
    engine = open_engine(url)
    try:
        with engine.begin() as link:
            answer = link.execute(text(statement))
            return answer.scalar_one() if answer.returns_rows else None
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def databases(fresh_database, require):
    """Give the owner's URL and the role's, of a database that is migrated; the role goes with it."""
    with fresh_database() as owner:
        migrate(owner)
        yield owner, make_role(owner, PASSWORD, require=require)
        ask(owner, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@pytest.fixture
def engine(databases):
    engine = open_engine(databases[1])
    yield engine
    engine.dispose()


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_role_may_not(engine, statement):
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as link, pytest.raises(ProgrammingError, match=r"permission denied|must be|not allowed"):
        link.execute(text(statement))


def test_the_role_reads_and_writes_the_rows_of_every_table(engine):
    assert set(inspect(engine).get_table_names()) - {"alembic_version"} == set(Row.metadata.tables)
    with engine.begin() as link:
        for name in Row.metadata.tables:
            for right in ("SELECT", "INSERT"):
                question = text("SELECT has_table_privilege(:name, :right)")
                assert link.execute(question, {"name": name, "right": right}).scalar_one(), (name, right)


def test_the_role_does_all_that_the_platform_does(engine):
    sessions, store = open_sessions(engine), MemoryStore()
    with transaction(sessions) as session:
        tenant = keys.ensure_tenant(session, "zoo")
        keys.create_key(session, tenant, name="k", scopes=("train",), secret=keys.new_secret(), expires_at=None)
        stored = store.put("tenants/t/datasets/ds_1/archive", io.BytesIO(b"1"))
        register_dataset(session, tenant, "ds_1", name="d", archive=stored, request_id=None)
    with transaction(sessions) as session:
        claim = claim_dataset(session, worker="w", lease_seconds=60, max_attempts=3)
        session.execute(text("UPDATE datasets SET status = 'ready', manifest = :m"), {"m": _manifest()})
        assert claim.dataset_id == "ds_1"
        workers.report(session, name="w", host="h", role="train", device="cpu", slots=1, busy=[], engines=("torch",))
    with transaction(sessions) as session:
        wanted = NewJob(dataset_id="ds_1", config={"epochs": 1})
        jobs.submit_job(session, tenant, wanted, actor="k", request_id=None, max_attempts=3)
    with transaction(sessions) as session:
        claim = claims.claim_job(session, worker="w", device="cpu", lease_seconds=60)
        claims.renew(session, claim, lease_seconds=60)
        assert sweeper.reap_jobs(session) == []
    with transaction(sessions) as session:
        results.fail(session, claim, code="diverged", detail="d")
        assert jobs.get_job(session, tenant, claim.job_id).status == "failed"


def _manifest() -> str:
    from core.domain.datasets import EntryCounts, ImageSummary, Manifest

    return Manifest(
        classes=["a", "b"],
        counts={"train": {"a": 20, "b": 20}, "validation": None, "test": {"a": 5, "b": 5}},
        images=ImageSummary(total=50, modes={"L": 50}, min_size=(28, 28), max_size=(28, 28)),
        color_mode="grayscale",
        warnings=[],
        entries=EntryCounts(accepted=50, rejected=0, ignored=0),
    ).model_dump_json()


def test_the_password_is_kept_as_a_hash_and_the_script_can_be_run_again(databases):
    owner, _ = databases
    done = run_script(shutil.which("psql"), owner, PASSWORD + "-anew")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    kept = ask(owner, "SELECT rolpassword FROM pg_authid WHERE rolname = 'lenet_app'")
    assert kept.startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize("password", ["", "too-short"])
def test_a_password_that_is_missing_or_short_is_refused(databases, password):
    owner, _ = databases
    done = run_script(shutil.which("psql"), owner, password)
    assert done.returncode != 0
    assert "APP_PASSWORD needs 16 characters" in done.stderr


def test_a_table_that_comes_with_a_migration_is_the_role_s_after_the_next_run(databases, engine):
    owner, _ = databases
    ask(owner, "CREATE TABLE later (id int)")
    with engine.connect() as link, pytest.raises(ProgrammingError, match="permission denied"):
        link.execute(text("SELECT * FROM later"))
    assert run_script(shutil.which("psql"), owner, PASSWORD).returncode == 0
    with engine.connect() as link:
        assert link.execute(text("SELECT * FROM later")).all() == []
    ask(owner, "DROP TABLE later")
