"""Which calls are new: compared with a plain model, call by call."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from raysume.storage.admission import Known, admit, body_digest, id_hash, names_in
from raysume.storage.call_ports import Batch, NewCall, Publisher


@st.composite
def calls(draw: st.DrawFn) -> NewCall:
    client_id = draw(st.booleans())
    return NewCall(
        id=draw(st.sampled_from("abcd")),
        method="m",
        service="s",
        input=draw(st.sampled_from([b"1", b"2"])),
        client_id=client_id,
    )


publishers = st.none() | st.builds(Publisher, id=st.sampled_from("pq"), first=st.integers(0, 6))
batches = st.lists(
    st.builds(Batch, calls=st.lists(calls(), max_size=4), publisher=publishers), max_size=6
)


class Model:
    """Takes one batch at a time, the obvious way."""

    def __init__(self) -> None:
        self.expected: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.stored: list[NewCall] = []

    def take(self, batch: Batch) -> list[str]:
        outcomes: list[str] = []
        bodies = dict(self.bodies)
        new: list[NewCall] = []
        for index, call in enumerate(batch.calls):
            source = batch.publisher
            if source and source.first + index < self.expected.get(source.id, 0):
                outcomes.append("duplicate")
            elif call.client_id and call.id in bodies:
                same = bodies[call.id] == call.input
                outcomes.append("duplicate" if same else "conflict")
            else:
                outcomes.append("accepted")
                new.append(call)
                if call.client_id:
                    bodies[call.id] = call.input
        if "conflict" in outcomes:
            return outcomes
        self.bodies = bodies
        self.stored += new
        if batch.publisher:
            after = batch.publisher.first + len(batch.calls)
            name = batch.publisher.id
            self.expected[name] = max(self.expected.get(name, 0), after)
        return outcomes


@given(st.lists(batches, max_size=4))
def test_admission_agrees_with_the_model_over_several_appends(
    appends: Sequence[Sequence[Batch]],
) -> None:
    model = Model()
    expected: dict[str, int] = {}
    taken: dict[bytes, bytes] = {}
    stored: list[NewCall] = []
    for appended in appends:
        names = names_in(appended)
        admission = admit(
            appended,
            Known(
                publishers={name: expected[name] for name in names.publishers if name in expected},
                client_calls={name: taken[name] for name in names.client_hashes if name in taken},
            ),
        )
        wanted = [model.take(batch) for batch in appended]
        assert [list(accepted.outcomes) for accepted in admission.accepted] == wanted
        for row in admission.client_calls:
            call = admission.calls[row.index]
            assert (row.id_hash, row.digest) == (id_hash(call.id), body_digest(call))
        expected |= admission.publishers
        taken |= {row.id_hash: row.digest for row in admission.client_calls}
        stored += admission.calls
    assert stored == model.stored
    assert {name: seq for name, seq in expected.items() if seq} == {
        name: seq for name, seq in model.expected.items() if seq
    }
