/*-------------------------------------------------------------------------
 *
 * cache_cost.c
 *		A cached table for the planner: where all rows of it lie in a fresh cache
 *		table, they cost what a local table's cost, and have its statistics.
 *
 * These are estimates for the user who plans. Whoever executes the plan may find
 * no region, and gets the same rows from the API.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_statistic.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "cache.h"
#include "compat.h"
#include "quals.h"

static get_relation_stats_hook_type next_stats_hook = NULL;

static List *leading_columns(Relation cache_rel);
static List *indexable_clauses(HallwayQualContext *cxt, List *clauses, int column);
static int	compared_column(HallwayQualContext *cxt, Expr *clause);
static void cached_widths(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state);
static bool cached_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum,
						 VariableStatData *vardata);


void
hallway_cache_cost_init(void)
{
	next_stats_hook = get_relation_stats_hook;
	get_relation_stats_hook = cached_stats;
}

void
hallway_cache_cost(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	HallwayRelation *relation = state->relation;
	HallwayCacheTable table;
	Relation	rel;
	Relation	cache_rel;
	double		allvisfrac;
	const char *why;
	bool		found;

	if (relation->cache.mode == HALLWAY__V1__CACHE_MODE__CACHE_MODE_OFF ||
		relation->description->cache_account.len == 0 ||
		relation->description->n_key_columns == 0 ||
		(hallway_max_age == 0 && hallway_read_from != READ_FROM_CACHE) ||
		!ActiveSnapshotSet())
		return;

	rel = table_open(relation->relid, NoLock);
	found = hallway_cache_table(relation, rel, GetActiveSnapshot(), &table, &why) &&
		hallway_cache_all_rows(relation, &table, GetActiveSnapshot());
	table_close(rel, NoLock);
	if (!found)
		return;

	cache_rel = table_open(table.relid, NoLock);
	state->cached = table.relid;
	estimate_rel_size(cache_rel, NULL, &baserel->pages, &baserel->tuples, &allvisfrac);
	state->cached_leading = leading_columns(cache_rel);
	table_close(cache_rel, NoLock);
	state->known_rows = true;
	cached_widths(root, baserel, state);
}

/* Fills in call's rows and costs, as hallway_estimate() does for the API. */
void
hallway_cache_estimate(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
					   PlanCall *call, bool unique)
{
	HallwayQualContext cxt = {.root = root,.baserel = baserel,.relation = state->relation};
	QualCost	check_cost;
	Cost		best;
	ListCell   *lc;

	call->rows = unique ? 1 :
		clamp_row_est(baserel->tuples *
					  clauselist_selectivity(root, call->considered, baserel->relid,
											 JOIN_INNER, NULL));
	call->retrieved = call->rows;

	cost_qual_eval(&check_cost, call->considered, root);
	best = seq_page_cost * baserel->pages +
		(cpu_tuple_cost + check_cost.per_tuple) * baserel->tuples;

	foreach(lc, state->cached_leading)
	{
		List	   *clauses = indexable_clauses(&cxt, call->considered, lfirst_int(lc));
		double		rows;
		Cost		cost;

		if (clauses == NIL)
			continue;
		rows = unique ? 1 :
			clamp_row_est(baserel->tuples *
						  clauselist_selectivity(root, clauses, baserel->relid,
												 JOIN_INNER, NULL));
		cost = random_page_cost * (1 + index_pages_fetched(rows, baserel->pages, 0, root)) +
			ceil(log2(Max(baserel->tuples, 2))) * cpu_operator_cost +
			(cpu_index_tuple_cost + cpu_operator_cost + cpu_tuple_cost +
			 check_cost.per_tuple) * rows;
		best = Min(best, cost);
	}

	/* The rows go through one more node. */
	call->startup_cost = check_cost.startup + baserel->reltarget->cost.startup;
	call->total_cost = call->startup_cost + best +
		(cpu_operator_cost + baserel->reltarget->cost.per_tuple) * call->rows;
}

