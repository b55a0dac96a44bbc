"""What stands in a path between slashes; the routing has seen to its form."""

from pydantic import BaseModel, ConfigDict


class _Path(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetPath(_Path):
    """A dataset."""

    dataset_id: str


class JobPath(_Path):
    """A job."""

    job_id: str


class ArtifactPath(JobPath):
    """One file of a job."""

    name: str


class TenantPath(_Path):
    """A tenant."""

    tenant_id: str


class KeyPath(_Path):
    """A key."""

    key_id: str
