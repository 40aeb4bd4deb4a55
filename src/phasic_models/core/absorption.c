/*
 * Where the process is caught for ever at these weights, and what that makes infinite. Asked only when a pivot cannot be divided by.
 *
 * A trap is a closed class of the positive weights that holds no absorbing vertex. The last of its rows to be eliminated has the pivot
 * zero, since nothing leads out, so each trap shows in ws->bad. The kernels give such a row the pivot 1 and the exit rate 1, as if it
 * were left for an absorbing vertex: other vertices are never come back to from there, so all else is as it should be.
 */
#include <string.h>

#include "pm_internal.h"

/* Marks of one search each; the lasting ones are in pm_internal.h. */
enum { AHEAD = 16, BACK = 32, EARNS = 64, ENDS = 128 };

/* The edges by their targets, made when first needed and kept with the workspace: few models have zero weights. */
static int find_incoming(const pm_plan *p, pm_workspace *ws) {
    if (ws->in_ptr != NULL) {
        return PM_OK;
    }
    const pm_graph *g = &p->graph;
    const int32_t n = g->n_vertices;
    int64_t *ptr = pm_alloc_zero((int64_t)n + 2, sizeof *ptr);
    int32_t *from = pm_alloc(p->n_edges, sizeof *from);
    int32_t *slot = pm_alloc(p->n_edges, sizeof *slot);
    if (ptr == NULL || from == NULL || slot == NULL) {
        pm_free(ptr);
        pm_free(from);
        pm_free(slot);
        return PM_E_MEMORY;
    }
    int64_t *next = ptr + 1; /* shifted, so that filling leaves the pointers in place */
    for (int64_t e = 0; e < p->n_edges; e++) {
        next[g->edge_target[e] + 1]++;
    }
    for (int32_t v = 0; v < n; v++) {
        next[v + 1] += next[v];
    }
    for (int32_t v = 0; v < n; v++) {
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            const int64_t at = next[g->edge_target[e]]++;
            from[at] = v;
            slot[at] = g->edge_slot[e];
        }
    }
    ws->in_ptr = ptr;
    ws->in_from = from;
    ws->in_slot = slot;
    return PM_OK;
}

static double weight(const pm_workspace *ws, int32_t slot, int32_t lane) { return ws->slot[(int64_t)slot * ws->lanes + lane]; }

/* One search: along positive weights, or `all` edges; through vertices with all marks of `within`. */
typedef struct search {
    int32_t lane;
    int all;
    uint8_t within;
    uint8_t mark;
} search;

static void enter(pm_workspace *ws, const search *s, int32_t v, int32_t *top) {
    if ((ws->seen[v] & s->within) == s->within && !(ws->seen[v] & s->mark)) {
        ws->seen[v] |= s->mark;
        ws->stack[(*top)++] = v;
    }
}

/* Marks what the `top` vertices on the stack lead to. Returns how many vertices were taken from the stack. */
static int32_t spread(const pm_plan *p, pm_workspace *ws, const search *s, int32_t top) {
    const pm_graph *g = &p->graph;
    int32_t count = 0;
    for (; top > 0; count++) {
        const int32_t v = ws->stack[--top];
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            if (s->all || weight(ws, g->edge_slot[e], s->lane) > 0.0) {
                enter(ws, s, g->edge_target[e], &top);
            }
        }
    }
    return count;
}

/* The same backwards. */
static int32_t spread_back(pm_workspace *ws, const search *s, int32_t top) {
    int32_t count = 0;
    for (; top > 0; count++) {
        const int32_t v = ws->stack[--top];
        for (int64_t k = ws->in_ptr[v]; k < ws->in_ptr[v + 1]; k++) {
            if (s->all || weight(ws, ws->in_slot[k], s->lane) > 0.0) {
                enter(ws, s, ws->in_from[k], &top);
            }
        }
    }
    return count;
}

static int is_absorbing(const pm_plan *p, int32_t v) { return p->graph.edge_ptr[v] == p->graph.edge_ptr[v + 1]; }

/* Whether any of the rewards of v, which is neither the start nor absorbing, is positive. */
static int is_earning(const pm_plan *p, const pm_asked *asked, int32_t v) {
    for (int32_t a = 0; a < asked->n_rewards; a++) {
        if (asked->rewards == NULL || asked->rewards[(int64_t)a * p->graph.n_vertices + v] != 0.0) {
            return 1;
        }
    }
    return 0;
}

/* Marks what is reached; PM_E_INITIAL if the process begins nowhere. */
static int mark_reached(const pm_plan *p, pm_workspace *ws, const search *s, const pm_asked *asked) {
    const pm_graph *g = &p->graph;
    int32_t top = 0;
    if (asked->mass == NULL) {
        int64_t e = g->edge_ptr[0];
        while (e < g->edge_ptr[1] && !(weight(ws, g->edge_slot[e], s->lane) > 0.0)) {
            e++;
        }
        if (e == g->edge_ptr[1]) {
            return PM_E_INITIAL;
        }
        enter(ws, s, 0, &top);
    }
    for (int32_t v = 1; asked->mass != NULL && v < g->n_vertices; v++) {
        if (asked->mass[v] != 0.0) {
            enter(ws, s, v, &top);
        }
    }
    spread(p, ws, s, top);
    return PM_OK;
}

