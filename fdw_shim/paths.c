/*-------------------------------------------------------------------------
 *
 * paths.c
 *		Ways to scan a foreign table, and what they cost: all of it, in the
 *		order that the query wants, and by a key that a join provides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "cache.h"
#include "compat.h"
#include "plan.h"

/* What a scan is thought to cost where the sidecar does not say. */
#define DEFAULT_ROWS			1000.0
#define DEFAULT_STARTUP_COST	100.0
#define DEFAULT_COST_PER_ROW	0.05

/* More sets of outer relations than this are not tried. */
#define MAX_OUTER_SETS			16

/* For match_lookup_column(), which finds one column after the other. */
typedef struct LookupColumns
{
	TablePlanning *state;
	HallwayQualContext *cxt;
	Expr	   *current;		/* what is being looked at now */
	List	   *done;			/* what was */
} LookupColumns;

static bool sets_lookup_column(PlannerInfo *root, TablePlanning *state);
static List *outer_sets(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state);
static List *add_outer_set(List *sets, RelOptInfo *baserel, Relids relids);
static void add_lookup_path(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
							Relids required_outer);
static bool match_lookup_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
								EquivalenceMember *em, void *arg);
static bool is_lookup_column(TablePlanning *state, int column);
static bool binds_lookup_column(HallwayQualContext *cxt, TablePlanning *state, Expr *clause);
static int	bound_column(const Hallway__V1__Expr *expr, bool *list);
static bool covers(const Hallway__V1__LookupKey *key, List *columns);
static bool covers_unique(TablePlanning *state, List *columns);
static bool covers_lookup(TablePlanning *state, const PlanCall *call, const PlanCall *plain);


/* ---- estimates ----------------------------------------------------------- */

/*
 * Fills in call's rows and costs. How many rows the table has is known best by
 * its owner (estimated_rows) and by ANALYZE, else by the sidecar; what a row
 * costs only the sidecar knows.
 */
void
hallway_estimate(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state, PlanCall *call)
{
	const Hallway__V1__PlanResponse *answer = call->answer;
	double		answered = answer->rows > 0 ? answer->rows : DEFAULT_ROWS;
	List	   *pushed = NIL;
	List	   *unpushed = NIL;
	List	   *checked = NIL;
	QualCost	check_cost;
	double		local_selectivity;
	Cost		run_cost;
	ListCell   *lc;

	if (OidIsValid(state->cached))
	{
		hallway_cache_estimate(root, baserel, state, call, covers_unique(state, call->keyed));
		return;
	}

	foreach(lc, call->considered)
	{
		RestrictInfo *rinfo = lfirst(lc);
		int			conjunct;
		Hallway__V1__Verdict verdict = hallway_verdict(call, rinfo, &conjunct);

		if (verdict == HALLWAY__V1__VERDICT__VERDICT_LOCAL)
			unpushed = lappend(unpushed, rinfo);
		else
			pushed = lappend(pushed, rinfo);
		if (verdict != HALLWAY__V1__VERDICT__VERDICT_EXACT)
			checked = lappend(checked, rinfo);
	}

	if (covers_unique(state, call->keyed))
		call->retrieved = 1;
	else if (state->known_rows)
		call->retrieved = baserel->tuples *
			clauselist_selectivity(root, pushed, baserel->relid, JOIN_INNER, NULL);
	else
	{
		call->retrieved = answered;
		baserel->tuples = Max(baserel->tuples,
							  Max(state->relation->description->rows, answered));
	}
	call->retrieved = clamp_row_est(call->retrieved);

	local_selectivity = clauselist_selectivity(root, unpushed, baserel->relid,
											   JOIN_INNER, NULL);
	call->rows = clamp_row_est(call->retrieved * local_selectivity);

	if (answer->total_cost > 0)
	{
		/* The sidecar's own idea of the number of rows may be another one. */
		call->startup_cost = answer->startup_cost;
		run_cost = (answer->total_cost - answer->startup_cost) *
			(call->retrieved / answered);
	}
	else
	{
		call->startup_cost = DEFAULT_STARTUP_COST;
		run_cost = DEFAULT_COST_PER_ROW * call->retrieved;
	}

	cost_qual_eval(&check_cost, checked, root);
	call->startup_cost += check_cost.startup + baserel->reltarget->cost.startup;
	run_cost += (check_cost.per_tuple + cpu_tuple_cost) * call->retrieved +
		baserel->reltarget->cost.per_tuple * call->rows;
	call->total_cost = call->startup_cost + run_cost;
}

