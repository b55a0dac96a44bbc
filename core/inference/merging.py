"""One file of several models that vote inside it, for any ONNX runtime."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper

from core.datasets.packs import CHANNELS
from core.domain.ensembles import Voting
from core.domain.exports import INPUT, PROBABILITIES, ModelMetadata
from core.errors import IntegrityError
from core.inference.predictions import Form
from core.inference.voting import TIE, decide, normalize_weights

CLASS_INDEX, CONFIDENCE, VOTES = "class_index", "confidence", "votes"
_IMAGES_COMPARED = 32
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Part:
    """One member: the job that it comes from, the bytes of its model, and what it counts."""

    job_id: str
    model: bytes
    weight: float


def merge_models(parts: Sequence[Part], *, voting: Voting) -> bytes:
    """Return an ONNX file that takes what the members take and gives what they decide.

    It takes ``image``, uint8 ``(batch, size, size, channels)``, where all members take images of one form; else one
    input for each form, as ``image_32_grayscale``: how a picture is resized is no part of a graph. Each takes 1 channel
    or 3, as its members do. It gives ``class_index`` and ``confidence`` ``(batch,)``, ``probabilities`` ``(batch,
    classes)``: what each class got, and ``votes`` ``(batch, members)``: the class that each member is for. Equal models
    give equal bytes.

    Raises:
        IntegrityError: A member is not a model of this platform, or the file answers otherwise than its members.
    """
    members = [_Member.parse(part, place) for place, part in enumerate(parts)]
    inputs = _name_inputs(members)
    graph = _Graph(members, inputs)
    graph.add_vote(voting)
    merged = graph.finish(members, inputs, _describe(members, inputs, voting))
    _compare(merged, parts, members, inputs, voting)
    return merged


@dataclass(frozen=True)
class _Member:
    part: Part
    model: Any
    about: ModelMetadata

    @classmethod
    def parse(cls, part: Part, place: int) -> "_Member":
        model = onnx.load_from_string(part.model)
        about = ModelMetadata.parse({entry.key: entry.value for entry in model.metadata_props})
        return cls(part, compose.add_prefix(model, f"member{place}_"), about)

    @property
    def form(self) -> Form:
        return Form(self.about.image_size, self.about.color_mode)

    @property
    def channels(self) -> int:
        """Return how many channels the model insists on; 0 where it takes 1 or 3, as all do since ADR 30."""
        count: int = self.model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
        return count


def _name_inputs(members: Sequence[_Member]) -> dict[Form, str]:
    forms = list(dict.fromkeys(member.form for member in members))
    if len(forms) == 1:
        return {forms[0]: INPUT}
    return {form: f"{INPUT}_{form.image_size}_{form.color_mode}" for form in forms}


class _Graph:
    """The nodes and constants of all members and of their vote."""

    def __init__(self, members: Sequence[_Member], inputs: dict[Form, str]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._classes = len(members[0].about.classes)
        self._answers = [f"member{place}_{PROBABILITIES}" for place in range(len(members))]
        self._weights = normalize_weights([member.part.weight for member in members])
        for place, member in enumerate(members):
            source = f"member{place}_{INPUT}"
            self.nodes += [_rename(node, source, inputs[member.form]) for node in member.model.graph.node]
            self.constants += member.model.graph.initializer

    def add_vote(self, voting: Voting) -> None:
        """Add what the members decide; the same steps as `core.inference.voting.decide`."""
        ballots = [self._add("ArgMax", [answer], axis=1, keepdims=0) for answer in self._answers]
        sums = self._add_weighted(self._answers)
        shares, chosen = sums, sums
        if voting == "hard":
            shares = self._add_weighted([self._add_one_hot(ballot) for ballot in ballots])
            chosen = self._break_ties(shares, sums)
        kept = self._add("ArgMax", [chosen], axis=1, keepdims=1)
        axis = self._constant("axis", np.array([1], np.int64))
        self._add("Squeeze", [kept, axis], name=CLASS_INDEX)
        self._add("Squeeze", [self._add("GatherElements", [shares, kept], axis=1), axis], name=CONFIDENCE)
        self._add("Identity", [shares], name=PROBABILITIES)
        columns = [self._add("Unsqueeze", [ballot, axis]) for ballot in ballots]
        self._add("Concat", columns, name=VOTES, axis=1)

    def finish(self, members: Sequence[_Member], inputs: dict[Form, str], about: dict[str, str]) -> bytes:
        """Return the file."""
        taken = [
            helper.make_tensor_value_info(
                name,
                TensorProto.UINT8,
                ["batch", form.image_size, form.image_size, _count_channels(members, form) or f"{name}_channels"],
            )
            for form, name in inputs.items()
        ]
        given = [
            helper.make_tensor_value_info(CLASS_INDEX, TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info(CONFIDENCE, TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", self._classes]),
            helper.make_tensor_value_info(VOTES, TensorProto.INT64, ["batch", len(members)]),
        ]
        model = helper.make_model(
            helper.make_graph(self.nodes, "lenet_ensemble", taken, given, self.constants),
            producer_name="lenet-platform",
            opset_imports=list(members[0].model.opset_import),
            ir_version=members[0].model.ir_version,
        )
        helper.set_model_props(model, about)
        onnx.checker.check_model(model, full_check=True)
        written: bytes = model.SerializeToString(deterministic=True)
        return written

    def _add(self, operator: str, inputs: Sequence[str], *, name: str = "", **attributes: Any) -> str:
        name = name or f"vote{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        if all(known.name != name for known in self.constants):
            self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _add_weighted(self, parts: Sequence[str]) -> str:
        """Add the sum of the parts, each by its member's weight, one after the other."""
        total = ""
        for place, (part, weight) in enumerate(zip(parts, self._weights, strict=True)):
            scaled = self._add("Mul", [part, self._constant(f"weight{place}", weight)])
            total = self._add("Add", [total, scaled]) if total else scaled
        return total

    def _add_one_hot(self, ballot: str) -> str:
        depth = self._constant("classes", np.array(self._classes, np.int64))
        return self._add("OneHot", [ballot, depth, self._constant("no_yes", np.array([0, 1], np.float32))], axis=1)

    def _break_ties(self, votes: str, sums: str) -> str:
        """Add the summed probabilities of the classes with the most votes, and less than any for the others."""
        best = self._add("GatherElements", [votes, self._add("ArgMax", [votes], axis=1, keepdims=1)], axis=1)
        least = self._add("Sub", [best, self._constant("tie", np.array(TIE, np.float32))])
        none = self._constant("none", np.array(-1, np.float32))
        return self._add("Where", [self._add("GreaterOrEqual", [votes, least]), sums, none])


