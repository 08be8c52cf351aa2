"""What holds of every explanation: it can be given of every world, every value in it has an origin, it holds no secret, and
asking for it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given

from golden.profiles import WITH_UNFIT
from headgate.cli.explained import Live, document, lines
from headgate.compile.explanation import Shown, explain
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from property.test_compile import SEEDS, SETTINGS, store, world


@SETTINGS
@given(seed=SEEDS)
def test_every_world_can_be_explained(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    snapshot = store(puts, data).snapshot()
    plan = compile_snapshot(snapshot, Memo(), WITH_UNFIT)
    for key, declared in snapshot.upstreams.items():
        found = explain(snapshot, key, WITH_UNFIT)
        verdict = plan.verdicts[declared.ref]
        assert (found.shown in (Shown.CURRENT, Shown.LAST_GOOD)) is verdict.live
        assert {part.name for part in found.sections} >= (set(verdict.sections) if verdict.live else set())
        used = {use.policy for use in verdict.policies if verdict.live}
        assert {each.policy for each in found.policies if each.sections} >= used
        assert [row for part in found.sections for row in part.rows if row.origin is None] == []
        said = json.dumps(document(found, Live(""), None)) + "".join(
            text for pieces in lines(found, Live(""), None) for text, _ in pieces
        )
        values = {value.reveal().decode(errors="replace") for each in data for value in each.data.values()}
        assert not [value for value in values if len(value) > 12 and value in said]