/* ---- paths without parameters -------------------------------------------- */

/* The scan itself, and in each order that the API delivers. */
void
hallway_add_plain_paths(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
						PlanCall *call)
{
	Relids		required_outer = baserel->lateral_relids;

	/* LATERAL references in the target list alone need this. */
	if (!bms_is_empty(required_outer))
	{
		add_lookup_path(root, baserel, state, required_outer);
		return;
	}

	add_path(baserel, (Path *)
			 hallway_create_foreignscan_path(root, baserel, call->rows,
											 call->startup_cost, call->total_cost,
											 NIL, NULL,
											 list_make2(makeInteger(call->index),
														makeInteger(0))));

	for (int i = 0; i < list_length(call->orderings); i++)
	{
		List	   *pathkeys = list_nth(call->orderings, i);
		Cost		sort_cost = 0;

		if (!hallway_ordering_is_exact(call->answer, i))
			continue;
		if (OidIsValid(state->cached))
			sort_cost = hallway_cache_sort_cost(state, call, baserel, pathkeys);
		add_path(baserel, (Path *)
				 hallway_create_foreignscan_path(root, baserel, call->rows,
												 sort_cost > 0 ? call->total_cost + sort_cost :
												 call->startup_cost,
												 call->total_cost + sort_cost,
												 pathkeys, NULL,
												 list_make2(makeInteger(call->index),
															makeInteger(i + 1))));
	}
}

/* ---- paths with parameters: lookups --------------------------------------- */

/*
 * Adds a path for each set of other relations whose columns, equated with ours,
 * make a key that the API looks up in one cheap call.
 */
void
hallway_add_lookup_paths(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	ListCell   *lc;

	if ((state->relation->description->n_lookup_keys == 0 && state->cached_leading == NIL) ||
		hallway_written_meanwhile(root, baserel, state))
		return;
	foreach(lc, outer_sets(root, baserel, state))
		add_lookup_path(root, baserel, state, lfirst(lc));
}

/*
 * True if the statement may write to the same server while this table is read.
 * A lookup that comes after a write would see it; one whole read does not. (The
 * target itself is found by its key, whatever else has been written, unless SET
 * gives rows the key of others.)
 */
bool
hallway_written_meanwhile(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	if (bms_is_member(baserel->relid, root->all_result_relids))
		return sets_lookup_column(root, state);

	for (; root != NULL; root = root->parent_root)
	{
		RangeTblEntry *target;

		if (root->parse->hasModifyingCTE)
			return true;
		if (root->parse->resultRelation == 0)
			continue;
		target = rt_fetch(root->parse->resultRelation, root->parse->rtable);
		/* Of a parent, some child may be on that server. INSERT's has no inh. */
		if (target->inh ||
			target->relkind == RELKIND_PARTITIONED_TABLE ||
			(target->relkind == RELKIND_FOREIGN_TABLE &&
			 GetForeignServerIdByRelId(target->relid) == state->relation->serverid))
			return true;
	}
	return false;
}

/* True if the target's UPDATE writes to columns by which rows are looked up. */
static bool
sets_lookup_column(PlannerInfo *root, TablePlanning *state)
{
	RangeTblEntry *target = rt_fetch(root->parse->resultRelation, root->parse->rtable);
	ListCell   *lc;

	if (root->parse->commandType != CMD_UPDATE)
		return false;
	foreach(lc, root->update_colnos)
	{
		/* The numbers are those of the parent, if there is one. */
		char	   *name = get_attname(target->relid, lfirst_int(lc), false);
		AttrNumber	attnum = get_attnum(state->relation->relid, name);
		int			column = attnum > 0 ? state->relation->columns[attnum - 1] : -1;

		if (column >= 0 && is_lookup_column(state, column))
			return true;
	}
	return false;
}

