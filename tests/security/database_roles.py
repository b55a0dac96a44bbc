"""The role that the API and the workers have in production, made as `deploy/roles.sql` makes it."""

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import make_url

SCRIPT = Path(__file__).parents[2] / "deploy" / "roles.sql"
ROLE = "lenet_app"


def make_role(owner_url: str, password: str, *, require) -> str:
    """Run the script as the owner of a migrated database and return the role's URL."""
    psql = shutil.which("psql")
    require(psql is not None, "psql is not installed")
    done = run_script(psql, owner_url, password)
    assert done.returncode == 0, done.stderr
    return make_url(owner_url).set(username=ROLE, password=password).render_as_string(hide_password=False)


def run_script(psql: str, owner_url: str, password: str) -> subprocess.CompletedProcess[str]:
    """Run the script as compose does: what it needs to know comes by the environment."""
    url = make_url(owner_url)
    told = {
        "PGHOST": url.host or url.query["host"],
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": url.password or "",
        "PGDATABASE": url.database,
        "APP_PASSWORD": password,
    }
    command = [psql, "--no-psqlrc", "--quiet", f"--file={SCRIPT}"]
    return subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=False)
