/*-------------------------------------------------------------------------
 *
 * upper.c
 *		Groups in place of rows: aggregates that the API makes.
 *
 * A path is added where all conditions are exact, the keys are plain columns and
 * the connector says that its groups are PostgreSQL's. Nobody can check a group
 * afterwards. So the path has another one below it, which reads the rows and groups
 * them here: upper_scan.c runs it where it must, or had better.
 *
 * There is no avg() in the contract: it is sum() by count(), divided here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/prep.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "plan.h"
#include "quals.h"
#include "upper.h"

#define FUNCTION(name) HALLWAY__V1__AGGREGATE_FUNCTION__AGGREGATE_FUNCTION_##name

/* Stands in the upper RelOptInfo.fdw_private. */
typedef struct Grouping
{
	PlannerInfo *root;
	RelOptInfo *baserel;
	HallwayQualContext cxt;		/* to find columns */
	Hallway__V1__Aggregation *message;
	List	   *key_attnums;	/* of int */
	List	   *tlist;			/* fdw_scan_tlist */
	List	   *sources;		/* see UPPER_SOURCES, and so on */
	List	   *types;
	List	   *typmods;
	StringInfoData shown;
	List	   *having;
	PlanCall   *call;
} Grouping;

static bool suitable(PlannerInfo *root, RelOptInfo *input_rel);
static bool take_keys(Grouping *grouping);
static bool take_outputs(Grouping *grouping, List *exprs);
static bool take_output(Grouping *grouping, Expr *expr);
static bool take_aggregate(Grouping *grouping, Aggref *aggref);
static Hallway__V1__AggregateFunction aggregate_function(const char *name, Oid type);
static int	wire_aggregate(Grouping *grouping, Hallway__V1__AggregateFunction function,
						   int column, Oid type, int32 typmod);
static void add_output(Grouping *grouping, Expr *expr, int first, int second);
static bool all_exact(Grouping *grouping);
static Path *local_path(Grouping *grouping, RelOptInfo *output_rel);


void
hallwayGetForeignUpperPaths(PlannerInfo *root, UpperRelationKind stage,
							RelOptInfo *input_rel, RelOptInfo *output_rel, void *extra)
{
	TablePlanning *table = input_rel->fdw_private;
	Grouping   *grouping;
	const Hallway__V1__PlanResponse *answer;
	double		rows;
	QualCost	having_cost;
	Cost		run_cost;

	if (stage != UPPERREL_GROUP_AGG || output_rel->fdw_private != NULL ||
		output_rel->pathlist == NIL || !suitable(root, input_rel))
		return;

	grouping = palloc0(sizeof(Grouping));
	grouping->root = root;
	grouping->baserel = input_rel;
	grouping->cxt.root = root;
	grouping->cxt.baserel = input_rel;
	grouping->cxt.relation = table->relation;
	grouping->having = (List *) ((GroupPathExtraData *) extra)->havingQual;
	grouping->message = palloc(sizeof(Hallway__V1__Aggregation));
	hallway__v1__aggregation__init(grouping->message);
	initStringInfo(&grouping->shown);

	if (!take_keys(grouping) ||
		!take_outputs(grouping, output_rel->reltarget->exprs) ||
		!take_outputs(grouping, grouping->having) ||
		grouping->message->n_aggregates == 0)
		return;

	grouping->call = hallway_plan_groups(root, input_rel, table, grouping->message);
	answer = grouping->call->answer;
	if (!all_exact(grouping))
		return;
	output_rel->fdw_private = grouping;

	/* As many groups as PostgreSQL expects; what they cost the sidecar says. */
	rows = ((Path *) linitial(output_rel->pathlist))->rows;
	cost_qual_eval(&having_cost, grouping->having, root);
	run_cost = Max(answer->total_cost - answer->startup_cost, 0) +
		(cpu_tuple_cost + having_cost.per_tuple + output_rel->reltarget->cost.per_tuple) * rows;
	add_path(output_rel, (Path *)
			 hallway_create_foreign_upper_path(root, output_rel, output_rel->reltarget, rows,
											   answer->startup_cost + having_cost.startup,
											   answer->startup_cost + having_cost.startup +
											   run_cost,
											   local_path(grouping, output_rel)));
}