def _shape(form: Form) -> tuple[int, int, int]:
    return form.image_size, form.image_size, CHANNELS[form.color_mode]


def _count_channels(members: Sequence[_Member], form: Form) -> int:
    """Return how many channels one of the members of a form insists on, 0 where none does."""
    return max(member.channels for member in members if member.form == form)


def _rename(node: Any, before: str, after: str) -> Any:
    for place, name in enumerate(node.input):
        if name == before:
            node.input[place] = after
    return node


def _describe(members: Sequence[_Member], inputs: dict[Form, str], voting: Voting) -> dict[str, str]:
    """Return what the file says of itself."""
    classes = members[0].about.classes
    about = {
        "classes": classes,
        "voting": voting,
        "inputs": [{"name": name, **form._asdict()} for form, name in inputs.items()],
        "members": [
            {
                "job_id": member.part.job_id,
                "architecture": member.about.architecture,
                "weight": member.part.weight,
                "input": inputs[member.form],
            }
            for member in members
        ],
    }
    return {
        "lenet_ensemble": json.dumps(about, ensure_ascii=False),
        "classes": json.dumps(classes, ensure_ascii=False),
    }


def _compare(
    merged: bytes, parts: Sequence[Part], members: Sequence[_Member], inputs: dict[Form, str], voting: Voting
) -> None:
    """Raise `IntegrityError` where the file answers otherwise than its members do on images that are drawn."""
    draw = np.random.default_rng(0)
    images = {form: draw.integers(0, 256, (_IMAGES_COMPARED, *_shape(form)), np.uint8) for form in inputs}
    fed = {name: images[form] for form, name in inputs.items()}
    shares, votes, chosen = _run(merged, [PROBABILITIES, VOTES, CLASS_INDEX], fed)
    answers = [
        _run(part.model, [PROBABILITIES], {INPUT: images[member.form]})[0]
        for part, member in zip(parts, members, strict=True)
    ]
    vote = decide(answers, voting=voting, weights=[part.weight for part in parts])
    # Where two classes got as much, but for the last digits, either may be the first.
    least, most = np.sort(vote.shares, axis=1)[:, -2:].T
    clear = most - least > _TOLERANCE
    if not (
        np.allclose(shares, vote.shares, atol=_TOLERANCE)
        and np.array_equal(votes.T, vote.ballots)
        and np.array_equal(chosen[clear], vote.order[clear, 0])
    ):
        raise IntegrityError("The ensemble's file answers otherwise than its members.", code="export_mismatch")


def _run(model: bytes, outputs: list[str], inputs: dict[str, Any]) -> list[npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: list[npt.NDArray[Any]] = session.run(outputs, inputs)
    return found