/* Sets of relations that could provide values for lookup columns. */
static List *
outer_sets(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	HallwayQualContext cxt = {.root = root,.baserel = baserel,.relation = state->relation};
	LookupColumns columns = {.state = state,.cxt = &cxt};
	List	   *sets = NIL;
	int			nsingle;
	ListCell   *lc;

	/* Join clauses that are no plain equivalence, as those of outer joins. */
	foreach(lc, baserel->joininfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

		if (join_clause_is_movable_to(rinfo, baserel) &&
			binds_lookup_column(&cxt, state, rinfo->clause))
			sets = add_outer_set(sets, baserel, rinfo->clause_relids);
	}

	/* Equivalence classes, a column after the other until there is no more. */
	while (baserel->has_eclass_joins)
	{
		List	   *clauses;

		columns.current = NULL;
		clauses = generate_implied_equalities_for_column(root, baserel,
														 match_lookup_column, &columns,
														 baserel->lateral_referencers);
		if (columns.current == NULL)
			break;
		foreach(lc, clauses)
		{
			RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);

			if (join_clause_is_movable_to(rinfo, baserel))
				sets = add_outer_set(sets, baserel, rinfo->clause_relids);
		}
		columns.done = lappend(columns.done, columns.current);
	}

	/* A key of several columns may take its values from several relations. */
	nsingle = list_length(sets);
	for (int i = 0; i < nsingle; i++)
	{
		for (int j = i + 1; j < nsingle; j++)
			sets = add_outer_set(sets, baserel,
								 bms_union(list_nth(sets, i), list_nth(sets, j)));
	}
	return sets;
}

static List *
add_outer_set(List *sets, RelOptInfo *baserel, Relids relids)
{
	ListCell   *lc;

	relids = bms_union(relids, baserel->lateral_relids);
	relids = bms_del_member(relids, baserel->relid);
	if (bms_is_empty(relids) || list_length(sets) >= MAX_OUTER_SETS)
		return sets;
	foreach(lc, sets)
	{
		if (bms_equal(lfirst(lc), relids))
			return sets;
	}
	return lappend(sets, relids);
}

/*
 * The path for one set of outer relations, with all clauses that they allow. It
 * is only worth having if those bind a lookup key; LATERAL leaves no choice.
 */
static void
add_lookup_path(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
				Relids required_outer)
{
	ParamPathInfo *param_info = get_baserel_parampathinfo(root, baserel, required_outer);
	PlanCall   *plain = linitial(state->calls);
	PlanCall   *call;

	call = hallway_plan_clauses(root, baserel, state,
								list_concat_copy(baserel->baserestrictinfo,
												 param_info->ppi_clauses),
								false);
	if (!bms_equal(required_outer, baserel->lateral_relids) &&
		!covers_lookup(state, call, plain))
		return;

	/* All paths of one parameterization must agree on the number of rows. */
	param_info->ppi_rows = call->rows;
	add_path(baserel, (Path *)
			 hallway_create_foreignscan_path(root, baserel, call->rows,
											 call->startup_cost, call->total_cost,
											 NIL, required_outer,
											 list_make2(makeInteger(call->index),
														makeInteger(0))));
}

/* Called for members of equivalence classes that belong to the relation. */
static bool
match_lookup_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
					EquivalenceMember *em, void *arg)
{
	LookupColumns *columns = arg;
	Expr	   *expr = em->em_expr;
	int			column;

	if (columns->current != NULL)
		return equal(expr, columns->current);
	if (list_member(columns->done, expr))
		return false;
	column = hallway_column_index(columns->cxt, expr);
	if (column < 0 || !is_lookup_column(columns->state, column))
		return false;
	columns->current = expr;
	return true;
}