/* One foreign table whose rows are grouped, and nothing that only rows could tell. */
static bool
suitable(PlannerInfo *root, RelOptInfo *input_rel)
{
	Query	   *parse = root->parse;
	TablePlanning *table = input_rel->fdw_private;
	ListCell   *lc;

	if (input_rel->reloptkind != RELOPT_BASEREL || table == NULL ||
		!bms_equal(root->all_baserels, input_rel->relids) ||
		!bms_is_empty(input_rel->lateral_relids) ||
		!parse->hasAggs || parse->groupingSets != NIL || parse->hasTargetSRFs ||
		parse->rowMarks != NIL || root->hasPseudoConstantQuals ||
		!table->relation->description->aggregates)
		return false;

	/* A local table's cost, and no call at all. */
	if (OidIsValid(table->cached))
		return false;

	foreach(lc, input_rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		PlanCall   *plain = linitial(table->calls);
		int			conjunct;

		/* Spares the question where one verdict is known to forbid it. */
		if (rinfo->pseudoconstant ||
			hallway_verdict(plain, rinfo, &conjunct) != HALLWAY__V1__VERDICT__VERDICT_EXACT)
			return false;
	}
	return true;
}

static bool
take_keys(Grouping *grouping)
{
	Query	   *parse = grouping->root->parse;
	Hallway__V1__Aggregation *message = grouping->message;
	ListCell   *lc;

	message->keys = palloc(sizeof(uint32) * Max(list_length(parse->groupClause), 1));
	foreach(lc, parse->groupClause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Var		   *var = (Var *) get_sortgroupclause_expr(clause, grouping->root->processed_tlist);
		int			column;

		if (!IsA(var, Var) || (column = hallway_column_index(&grouping->cxt, (Expr *) var)) < 0 ||
			getBaseType(var->vartype) != var->vartype ||
			!hallway_comparable(var->vartype, var->vartype, var->varcollid) ||
			hallway_default_strategy(clause->eqop, var->vartype) != BTEqualStrategyNumber)
			return false;
		if (list_member_int(grouping->key_attnums, var->varattno))
			continue;
		message->keys[message->n_keys++] = column;
		grouping->key_attnums = lappend_int(grouping->key_attnums, var->varattno);
		grouping->types = lappend_oid(grouping->types, var->vartype);
		grouping->typmods = lappend_int(grouping->typmods, var->vartypmod);
	}
	return true;
}

/* What expressions above the groups are made of becomes the scan's columns. */
static bool
take_outputs(Grouping *grouping, List *exprs)
{
	ListCell   *lc;

	foreach(lc, pull_var_clause((Node *) exprs,
								PVC_INCLUDE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS |
								PVC_INCLUDE_PLACEHOLDERS))
	{
		if (!take_output(grouping, lfirst(lc)))
			return false;
	}
	return true;
}

static bool
take_output(Grouping *grouping, Expr *expr)
{
	if (tlist_member(expr, grouping->tlist) != NULL)
		return true;
	if (IsA(expr, Aggref))
		return take_aggregate(grouping, (Aggref *) expr);
	if (IsA(expr, Var))
	{
		int			place = 0;
		ListCell   *lc;

		foreach(lc, grouping->key_attnums)
		{
			if (lfirst_int(lc) == ((Var *) expr)->varattno)
			{
				add_output(grouping, expr, place, NO_SOURCE);
				return true;
			}
			place++;
		}
	}
	return false;
}

