"""The base of the topics of a model: the plan of its chain, and chains with rewards instead of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.arguments import check_reward_vector
from ..evaluation.transforms import KilledChain, RewardedChain

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..dag import SymbolicDAG
    from ..elimination.plan import Plan
    from ..graph import Graph

    Floats = npt.NDArray[np.float64]

#: Largest number of uniformization steps before a density is refused.
DEFAULT_MAX_STEPS = 20_000_000
# Number of chains with rewards that a model keeps; each needs about as much memory as the model.
_REWARDED_KEPT = 4


class ModelBase:
    """A chain whose weights are functions of a parameter vector θ."""

    def _set(self, plan: Plan, dag: SymbolicDAG | None) -> None:
        self._plan = plan
        self._dag = dag
        self._rewarded: dict[bytes, RewardedChain] = {}
        self._killed: KilledChain | None = None

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._plan.graph

    @property
    def dag(self) -> SymbolicDAG:
        """The elimination of the graph, made now if nothing has needed it yet.

        Raises
        ------
        NumericalError
            If it would take more work or memory than `Graph.eliminate` allows by default.
        """
        if self._dag is None:
            from ..dag import SymbolicDAG

            self._dag = SymbolicDAG.from_plan(self._plan)
        return self._dag

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of θ."""
        return self.graph.param_names

    @property
    def states(self) -> npt.NDArray[np.int64]:
        """States, shape (V, state_length); row 0 is the starting vertex, all zeros."""
        return self.graph.state_array

    @property
    def discrete(self) -> bool:
        """Whether time goes in whole steps."""
        return self.graph.discrete

    # -- distribution -------------------------------------------------------------------------------------------------

    def _chain(self, batch: Floats, rewards: Any) -> tuple[Plan, Floats, Floats | None]:
        """Return the chain whose time until absorption is Y, its parameter vectors, and its probabilities to stay if more
        is known of them than what the edges leave.
        """
        checked = check_reward_vector(rewards, self.graph)
        if checked is None:
            return self._plan, batch, None
        key = checked.tobytes()
        found = self._rewarded.get(key)
        if found is None:
            found = RewardedChain(self._plan, checked)
            while len(self._rewarded) >= _REWARDED_KEPT:
                self._rewarded.pop(next(iter(self._rewarded)), None)
            self._rewarded[key] = found
        return found.plan, *found.theta(batch)

    def _ones_if_none(self, rewards: Floats | None) -> Floats:
        return np.ones(self.graph.vertices_length()) if rewards is None else rewards
