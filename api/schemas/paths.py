"""What stands in a path between slashes; the routing has seen to its form."""

from pydantic import BaseModel, ConfigDict

from core.domain.plots import PlotName


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


class PlotPath(JobPath):
    """One plot of a job."""

    name: PlotName


class KeyPath(_Path):
    """A key."""

    key_id: str


class EnsemblePath(_Path):
    """An ensemble."""

    ensemble_id: str


class ModelPath(_Path):
    """A named model."""

    name: str


class ModelReferencePath(ModelPath):
    """One version of a named model, by its number or by an alias."""

    reference: str


class VersionPath(ModelPath):
    """One version of a named model, by its number."""

    version: int


class AliasPath(ModelPath):
    """An alias of a named model."""

    alias: str


class EvaluationPath(_Path):
    """An evaluation."""

    evaluation_id: str