static bool
take_aggregate(Grouping *grouping, Aggref *aggref)
{
	const char *name = get_func_name(aggref->aggfnoid);
	Hallway__V1__AggregateFunction function;
	Var		   *var;
	int			column;
	int			sum;

	if (!hallway_is_builtin(aggref->aggfnoid) || name == NULL ||
		aggref->aggkind != AGGKIND_NORMAL || aggref->aggsplit != AGGSPLIT_SIMPLE ||
		aggref->agglevelsup != 0 || aggref->aggdistinct != NIL || aggref->aggorder != NIL ||
		aggref->aggfilter != NULL)
		return false;

	var = aggref->args != NIL ? (Var *) linitial_node(TargetEntry, aggref->args)->expr : NULL;
	if (strcmp(name, "count") == 0 &&
		(aggref->aggstar || (IsA(var, Const) && !((Const *) var)->constisnull)))
	{
		add_output(grouping, (Expr *) aggref,
				   wire_aggregate(grouping, FUNCTION(COUNT_ROWS), 0, INT8OID, -1), NO_SOURCE);
		appendStringInfoString(&grouping->shown, "count(*)");
		return true;
	}

	if (list_length(aggref->args) != 1 || !IsA(var, Var) ||
		(column = hallway_column_index(&grouping->cxt, (Expr *) var)) < 0)
		return false;
	function = aggregate_function(name, var->vartype);
	switch (function)
	{
		case FUNCTION(COUNT):
			add_output(grouping, (Expr *) aggref,
					   wire_aggregate(grouping, function, column, INT8OID, -1), NO_SOURCE);
			break;
		case FUNCTION(SUM):
			sum = wire_aggregate(grouping, function, column,
								 var->vartype == INT2OID || var->vartype == INT4OID ?
								 INT8OID : NUMERICOID, -1);
			add_output(grouping, (Expr *) aggref, sum,
					   strcmp(name, "avg") == 0 ?
					   wire_aggregate(grouping, FUNCTION(COUNT), column, INT8OID, -1) : NO_SOURCE);
			break;
		case FUNCTION(MIN):
		case FUNCTION(MAX):
			add_output(grouping, (Expr *) aggref,
					   wire_aggregate(grouping, function, column, var->vartype, var->vartypmod),
					   NO_SOURCE);
			break;
		default:
			return false;
	}
	appendStringInfo(&grouping->shown, "%s(%s)", name,
					 quote_identifier(get_attname(grouping->cxt.relation->relid,
												  var->varattno, false)));
	return true;
}

/*
 * What an aggregate over a column of that type is in the contract, which for avg()
 * is SUM; UNSPECIFIED: nothing. A sum of floats depends on the order of the rows,
 * and the least text on the collation.
 */
static Hallway__V1__AggregateFunction
aggregate_function(const char *name, Oid type)
{
	bool		integral = type == INT2OID || type == INT4OID || type == INT8OID;

	if (strcmp(name, "count") == 0)
		return FUNCTION(COUNT);
	if (strcmp(name, "sum") == 0 || strcmp(name, "avg") == 0)
		return integral || type == NUMERICOID ? FUNCTION(SUM) : FUNCTION(UNSPECIFIED);
	if (!integral && type != NUMERICOID && type != FLOAT8OID && type != DATEOID &&
		type != TIMEOID && type != TIMESTAMPOID && type != TIMESTAMPTZOID)
		return FUNCTION(UNSPECIFIED);
	if (strcmp(name, "min") == 0)
		return FUNCTION(MIN);
	return strcmp(name, "max") == 0 ? FUNCTION(MAX) : FUNCTION(UNSPECIFIED);
}

