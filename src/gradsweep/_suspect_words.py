"""How a mistake at an operation of the forward pass is said: what, where, why that is thought, and what to look at."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gradsweep._differences._alterations import Site, Trial, Watch
from gradsweep._differences._mistakes import OWN, PRODUCTS, Kind, Mistake

# Characters of a line of the user's code that are shown, and names and lines before the rest is counted.
_TEXT, _NAMES, _LINES = 48, 3, 2

# How operators are written whose functions have a name.
_SIGNS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "matmul": "@",
    "power": "**",
    "negative": "-",
}

_ORDINALS = ("first", "second", "third", "fourth")

_ADVICE = {
    Kind.SLOPE: "Multiply by that slope in the backward step of this line.",
    Kind.FACTOR: "Multiply, or divide, by the other factor in the backward step of this line.",
    Kind.TRANSPOSED: "Transpose that matrix in the backward step of this line.",
    Kind.SCALED: "Look at the constant in the backward step of this line.",
    Kind.DETACHED: "Add what comes back through it to the gradient of what it is computed from.",
    Kind.CARRIED: "Add what comes back from the next turn to the gradient of what this turn hands on.",
    Kind.WITHOUT: "Add what comes back through that operand to its gradient.",
    Kind.OVERWRITTEN: "Set the gradient to zero where this line overwrites.",
    Kind.OTHER: "Look at which value the backward step of this line multiplies by.",
}


def said_of(trial: Trial, survey: Watch, alike: Sequence[Site], names: Sequence[str]) -> tuple[str, str, Mapping[str, str]]:
    """Message, advice and evidence.

    Parameters
    ----------
    trial : Trial
        The mistake that explains the gradient.
    survey : Watch
        Of what the function is made.
    alike : sequence of Site
        Where the same kind of mistake would explain it as well.
    names : sequence of str
        The blocks that are wrong.

    Returns
    -------
    message, advice : str
        A sentence each.
    evidence : mapping of str to str
        Operation, where it stands and what is done wrong.
    """
    site = survey.sites[trial.places[0]]
    mistake = _mistake(trial, survey)
    where = _where(trial, survey) + _other_lines(trial, alike, survey)
    what = f"on the way back {mistake}{_turn(trial, site)} ({where})"
    message = f"{_listed(names)}: {what}: consistent with that mistake alone, in all blocks"
    evidence = {"operation": site.name, "where": site.where, "mistake": mistake}
    return message, _ADVICE[trial.mistake.kind], MappingProxyType(evidence)


def _mistake(trial: Trial, survey: Watch) -> str:
    """What the backward pass does, as the end of a sentence."""
    mistake, sites = trial.mistake, [survey.sites[place] for place in trial.places]
    function = _function(sites[0])
    operand = f"the {_ORDINALS[mistake.operand]} operand of {function}"
    # Of a sigmoid in several steps the last one, a quotient, is not what it is known by.
    whole = "what is computed" if len(sites[0].recipe) > 1 and function in _SIGNS.values() else function
    if mistake.kind is Kind.SLOPE:
        assert isinstance(mistake.detail, tuple)
        return f"the slope of {whole} {mistake.detail[0]}"
    if mistake.kind is Kind.DETACHED and len({site.where for site in sites}) > 1:
        return f"what comes of {_joined(sorted({_function(site) for site in sites}))} is taken for constant"
    if mistake.kind is Kind.OTHER:
        return _other(mistake, sites[0], function, survey)
    if mistake.kind is Kind.SCALED:
        return _scaled(mistake, function, operand)
    return {
        Kind.FACTOR: f"the gradient of {operand} lacks the other factor",
        Kind.TRANSPOSED: f"{operand} is not transposed",
        Kind.DETACHED: f"nothing goes through {function}",
        Kind.CARRIED: "nothing goes from a turn of the loop to the one before",
        Kind.WITHOUT: f"nothing goes to {operand}",
        Kind.OVERWRITTEN: "what is overwritten keeps its gradient",
    }[mistake.kind]


def _scaled(mistake: Mistake, function: str, operand: str) -> str:
    return {
        "sign": f"the gradient of {operand} has the wrong sign",
        "exponent": f"the slope of {function} lacks the exponent as a factor",
        "half": f"the slope of {function} lacks its factor of one half",
        "mean": f"the gradient of {function} is not divided by the number of entries",
        "sum": f"the gradient of {function} is divided by the number of entries",
    }[str(mistake.detail)]


def _other(mistake: Mistake, site: Site, function: str, survey: Watch) -> str:
    """Which value takes the place of which."""
    two = site.name in PRODUCTS
    beside = f"the {_ORDINALS[1 - mistake.operand]} operand of {function}" if two else f"the argument of {function}"
    if mistake.detail == 1:
        return f"{beside} is that of the next turn of the loop"
    if mistake.detail == -1:
        return f"{beside} is that of the turn before"
    if mistake.detail == OWN:
        return f"the {_ORDINALS[mistake.operand]} operand of {function} takes the place of the other one"
    assert isinstance(mistake.detail, tuple)
    place, number = mistake.detail
    source = survey.sites[place]
    verb = "came of" if number is None else "went into"
    line, own = _line(source.where), _line(site.where)
    there = "" if line == own else f" at {_in(line, own)}"
    return f"{beside} is replaced by what {verb} {_function(source)}{there}"


def _function(site: Site) -> str:
    """How the operation is written."""
    return _SIGNS.get(site.name, f"np.{site.name}")


def _turn(trial: Trial, site: Site) -> str:
    return "" if trial.visit is None else f", at pass {trial.visit + 1} of {len(site.results)} through this line"


def _where(trial: Trial, survey: Watch) -> str:
    """File, line, function and text of the line, shortened; and who called it, if others do, too."""
    site = survey.sites[trial.places[0]]
    location, _, text = site.where.partition(": ")
    same = [other for other in survey.sites.values() if other.innermost == site.innermost]
    if len(same) > len(trial.places) and site.caller:
        location += f", called at {_in(_line(site.caller), location)}"
    shown = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
    return f"{location}: {shown}" if shown else location


def _other_lines(trial: Trial, alike: Sequence[Site], survey: Watch) -> str:
    """Other lines at which it is done wrong, too; else those at which it would explain the gradient alike."""
    own = _line(survey.sites[trial.places[0]].where)
    also = [_line(survey.sites[place].where) for place in trial.places]
    lines = [line for line in dict.fromkeys(also) if line != own]
    word = "also" if lines else "or"
    lines = lines or [line for line in dict.fromkeys(_line(site.where) for site in alike) if line != own]
    if not lines:
        return ""
    shown = [_in(line, own) for line in lines[:_LINES]]
    more = [f"{len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return f"; {word} {_joined([*shown, *more])}"


def _line(where: str) -> str:
    """File and line alone."""
    return where.partition(", in ")[0]


def _in(line: str, own: str) -> str:
    """A line as it is called beside another one: with its file if that is another one, too."""
    file, _, number = line.partition(", ")
    return number if own.startswith(f"{file}, ") else f"{number} of {file}"


def _listed(names: Sequence[str]) -> str:
    return _joined(names) if len(names) <= _NAMES + 1 else f"{', '.join(names[:_NAMES])} and {len(names) - _NAMES} more"


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
