"""Every checker that is installed tells a right gradient from its opposite, and what it misjudges is counted."""

import mistakes
import pytest
from mutations import MODELS
from mutations._mistake import Model

# One that is judged in no time, without Python numbers among its parameters, and one that has them.
_PLAIN = next(model for model in MODELS if model.name == "regularised: norms of groups")
_NUMBERS = next(model for model in MODELS if model.name == "softmax: bags of tokens")

_checkers = pytest.mark.parametrize("checker", mistakes.CHECKERS, ids=lambda checker: checker.name)


@_checkers
def test_coarse_mistakes_are_told_from_right_versions(checker: mistakes.Checker) -> None:
    pytest.importorskip(checker.needs)
    for model in (_PLAIN, _NUMBERS):
        coarse = [each for each in model.mistakes if each.kind in ("factor", "from_above", "zero")]
        outcome = mistakes.judge(checker, [Model(model.name, model.write, tuple(coarse))], right=1)
        assert outcome.total == mistakes.Count(mistakes=len(coarse), misses=0, right=1, alarms=0)
        assert outcome.missed == outcome.alarms == []


@_checkers
def test_what_raises_is_a_verdict_only_of_what_is_no_gradient(checker: mistakes.Checker) -> None:
    (refused,) = (each for each in _NUMBERS.mistakes if each.raises)

    def accepts(case: object) -> bool:
        raise ValueError("shape")

    broken = mistakes.Checker(checker.name, accepts, checker.needs)
    only = Model(_NUMBERS.name, _NUMBERS.write, (refused,))
    assert mistakes.judge(broken, [only], right=0).total == mistakes.Count(mistakes=1)
    with pytest.raises(ValueError, match="shape"):
        mistakes.judge(broken, [only], right=1)


def test_misjudgements_are_counted_by_family_and_kind() -> None:
    credulous = mistakes.Checker("credulous", lambda case: True, "numpy")
    suspicious = mistakes.Checker("suspicious", lambda case: False, "numpy")
    models = (_PLAIN, _NUMBERS)
    planted = sum(len(model.mistakes) for model in models)
    outcomes = {each.name: mistakes.judge(each, models, right=2) for each in (credulous, suspicious)}
    assert outcomes["credulous"].total == mistakes.Count(mistakes=planted, misses=planted, right=4, alarms=0)
    assert outcomes["suspicious"].total == mistakes.Count(mistakes=planted, misses=0, right=4, alarms=4)
    assert len(outcomes["credulous"].missed) == planted
    assert len(outcomes["suspicious"].alarms) == 4
    assert sum(count.misses for count in outcomes["credulous"].kinds.values()) == planted
    cells = list(mistakes.table("", outcomes, lambda outcome: outcome.families).columns[1].cells)
    assert cells == [f"{len(model.mistakes)} of {len(model.mistakes)}; 0 of 2" for model in models] + [
        f"{planted} of {planted}; 0 of 4"
    ]