/* The place of an aggregate among the wire columns; it is asked for once. */
static int
wire_aggregate(Grouping *grouping, Hallway__V1__AggregateFunction function, int column,
			   Oid type, int32 typmod)
{
	Hallway__V1__Aggregation *message = grouping->message;
	Hallway__V1__Aggregate *aggregate;

	for (size_t i = 0; i < message->n_aggregates; i++)
	{
		if (message->aggregates[i]->function == function &&
			message->aggregates[i]->column == (uint32) column)
			return (int) (message->n_keys + i);
	}

	aggregate = palloc(sizeof(Hallway__V1__Aggregate));
	hallway__v1__aggregate__init(aggregate);
	aggregate->function = function;
	aggregate->column = column;
	aggregate->type = palloc(sizeof(Hallway__V1__Type));
	hallway_describe_type(type, typmod, aggregate->type);
	if (message->n_aggregates == 0)
		message->aggregates = palloc(sizeof(aggregate));
	else
		message->aggregates = repalloc(message->aggregates,
									   sizeof(aggregate) * (message->n_aggregates + 1));
	message->aggregates[message->n_aggregates++] = aggregate;
	grouping->types = lappend_oid(grouping->types, type);
	grouping->typmods = lappend_int(grouping->typmods, typmod);
	return (int) (message->n_keys + message->n_aggregates - 1);
}

static void
add_output(Grouping *grouping, Expr *expr, int first, int second)
{
	grouping->tlist = lappend(grouping->tlist,
							  makeTargetEntry(expr, list_length(grouping->tlist) + 1, NULL, false));
	grouping->sources = lappend_int(grouping->sources, first);
	grouping->sources = lappend_int(grouping->sources, second);
	if (IsA(expr, Aggref) && grouping->shown.len > 0)
		appendStringInfoString(&grouping->shown, ", ");
}

static bool
all_exact(Grouping *grouping)
{
	PlanCall   *call = grouping->call;
	int			conjunct;
	ListCell   *lc;

	foreach(lc, call->considered)
	{
		if (hallway_verdict(call, lfirst(lc), &conjunct) != HALLWAY__V1__VERDICT__VERDICT_EXACT)
			return false;
	}
	return call->answer->aggregation_exact;
}

/* Reads the rows and groups them, without HAVING: that is checked above either way. */
static Path *
local_path(Grouping *grouping, RelOptInfo *output_rel)
{
	PlannerInfo *root = grouping->root;
	List	   *clause = hallway_group_clause(root);
	AggClauseCosts costs = {0};
	PathTarget *target = create_empty_pathtarget();
	ListCell   *lc;

	foreach(lc, grouping->tlist)
		add_column_to_pathtarget(target, lfirst_node(TargetEntry, lc)->expr, 0);
	set_pathtarget_cost_width(root, target);
	get_agg_clause_costs(root, AGGSPLIT_SIMPLE, &costs);
	return (Path *)
		create_agg_path(root, output_rel, grouping->baserel->cheapest_total_path, target,
						root->parse->groupClause == NIL ? AGG_PLAIN :
						clause == NIL ? AGG_SORTED : AGG_HASHED,
						AGGSPLIT_SIMPLE, clause, NIL, &costs,
						((Path *) linitial(output_rel->pathlist))->rows);
}

ForeignScan *
hallway_upper_plan(RelOptInfo *rel, List *tlist, Plan *outer_plan)
{
	Grouping   *grouping = rel->fdw_private;
	Oid			relid = grouping->cxt.relation->relid;
	StringInfo	shown = &grouping->shown;
	List	   *fdw_private;
	ListCell   *lc;

	foreach(lc, grouping->key_attnums)
		appendStringInfo(shown, "%s%s", foreach_current_index(lc) == 0 ? " by " : ", ",
						 quote_identifier(get_attname(relid, lfirst_int(lc), false)));
	appendStringInfo(shown, " of %s", quote_identifier(get_rel_name(relid)));

	fdw_private = list_make5(makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
									   ObjectIdGetDatum(relid), false, true),
							 hallway_bytes_const(&grouping->call->answer->plan),
							 grouping->sources, grouping->types, grouping->typmods);
	fdw_private = lappend(fdw_private, makeInteger((int) grouping->message->n_keys));
	fdw_private = lappend(fdw_private, makeString(shown->data));
	return make_foreignscan(tlist, grouping->having, 0, list_copy(grouping->call->params),
							fdw_private, grouping->tlist, NIL, outer_plan);
}
