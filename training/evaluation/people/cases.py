"""The table of cases."""

from training.evaluation.people import alone, breaks, together
from training.evaluation.people.parts import Case

CASES: dict[str, Case] = {
    "pairs": Case(together.pairs, together.pair_figures, (2,), every=9),
    "several": Case(together.several, together.several_figures, (6,), every=5),
    "crossings": Case(together.crossings, together.crossing_figures, (2, 1), every=13),
    "hugs": Case(together.hugs, together.hug_figures, (2,), every=5),
    "pillar": Case(together.pillars, together.pillar_figures, (2,), every=5),
    "mirror": Case(together.mirrors, together.mirror_figures, (1,), every=3),
    "cuts": Case(breaks.cuts, breaks.cut_figures, (1,), every=15),
    "leaving": Case(breaks.leaving, breaks.leaving_figures, (1,), every=7),
    "entering": Case(breaks.entering, breaks.entering_figures, (1,), every=7),
    "replaced": Case(breaks.replaced, breaks.replaced_figures, (1,)),
    "black": Case(breaks.black, breaks.black_figures, (1,), every=3),
    "faces": Case(alone.faces, alone.face_figures, (1,)),
    "roll": Case(alone.rolls, alone.roll_figures, (1,)),
    "slide": Case(alone.slides, alone.slide_figures, (1,), smooth=(True, False)),
    "small": Case(alone.small, alone.small_figures, (1,)),
}