/* Marks the trap that v is in; PM_E_OVERFLOW if v is left for good after all. */
static int mark_trap(const pm_plan *p, pm_workspace *ws, int32_t lane, int32_t v) {
    const search ahead = {lane, 0, PM_REACHED, AHEAD};
    const search back = {lane, 0, AHEAD, BACK};
    const search trap = {lane, 0, PM_REACHED, PM_TRAP};
    int32_t top = 0;
    enter(ws, &ahead, v, &top);
    const int32_t n_ahead = spread(p, ws, &ahead, top);
    top = 0;
    enter(ws, &back, v, &top);
    if (spread_back(ws, &back, top) != n_ahead) {
        return PM_E_OVERFLOW;
    }
    top = 0;
    enter(ws, &trap, v, &top);
    spread(p, ws, &trap, top);
    return PM_OK;
}

/* Goes through the rows that cannot be divided by: traps, rows that are not reached, and those that have left the range of a double. */
static int mark_traps(const pm_plan *p, pm_workspace *ws, int32_t lane, int32_t *at) {
    int status = PM_OK;
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        const int32_t v = p->pattern.order[i];
        const uint8_t marks = ws->seen[v];
        if (((uint32_t)ws->bad[i] >> lane & 1u) == 0 || !(marks & PM_REACHED) || (marks & PM_TRAP)) {
            continue;
        }
        if (!(marks & PM_LEAVES) && mark_trap(p, ws, lane, v) == PM_OK) {
            continue;
        }
        *at = v;
        status = PM_E_OVERFLOW;
        if (!(marks & PM_LEAVES)) {
            break; /* the marks of that search would confuse the next */
        }
    }
    return status;
}

/* Marks, afresh, what is reached and what can be absorbed. */
static int mark_paths(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked, pm_where *where) {
    int status = find_incoming(p, ws);
    if (status != PM_OK) {
        return status;
    }
    memset(ws->seen, 0, (size_t)p->graph.n_vertices);
    const search reached = {lane, 0, 0, PM_REACHED};
    const search leaves = {lane, 0, 0, PM_LEAVES};
    status = mark_reached(p, ws, &reached, asked);
    if (status != PM_OK) {
        pm_at(where, PM_AT_NOTHING, theta_index, 0, 0.0);
        return status;
    }
    int32_t top = 0;
    for (int32_t v = 0; v < p->graph.n_vertices; v++) {
        if (is_absorbing(p, v)) {
            enter(ws, &leaves, v, &top);
        }
    }
    spread_back(ws, &leaves, top);
    return PM_OK;
}

int pm_check_certain(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, pm_where *where) {
    const pm_asked asked = {0, NULL, NULL};
    const int status = mark_paths(p, ws, lane, theta_index, &asked, where);
    for (int32_t v = 1; v < p->graph.n_vertices && status == PM_OK; v++) {
        if ((ws->seen[v] & (PM_REACHED | PM_LEAVES)) == PM_REACHED) {
            pm_at(where, PM_AT_VERTEX, theta_index, v, 0.0);
            return PM_E_UNCERTAIN;
        }
    }
    return status;
}

int pm_check_absorption(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where) {
    const pm_graph *g = &p->graph;
    int status = mark_paths(p, ws, lane, theta_index, asked, where);
    if (status != PM_OK) {
        return status;
    }
    int32_t too_small = 0;
    status = mark_traps(p, ws, lane, &too_small);
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if ((ws->seen[v] & PM_TRAP) && is_earning(p, asked, v)) {
            pm_at(where, PM_AT_VERTEX, theta_index, v, asked->rewards == NULL ? PM_INFINITE_TIME : PM_INFINITE_REWARD);
            return PM_E_INFINITE;
        }
    }
    if (status != PM_OK) {
        pm_at(where, PM_AT_VERTEX, theta_index, too_small, 0.0);
    }
    return status;
}

void pm_mark_earning(const pm_plan *p, pm_workspace *ws, int32_t lane, const double *rewards) {
    const pm_asked asked = {1, rewards, NULL};
    const search earning = {lane, 0, PM_TRAP, PM_EARNING};
    int32_t top = 0;
    for (int32_t v = 1; v < p->graph.n_vertices; v++) {
        if (is_earning(p, &asked, v)) {
            enter(ws, &earning, v, &top);
        }
    }
    spread_back(ws, &earning, top);
}

/*
 * Let weights that are zero become positive, as a derivative by them supposes. From vertices outside EARNS, nothing is ever earned then,
 * neither before nor after. If every vertex comes to one of those along weights that are positive already, the system that is
 * solved stays regular, and the moments are smooth. Otherwise they jump: a trap is entered, or left, that was not.
 */
int pm_check_derivative(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where) {
    const pm_graph *g = &p->graph;
    const search earns = {lane, 1, 0, EARNS};
    const search ends = {lane, 0, 0, ENDS};
    int32_t top = 0;
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if (!is_absorbing(p, v) && is_earning(p, asked, v)) {
            enter(ws, &earns, v, &top);
        }
    }
    spread_back(ws, &earns, top);
    top = 0;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        if (!(ws->seen[v] & EARNS)) {
            enter(ws, &ends, v, &top);
        }
    }
    spread_back(ws, &ends, top);
    int32_t found = 0;
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if (!(ws->seen[v] & ENDS) && (found == 0 || (ws->seen[v] & PM_TRAP))) {
            found = v;
            if (ws->seen[v] & PM_TRAP) {
                break;
            }
        }
    }
    if (found == 0) {
        return PM_OK;
    }
    pm_at(where, PM_AT_VERTEX, theta_index, found, ws->seen[found] & PM_TRAP ? PM_INFINITE_IF_LEFT : PM_INFINITE_IF_ENTERED);
    return PM_E_INFINITE;
}
