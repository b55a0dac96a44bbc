"""From image files to answers that several models have voted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from core.domain.ensembles import Voting
from core.inference.decoders import Pixels, ReadImages
from core.inference.predictions import Form, Prediction, RankedClass, Value, map_images, round_shares
from core.inference.predictor import Predictor
from core.inference.voting import Floats, Vote, decide


@dataclass(frozen=True)
class Voter:
    """One member: the job that its model comes from, the model, and what it counts."""

    job_id: str
    predictor: Predictor
    weight: float

    @property
    def form(self) -> Form:
        """Return what the model takes images as."""
        return Form(self.predictor.metadata.image_size, self.predictor.metadata.color_mode)


class Ballot(Value):
    """What one member is for, and how sure it is, 0–1."""

    job_id: str
    class_name: str = Field(alias="class")
    confidence: float


class VotedPrediction(Prediction):
    """The answer for one image, as the API gives it.

    Attributes:
        confidence: The share of the chosen class, 0–1: of the votes where they are hard, else of the probabilities.
        agreement: The share of the members, by weight, that are for the chosen class, 0–1.
        votes: What each member is for, in the ensemble's order.
    """

    agreement: float
    votes: tuple[Ballot, ...]


def predict_by_vote(
    voters: Sequence[Voter],
    images: Iterable[tuple[str, bytes]],
    *,
    voting: Voting,
    top_k: int,
    max_pixels: int,
    read: ReadImages,
) -> list[VotedPrediction]:
    """Return what the members decide on each of ``images`` (file name and bytes), in their order.

    Args:
        voters: The members, all of the same classes; each gets the images in its own form.
        images: Image files of any size and mode.
        voting: How they vote.
        top_k: How many classes to rank; at most as many as there are.
        max_pixels: Most pixels that an image may have.
        read: Decodes an image, as for `predict_images`.

    Raises:
        InvalidError: ``unreadable_image``: with a fault for each image that cannot be read, ``/image/<index>``.
    """
    forms = list(dict.fromkeys(voter.form for voter in voters))
    weights, answers = [voter.weight for voter in voters], list[VotedPrediction]()

    def ask(pixels: dict[Form, Pixels]) -> list[Floats]:
        return [voter.predictor.predict(pixels[voter.form]) for voter in voters]

    for filenames, probabilities in map_images(ask, images, forms, max_pixels=max_pixels, read=read):
        vote = decide(probabilities, voting=voting, weights=weights)
        answers += _name(voters, filenames, probabilities, vote, top_k)
    return answers


def _name(
    voters: Sequence[Voter], filenames: Sequence[str], probabilities: Sequence[Floats], vote: Vote, top_k: int
) -> Iterable[VotedPrediction]:
    classes = voters[0].predictor.classes
    all_shares, agreement = round_shares(vote.shares).tolist(), round_shares(vote.agreement).tolist()
    confidences = [round_shares(own).tolist() for own in probabilities]
    for place, filename in enumerate(filenames):
        shares, order = all_shares[place], vote.order[place].tolist()
        yield VotedPrediction(
            filename=filename,
            class_name=classes[order[0]],
            class_index=order[0],
            confidence=shares[order[0]],
            top=tuple(RankedClass(class_name=classes[rank], probability=shares[rank]) for rank in order[:top_k]),
            agreement=agreement[place],
            votes=tuple(
                Ballot(job_id=voter.job_id, class_name=classes[index], confidence=own[place][index])
                for voter, own, index in zip(voters, confidences, vote.ballots[:, place].tolist(), strict=True)
            ),
        )