/* What it costs more to have the rows in an order: an index has it, or a sort. */
Cost
hallway_cache_sort_cost(TablePlanning *state, PlanCall *call, RelOptInfo *baserel,
						List *pathkeys)
{
	PathKey    *pathkey = linitial(pathkeys);
	HallwayQualContext cxt = {.baserel = baserel,.relation = state->relation};
	EquivalenceMember *member = hallway_ec_member_of_rel(pathkey->pk_eclass, baserel);

	if (list_length(pathkeys) == 1 && member != NULL &&
		list_member_int(state->cached_leading, hallway_column_index(&cxt, member->em_expr)))
		return 0;
	return 2 * cpu_operator_cost * call->rows * log2(Max(call->rows, 2));
}

/* Column indexes that lead an index which finds rows by them. */
static List *
leading_columns(Relation cache_rel)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(cache_rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisvalid && form->indkey.values[0] > 0 &&
			index->rd_rel->relam == BTREE_AM_OID &&
			RelationGetIndexPredicate(index) == NIL)
			result = list_append_unique_int(result, form->indkey.values[0] - 1);
		index_close(index, AccessShareLock);
	}
	return result;
}

/*
 * The planner has looked for the columns' widths at the foreign table, which nothing
 * analyzes by itself. Too wide rows would be sorted for a GROUP BY that fits a hash
 * table.
 */
static void
cached_widths(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	for (AttrNumber attnum = 1; attnum <= baserel->max_attr; attnum++)
	{
		int			column = state->relation->columns[attnum - 1];
		int32		width = column < 0 ? 0 : get_attavgwidth(state->cached, column + 1);

		if (width > 0)
			baserel->attr_widths[attnum - baserel->min_attr] = width;
	}
	set_baserel_size_estimates(root, baserel);
}

/* Those of the clauses that an index on the column executes. */
static List *
indexable_clauses(HallwayQualContext *cxt, List *clauses, int column)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		if (compared_column(cxt, lfirst_node(RestrictInfo, lc)->clause) == column)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

/* The column that is compared to a value, or to a list by IN; or -1. */
static int
compared_column(HallwayQualContext *cxt, Expr *clause)
{
	List	   *args;
	Oid			opno;
	int			strategy;

	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		args = ((OpExpr *) clause)->args;
		opno = ((OpExpr *) clause)->opno;
	}
	else if (IsA(clause, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) clause)->useOr)
	{
		args = ((ScalarArrayOpExpr *) clause)->args;
		opno = ((ScalarArrayOpExpr *) clause)->opno;
	}
	else
		return -1;

	strategy = hallway_default_strategy(opno, exprType(linitial(args)));
	if (strategy == 0 || strategy == HALLWAY_STRATEGY_NE)
		return -1;
	if (hallway_is_value(cxt, lsecond(args)))
		return hallway_column_index(cxt, linitial(args));
	if (IsA(clause, OpExpr) && hallway_is_value(cxt, linitial(args)))
		return hallway_column_index(cxt, lsecond(args));
	return -1;
}

/*
 * The planner asks for a column's statistics: those of the cache table are of
 * rows that the user may see, who was found to be allowed to read the columns.
 */
static bool
cached_stats(PlannerInfo *root, RangeTblEntry *rte, AttrNumber attnum,
			 VariableStatData *vardata)
{
	RelOptInfo *rel = vardata->rel;

	if (rte->relkind == RELKIND_FOREIGN_TABLE && rel != NULL && rel->fdwroutine != NULL &&
		rel->fdwroutine->GetForeignPlan == hallwayGetForeignPlan && rel->fdw_private != NULL &&
		attnum > 0)
	{
		TablePlanning *state = rel->fdw_private;

		if (OidIsValid(state->cached) && state->relid == rte->relid &&
			state->relation->columns[attnum - 1] >= 0)
		{
			vardata->statsTuple =
				SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(state->cached),
								Int16GetDatum(state->relation->columns[attnum - 1] + 1),
								BoolGetDatum(false));
			vardata->freefunc = ReleaseSysCache;
			vardata->acl_ok = rte->securityQuals == NIL;
			if (HeapTupleIsValid(vardata->statsTuple))
				return true;
		}
	}
	return next_stats_hook != NULL && next_stats_hook(root, rte, attnum, vardata);
}