static bool
binds_lookup_column(HallwayQualContext *cxt, TablePlanning *state, Expr *clause)
{
	Hallway__V1__Expr *expr = hallway_ship_expr(cxt, clause);
	bool		list;
	int			column = expr != NULL ? bound_column(expr, &list) : -1;

	return column >= 0 && is_lookup_column(state, column);
}

static bool
is_lookup_column(TablePlanning *state, int column)
{
	const Hallway__V1__DescribeResponse *description = state->relation->description;

	if (list_member_int(state->cached_leading, column))
		return true;
	for (size_t i = 0; i < description->n_lookup_keys; i++)
	{
		const Hallway__V1__LookupKey *key = description->lookup_keys[i];

		for (size_t j = 0; j < key->n_columns; j++)
		{
			if (key->columns[j] == (uint32) column)
				return true;
		}
	}
	return false;
}

/*
 * Fills in the columns that conditions bind to values: those which the API
 * executes, or all, where a cache table does.
 */
void
hallway_find_keys(TablePlanning *state, PlanCall *call, const Hallway__V1__PlanRequest *request)
{
	for (size_t i = 0; i < request->n_conjuncts; i++)
	{
		Hallway__V1__Verdict verdict = call->answer->verdicts[i]->verdict;
		bool		list;
		int			column = bound_column(request->conjuncts[i], &list);

		if (column < 0 ||
			(!OidIsValid(state->cached) &&
			 verdict != HALLWAY__V1__VERDICT__VERDICT_EXACT &&
			 verdict != HALLWAY__V1__VERDICT__VERDICT_SUPERSET))
			continue;
		if (list)
			call->listed = list_append_unique_int(call->listed, column);
		else
			call->keyed = list_append_unique_int(call->keyed, column);
	}
}

/* The column that this condition binds to a value, or to a list; or -1. */
static int
bound_column(const Hallway__V1__Expr *expr, bool *list)
{
	const Hallway__V1__Expr *operand;

	*list = expr->node_case == HALLWAY__V1__EXPR__NODE_MEMBERSHIP;
	if (*list)
	{
		if (expr->membership->negated)
			return -1;
		operand = expr->membership->operand;
	}
	else
	{
		if (expr->node_case != HALLWAY__V1__EXPR__NODE_COMPARISON ||
			expr->comparison->operator_ !=
			HALLWAY__V1__COMPARISON_OPERATOR__COMPARISON_OPERATOR_EQ ||
			expr->comparison->right->node_case != HALLWAY__V1__EXPR__NODE_PARAMETER)
			return -1;
		operand = expr->comparison->left;
	}
	return operand->node_case == HALLWAY__V1__EXPR__NODE_COLUMN ?
		(int) operand->column->column : -1;
}

static bool
covers(const Hallway__V1__LookupKey *key, List *columns)
{
	for (size_t i = 0; i < key->n_columns; i++)
	{
		if (!list_member_int(columns, key->columns[i]))
			return false;
	}
	return key->n_columns > 0;
}

static bool
covers_unique(TablePlanning *state, List *columns)
{
	const Hallway__V1__DescribeResponse *description = state->relation->description;

	for (size_t i = 0; i < description->n_lookup_keys; i++)
	{
		if (description->lookup_keys[i]->unique &&
			covers(description->lookup_keys[i], columns))
			return true;
	}
	return false;
}

/* A lookup key is bound by the clauses of call, and was not by those of plain. */
static bool
covers_lookup(TablePlanning *state, const PlanCall *call, const PlanCall *plain)
{
	const Hallway__V1__DescribeResponse *description = state->relation->description;
	List	   *bound = list_concat_copy(call->keyed, call->listed);
	List	   *bound_before = list_concat_copy(plain->keyed, plain->listed);
	ListCell   *lc;

	for (size_t i = 0; i < description->n_lookup_keys; i++)
	{
		if (covers(description->lookup_keys[i], bound) &&
			!covers(description->lookup_keys[i], bound_before))
			return true;
	}
	foreach(lc, state->cached_leading)
	{
		if (list_member_int(bound, lfirst_int(lc)) &&
			!list_member_int(bound_before, lfirst_int(lc)))
			return true;
	}
	return false;
}
