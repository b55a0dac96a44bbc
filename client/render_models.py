"""Ensembles, evaluations and named models for people: tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType

from client.measures import moment, number, percent
from client.render import facts, status, table, text
from client.types import (
    Alias,
    AliasChange,
    Ensemble,
    Evaluation,
    ModelVersion,
    NamedModel,
    VotedPrediction,
)


def ensemble_table(ensembles: Sequence[Ensemble]) -> RenderableType:
    """Return ensembles, one a row."""
    return table(
        ["id", "name", "status", "voting", "members", "test accuracy"],
        [
            [one.id, one.name, status(one.status), one.voting, len(one.members), percent(one.test_accuracy)]
            for one in ensembles
        ],
    )


def ensemble_view(ensemble: Ensemble) -> RenderableType:
    """Return one ensemble with its members."""
    return Group(
        facts(
            {
                "id": ensemble.id,
                "name": ensemble.name,
                "status": status(ensemble.status),
                "error": ensemble.error.sentence if ensemble.error else None,
                "voting": ensemble.voting,
                "test accuracy": percent(ensemble.test_accuracy),
                "agreement": percent(ensemble.test_agreement),
            }
        ),
        table(
            ["member", "architecture", "status", "weight", "test accuracy"],
            [
                [
                    one.job_id,
                    one.architecture,
                    status(one.status or ""),
                    number(one.weight),
                    percent(one.test_accuracy),
                ]
                for one in ensemble.members
            ],
        ),
    )


def vote_table(predictions: Sequence[VotedPrediction]) -> RenderableType:
    """Return what models take images for, with their votes."""
    return table(
        ["file", "class", "confidence", "agreement", "votes"],
        [
            [
                one.filename,
                text(one.class_name, "bold"),
                percent(one.confidence),
                percent(one.agreement),
                "  ".join(f"{vote.class_name} {percent(vote.confidence, 1)}" for vote in one.votes),
            ]
            for one in predictions
        ],
    )


def evaluation_table(evaluations: Sequence[Evaluation]) -> RenderableType:
    """Return evaluations, one a row."""
    return table(
        ["id", "job", "dataset", "split", "status", "accuracy", "loss", "images"],
        [
            [
                one.id,
                one.job_id,
                one.dataset_id,
                one.split,
                status(one.status),
                percent(one.metrics.accuracy if one.metrics else None),
                number(one.metrics.loss if one.metrics else None),
                one.metrics.images if one.metrics else None,
            ]
            for one in evaluations
        ],
    )


def model_table(models: Sequence[NamedModel]) -> RenderableType:
    """Return named models, one a row."""
    return table(
        ["name", "versions so far", "aliases", "description"],
        [
            [one.name, one.last_version, ", ".join(f"{at.alias} → {at.version}" for at in one.aliases), one.description]
            for one in models
        ],
    )


def model_view(model: NamedModel) -> RenderableType:
    """Return one named model with its aliases."""
    about = {
        "name": model.name,
        "description": model.description,
        "versions so far": model.last_version,
        "made": moment(model.created_at),
    }
    return Group(facts(about), *([alias_table(model.aliases)] if model.aliases else []))


def alias_table(aliases: Sequence[Alias]) -> RenderableType:
    """Return aliases, one a row."""
    return table(
        ["alias", "version", "set at", "by key"],
        [[one.alias, one.version, moment(one.set_at), one.set_by] for one in aliases],
    )


def change_table(changes: Sequence[AliasChange]) -> RenderableType:
    """Return changes of aliases, one a row."""
    return table(
        ["at", "alias", "from", "to", "by key"],
        [[moment(one.at), one.alias, one.before, one.after, one.by] for one in changes],
    )


def version_table(versions: Sequence[ModelVersion]) -> RenderableType:
    """Return versions of a model, one a row."""
    return table(
        ["version", "made of", "made", "by key", "description"],
        [
            [one.version, one.job_id or one.ensemble_id, moment(one.created_at), one.created_by, one.description]
            for one in versions
        ],
    )
