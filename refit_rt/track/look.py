"""A look: what a detector has found in one camera's frame, and which detection is which person."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from refit_rt.track import evidence
from refit_rt.track.person import Person
from refit_rt.track.places import distance
from refit_rt.types import Boxes

# Matching, in sizes (the longer side of a person's box)
GATE = 0.5  # largest distance of a match; two people shoulder to shoulder are 0.28 apart
SEARCH_PER_S = 1.0  # by which the gate widens per unseen second; walking covers 0.8
LATE_S = 0.3  # by which somebody who is lost or doubted may have been lost before that was noticed
UNSEEN_COST = 0.1  # extra cost of a lost track: a track that was just seen has the better claim
TAKEN_COST = 0.5  # the same where the detection is explained by somebody's body
EXPLAINED = 0.13  # a body this near to a detection's key points explains it
AGREES = 0.25  # a new body farther than this from the detection that it was fitted to is refused
IMPOSSIBLE = 1e6  # cost of a match beyond the gate
LOST_CLOTHES = 2.0  # weight of clothes where there is no body: who comes back is known by them more than by the place


class Look:
    """What the detector found in one frame. Costs and distances are in sizes."""

    def __init__(
        self, boxes: Boxes, places: np.ndarray, colours: list[np.ndarray] | None, time_s: float, threshold: float
    ) -> None:
        """places (n, 4): of the boxes. colours: of each one's clothes; None: not known. threshold: the lowest score of
        a detection that continues a lost person's track."""
        self.boxes, self.places, self.colours, self.time_s, self._threshold = boxes, places, colours, time_s, threshold
        self.explained: set[int] = set()  # rows on which a body lies that is believed

    def match(self, people: list[Person], rows: np.ndarray) -> dict[Person, int]:
        """Pairs tracks with detections at the lowest total cost."""
        if not people or not len(rows):
            return {}
        cost = np.array([[self._cost(one, int(row)) for row in rows] for one in people])
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        return {people[i]: int(rows[j]) for i, j in pairs if cost[i, j] < IMPOSSIBLE}

    def _cost(self, one: Person, row: int) -> float:
        """Of taking a detection for a person, in sizes."""
        place = self.places[row]
        if not one.fitted and self.boxes.score[row] < self._threshold:
            return IMPOSSIBLE
        body = self.body_distance(one, row)
        if one.crowded or not one.fitted or one.doubted_s < np.inf:
            there, unseen_s = one.before_the_crowd(self.time_s)
            going = distance(there, place)
            near = min(going, distance(one.seen_at(self.time_s), place))
            followed = one.fitted and one.missed == 0 and one.doubted_s == np.inf
            late_s = self.time_s - one.seen_s + LATE_S * (not followed)
            if near > GATE + SEARCH_PER_S * min(unseen_s, late_s):
                return IMPOSSIBLE
            if one.fitted and body > AGREES and going > GATE:  # neither the body nor the way leads there
                return IMPOSSIBLE
            cost = (
                near / (1 + unseen_s)
                if not one.fitted
                else (going / (1 + 2 * unseen_s) + (near if np.isnan(body) else body)) / 2
            )
        else:
            near = distance(one.seen_at(self.time_s), place)
            if near > GATE and not body < EXPLAINED:
                return IMPOSSIBLE
            cost = near if np.isnan(body) else body
        if self.colours is not None:
            unlike = float(evidence.unlike(one.colours, self.colours[row]))
            if unlike == 1 and not one.fitted:  # another person at the place where this one was lost
                return IMPOSSIBLE
            cost += unlike if one.fitted else LOST_CLOTHES * unlike
        if one.fitted:
            return cost
        return cost + (TAKEN_COST if row in self.explained else UNSEEN_COST * (one.missed > 0))

    def body_distance(self, one: Person, row: int) -> float:
        """Between a person's body and a detection's key points, in sizes; nan where there are not both."""
        joints = one.body(self.time_s)
        if joints is None or self.boxes.keypoints is None:
            return float("nan")
        return float(evidence.apart(joints, self.boxes.keypoints[row], self.places[row, 2:].max()))

    def explains(self, one: Person, row: int) -> bool:
        """Whether a person's body is that of a detection."""
        body = self.body_distance(one, row)
        if np.isnan(body):
            return one.fitted and distance(one.seen_at(self.time_s), self.places[row]) < EXPLAINED
        return body < EXPLAINED
