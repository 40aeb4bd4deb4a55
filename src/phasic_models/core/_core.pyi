# Written from pm_core.h by build_core.py: what type checkers know of the compiled core.
from typing import Any, TypeAlias

# cffi checks at run time what a pointer points to.
Pointer: TypeAlias = Any

class _Library:
    pm_python_poll: Pointer
    PM_VERSION_MAJOR: int
    PM_VERSION_MINOR: int
    PM_VERSION_PATCH: int
    PM_OK: int
    PM_E_MEMORY: int
    PM_E_ARGUMENT: int
    PM_E_INDEX: int
    PM_E_PATTERN: int
    PM_E_NOT_FINITE: int
    PM_E_NEGATIVE: int
    PM_E_PROBABILITY: int
    PM_E_INFINITE: int
    PM_E_INITIAL: int
    PM_E_OVERFLOW: int
    PM_E_TIME: int
    PM_E_LIMIT: int
    PM_E_STOPPED: int
    PM_E_ACCURACY: int
    PM_E_UNCERTAIN: int
    PM_INFINITE_TIME: int
    PM_INFINITE_IF_ENTERED: int
    PM_INFINITE_IF_LEFT: int
    PM_INFINITE_REWARD: int
    PM_AT_NOTHING: int
    PM_AT_ARGUMENT: int
    PM_AT_ARRAY: int
    PM_AT_ROW: int
    PM_AT_COMPONENT: int
    PM_AT_SLOT: int
    PM_AT_VERTEX: int
    PM_AT_ENTRY: int
    PM_ARRAY_SIZES: int
    PM_ARRAY_EDGE_PTR: int
    PM_ARRAY_EDGE_TARGET: int
    PM_ARRAY_EDGE_SLOT: int
    PM_ARRAY_AFFINE_PTR: int
    PM_ARRAY_AFFINE_PARAM: int
    PM_ARRAY_PROGRAM: int
    PM_STAGE_ORDER: int
    PM_STAGE_TRIAL: int
    PM_STAGE_PATTERN: int
    PM_STAGE_CHECK: int
    PM_OP_ADD: int
    PM_OP_MUL: int
    PM_OP_DIV: int
    PM_ORDER_TRIVIAL: int
    PM_ORDER_LEAST_FILL: int
    PM_ORDER_BFS: int
    PM_ORDER_REVERSE_BFS: int
    PM_ORDER_DISSECTION: int
    PM_ORDER_GIVEN: int
    PM_ORDER_KINDS: int
    PM_LIMIT_OPERATIONS: int
    PM_LIMIT_ENTRIES: int
    PM_LIMIT_EDGES: int
    PM_LIMIT_AT_LEAST: int
    PM_MAX_MOMENT: int
    PM_MAX_JOINT: int
    def pm_version(self, /) -> Pointer: ...
    def pm_message(self, status: int, /) -> Pointer: ...
    def pm_graph_check(self, graph: Pointer, sizes: Pointer, where: Pointer, /) -> int: ...
    def pm_reachable(
        self, n: int, ptr: Pointer, target: Pointer, n_roots: int, roots: Pointer, seen: Pointer, /
    ) -> int: ...
    def pm_symbolic_new(
        self,
        graph: Pointer,
        n_rows: int,
        n_blocks: int,
        order: Pointer,
        block_ptr: Pointer,
        budget: Pointer,
        control: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_symbolic_free(self, symbolic: Pointer, /) -> None: ...
    def pm_symbolic_pattern(self, symbolic: Pointer, out: Pointer, /) -> None: ...
    def pm_symbolic_operations(self, symbolic: Pointer, /) -> int: ...
    def pm_symbolic_ordering(self, symbolic: Pointer, counts: Pointer, /) -> None: ...
    def pm_plan_new(
        self,
        graph: Pointer,
        sizes: Pointer,
        pattern: Pointer,
        n_lower: int,
        n_upper: int,
        control: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_plan_free(self, plan: Pointer, /) -> None: ...
    def pm_plan_operations(self, plan: Pointer, /) -> int: ...
    def pm_workspace_new(self, plan: Pointer, lanes: int, out: Pointer, /) -> int: ...
    def pm_workspace_free(self, workspace: Pointer, /) -> None: ...
    def pm_workspace_control(self, workspace: Pointer, control: Pointer, /) -> None: ...
    def pm_weights(
        self, plan: Pointer, workspace: Pointer, n_theta: int, theta: Pointer, out: Pointer, where: Pointer, /
    ) -> int: ...
    def pm_moments(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        k: int,
        rewards: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_vertex_moments(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        k: int,
        rewards: Pointer,
        mass: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_joint_moment(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        k: int,
        rewards: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_sojourn(
        self, plan: Pointer, workspace: Pointer, n_theta: int, theta: Pointer, out: Pointer, where: Pointer, /
    ) -> int: ...
    def pm_covariance(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        n_rewards: int,
        rewards: Pointer,
        mean: Pointer,
        covariance: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_vertex_variance(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        rewards: Pointer,
        mass: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_moments_grad(
        self,
        plan: Pointer,
        workspace: Pointer,
        n_theta: int,
        theta: Pointer,
        k: int,
        rewards: Pointer,
        out: Pointer,
        out_grad: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_uniform_new(self, plan: Pointer, out: Pointer, /) -> int: ...
    def pm_uniform_free(self, uniform: Pointer, /) -> None: ...
    def pm_uniform_eval(
        self,
        plan: Pointer,
        workspace: Pointer,
        uniform: Pointer,
        n_theta: int,
        theta: Pointer,
        initial: Pointer,
        stay: Pointer,
        n_times: int,
        times: Pointer,
        tol: float,
        max_steps: int,
        pdf: Pointer,
        cdf: Pointer,
        sf: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_uniform_grad(
        self,
        plan: Pointer,
        workspace: Pointer,
        uniform: Pointer,
        n_theta: int,
        theta: Pointer,
        n_times: int,
        times: Pointer,
        tol: float,
        max_steps: int,
        out: Pointer,
        out_grad: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_uniform_advance(
        self,
        plan: Pointer,
        workspace: Pointer,
        uniform: Pointer,
        theta: Pointer,
        duration: float,
        k: int,
        rewards: Pointer,
        max_steps: int,
        state: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_check_times(self, plan: Pointer, n_times: int, times: Pointer, where: Pointer, /) -> int: ...
    def pm_uniform_rate(
        self, plan: Pointer, workspace: Pointer, n_theta: int, theta: Pointer, out: Pointer, where: Pointer, /
    ) -> int: ...
    def pm_censored_new(
        self, plan: Pointer, keep: Pointer, control: Pointer, out: Pointer, where: Pointer, /
    ) -> int: ...
    def pm_censored_free(self, censored: Pointer, /) -> None: ...
    def pm_censored_edges(
        self, censored: Pointer, n_rows: Pointer, vertices: Pointer, edge_ptr: Pointer, edge_target: Pointer, /
    ) -> None: ...
    def pm_censored_weights(
        self,
        plan: Pointer,
        workspace: Pointer,
        censored: Pointer,
        n_theta: int,
        theta: Pointer,
        out: Pointer,
        stay: Pointer,
        where: Pointer,
        /,
    ) -> int: ...
    def pm_sampler_new(self, plan: Pointer, out: Pointer, /) -> int: ...
    def pm_sampler_free(self, sampler: Pointer, /) -> None: ...
    def pm_sampler_set(
        self, plan: Pointer, workspace: Pointer, sampler: Pointer, theta: Pointer, rewards: Pointer, where: Pointer, /
    ) -> int: ...
    def pm_sampler_draw(
        self,
        plan: Pointer,
        sampler: Pointer,
        seed: int,
        first: int,
        n: int,
        max_jumps: int,
        control: Pointer,
        out: Pointer,
        where: Pointer,
        /,
    ) -> int: ...

ffi: Any
lib: _Library
