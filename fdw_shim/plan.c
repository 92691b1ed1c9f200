/*-------------------------------------------------------------------------
 *
 * plan.c
 *		The planner's callbacks: which conditions go to the sidecar, and what
 *		the plan node carries to execution.
 *
 * Paths and their costs are paths.c's, the meaning of expressions quals.c's,
 * and the question to the sidecar plan_cache.c's.
 *
 * A plan may be used by another role than the one that made it, and long after
 * the sidecar has been upgraded. So a plan node holds no credential and nothing
 * that follows from one, and conditions that the sidecar called exact stay with
 * the node (fdw_recheck_quals), to be checked here when it takes that back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "cache.h"
#include "compat.h"
#include "plan.h"
#include "quals.h"

/* Positions in ForeignScan.fdw_private. */
enum ScanPrivate
{
	PRIVATE_PLAN,				/* Const of type bytea */
	PRIVATE_ATTNUMS,			/* IntList */
	PRIVATE_EXACT,				/* IntList */
	PRIVATE_NPARAMS,			/* Integer */
	PRIVATE_ORDERING,			/* Integer */
	PRIVATE_HAS_LIMIT,			/* Boolean */
	PRIVATE_EXPLAIN,			/* List; see hallway_scan_explanation() */
	PRIVATE_CACHE				/* List; see cache_plan.c */
};

static bool reads_cache(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state);
static bool limit_possible(PlannerInfo *root, RelOptInfo *baserel);
static uint64 limit_rows(PlannerInfo *root);
static void offer_orderings(PlannerInfo *root, HallwayQualContext *cxt,
							PlanCall *call, Hallway__V1__PlanRequest *request);
static void ship_clauses(HallwayQualContext *cxt, PlanCall *call, List *clauses,
						 Hallway__V1__PlanRequest *request);
static List *needed_attnums(RelOptInfo *baserel, TablePlanning *state, List *clauses);
static bool same_clauses(const PlanCall *call, List *clauses);
static bool limit_goes_down(PlannerInfo *root, TablePlanning *state, PlanCall *call,
							ForeignPath *path, int ordering, int nexact, int nclauses);
static List *describe_ordering(TablePlanning *state, PlanCall *call, RelOptInfo *baserel,
							   int ordering);
static List *without_pseudoconstants(List *clauses);


/*
 * Asks the sidecar what it will do with the relation's own conditions, and takes
 * rows and width from the answer.
 */
void
hallwayGetForeignRelSize(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	TablePlanning *state = palloc0(sizeof(TablePlanning));
	ForeignTable *table = GetForeignTable(relid);
	const char *rows = hallway_option(table->options, "estimated_rows");
	PlanCall   *call;

	/* Before anything that depends on somebody's credential. */
	hallway_check_permissions(root);

	baserel->fdw_private = state;
	state->relid = relid;
	state->userid = hallway_rel_user(baserel);
	state->relation = hallway_relation(relid, state->userid);
	state->async = hallway_boolean_option(table, GetForeignServer(table->serverid),
										  "async_capable", true);
	state->limit_possible = limit_possible(root, baserel);
	if (rows != NULL)
		state->stated_rows = strtod(rows, NULL);

	/* A table that was never analyzed has -1, and by some roads 0. */
	state->known_rows = state->stated_rows > 0 || baserel->tuples > 0;
	if (state->stated_rows > 0)
		baserel->tuples = state->stated_rows;

	if (reads_cache(root, baserel, state))
		hallway_cache_cost(root, baserel, state);

	call = hallway_plan_clauses(root, baserel, state, baserel->baserestrictinfo, true);
	baserel->rows = call->rows;
	if (!state->known_rows && call->answer->width > 0)
		baserel->reltarget->width = (int) call->answer->width;
}

void
hallwayGetForeignPaths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	TablePlanning *state = baserel->fdw_private;

	hallway_add_plain_paths(root, baserel, state, linitial(state->calls));
	hallway_add_lookup_paths(root, baserel, state);
}

ForeignScan *
hallwayGetForeignPlan(PlannerInfo *root, RelOptInfo *baserel, Oid relid,
					  ForeignPath *path, List *tlist, List *scan_clauses, Plan *outer_plan)
{
	TablePlanning *state = baserel->fdw_private;
	PlanCall   *call;
	int			ordering;
	List	   *local_exprs = NIL;
	List	   *recheck_exprs = NIL;
	List	   *exact = NIL;
	List	   *verdicts = NIL;
	List	   *reasons = NIL;
	List	   *levels = NIL;
	List	   *exact_levels = NIL;
	List	   *exprs;
	List	   *fdw_private;
	bool		has_limit;
	ListCell   *lc;

	if (baserel->reloptkind == RELOPT_UPPER_REL)
		return hallway_upper_plan(baserel, tlist, outer_plan);

	call = list_nth(state->calls, intVal(linitial(path->fdw_private)));
	ordering = intVal(lsecond(path->fdw_private));
	scan_clauses = without_pseudoconstants(scan_clauses);

	/* A path made for another relation of a partitioned join has its own clauses. */
	if (!same_clauses(call, scan_clauses))
	{
		call = hallway_plan_clauses(root, baserel, state, scan_clauses, ordering > 0);
		if (ordering > 0 &&
			!hallway_ordering_is_exact(call->answer, ordering - 1))
			elog(ERROR, "the sidecar took an order back while a query was planned");
	}

	foreach(lc, scan_clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int			conjunct;
		Hallway__V1__Verdict verdict = hallway_verdict(call, rinfo, &conjunct);

		if (verdict == HALLWAY__V1__VERDICT__VERDICT_EXACT)
		{
			recheck_exprs = lappend(recheck_exprs, rinfo->clause);
			exact = lappend_int(exact, conjunct);
			exact_levels = lappend_int(exact_levels, rinfo->security_level);
			continue;
		}
		local_exprs = lappend(local_exprs, rinfo->clause);
		levels = lappend_int(levels, rinfo->security_level);
		verdicts = lappend_int(verdicts, verdict);
		reasons = lappend(reasons,
						  makeString(conjunct < 0 ? "" :
									 pstrdup(call->answer->verdicts[conjunct]->reason)));
	}

	has_limit = limit_goes_down(root, state, call, path, ordering,
								list_length(exact), list_length(scan_clauses));
	exprs = list_copy(call->params);
	if (has_limit)
	{
		/* NULL stands for no LIMIT, and for no OFFSET. */
		Node	   *none = (Node *) makeNullConst(INT8OID, -1, InvalidOid);
		Node	   *offset = root->parse->limitOffset;

		exprs = lappend(exprs, root->parse->limitCount);
		exprs = lappend(exprs, offset != NULL ? offset : none);
	}

	fdw_private = list_make5(hallway_bytes_const(&call->answer->plan),
							 needed_attnums(baserel, state, scan_clauses),
							 exact,
							 makeInteger(list_length(call->params)),
							 makeInteger(ordering));
	fdw_private = lappend(fdw_private, makeBoolean(has_limit));
	fdw_private = lappend(fdw_private,
						  list_make3(verdicts, reasons,
									 describe_ordering(state, call, baserel, ordering)));
	fdw_private = lappend(fdw_private,
						  hallway_cache_private(state, call, baserel, levels, exact_levels,
												ordering));

	return make_foreignscan(tlist, local_exprs, baserel->relid, exprs, fdw_private,
							NIL, recheck_exprs, outer_plan);
}

/* Unpacks what hallwayGetForeignPlan has put into a plan node. */
void
hallway_scan_plan(const ForeignScan *scan, HallwayScanPlan *out)
{
	List	   *list = scan->fdw_private;

	out->plan = DatumGetByteaPP(list_nth_node(Const, list, PRIVATE_PLAN)->constvalue);
	out->attnums = list_nth(list, PRIVATE_ATTNUMS);
	out->exact = list_nth(list, PRIVATE_EXACT);
	out->nparams = intVal(list_nth(list, PRIVATE_NPARAMS));
	out->ordering = intVal(list_nth(list, PRIVATE_ORDERING));
	out->has_limit = boolVal(list_nth(list, PRIVATE_HAS_LIMIT));
	out->explain = list_nth(list, PRIVATE_EXPLAIN);
	out->cache = list_nth(list, PRIVATE_CACHE);
}

bool
hallway_path_async(ForeignPath *path)
{
	return path->path.parent->reloptkind != RELOPT_UPPER_REL &&
		((TablePlanning *) path->path.parent->fdw_private)->async;
}

/* ---- one set of clauses -------------------------------------------------- */

/*
 * Asks the sidecar about clauses (RestrictInfos; pseudo-constant ones are none
 * of our business), or finds the answer to an equal question, and estimates.
 */
PlanCall *
hallway_plan_clauses(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
					 List *clauses, bool with_orderings)
{
	PlanCall   *call = palloc0(sizeof(PlanCall));
	HallwayQualContext cxt = {.root = root,.baserel = baserel,.relation = state->relation};
	Hallway__V1__PlanRequest request = HALLWAY__V1__PLAN_REQUEST__INIT;
	List	   *attnums;
	ListCell   *lc;

	ship_clauses(&cxt, call, clauses, &request);

	if (with_orderings)
		offer_orderings(root, &cxt, call, &request);

	attnums = needed_attnums(baserel, state, call->considered);
	request.columns = palloc(sizeof(uint32) * list_length(attnums));
	foreach(lc, attnums)
	{
		if (get_attgenerated(state->relation->relid, lfirst_int(lc)) == '\0')
			request.columns[request.n_columns++] = state->relation->columns[lfirst_int(lc) - 1];
	}

	/* What the sidecar does not see decides about rows too. */
	if (state->limit_possible && with_orderings)
	{
		request.limit_possible = list_length(call->shipped) == list_length(call->considered);
		request.limit_rows = limit_rows(root);
	}

	call->answer = hallway_cached_plan(state->relation, &request, cxt.parameters);
	hallway_find_keys(state, call, &request);
	hallway_estimate(root, baserel, state, call);

	call->index = list_length(state->calls);
	state->calls = lappend(state->calls, call);
	return call;
}

/*
 * Asks for groups of the rows for which the relation's own clauses hold. What is
 * known of the relation stays as it is.
 */
PlanCall *
hallway_plan_groups(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state,
					Hallway__V1__Aggregation *aggregation)
{
	PlanCall   *call = palloc0(sizeof(PlanCall));
	HallwayQualContext cxt = {.root = root,.baserel = baserel,.relation = state->relation};
	Hallway__V1__PlanRequest request = HALLWAY__V1__PLAN_REQUEST__INIT;

	ship_clauses(&cxt, call, baserel->baserestrictinfo, &request);
	request.aggregation = aggregation;
	call->answer = hallway_cached_plan(state->relation, &request, cxt.parameters);
	return call;
}

/* Makes the request's conjuncts of clauses, as far as they have a neutral form. */
static void
ship_clauses(HallwayQualContext *cxt, PlanCall *call, List *clauses,
			 Hallway__V1__PlanRequest *request)
{
	ListCell   *lc;

	call->considered = without_pseudoconstants(clauses);
	request->conjuncts = palloc(sizeof(Hallway__V1__Expr *) * list_length(call->considered));
	foreach(lc, call->considered)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Hallway__V1__Expr *expr;

		/*
		 * What comes after a security barrier may see only rows that passed it.
		 * An API could tell a user of others by what it answers or refuses.
		 */
		if (!restriction_is_securely_promotable(rinfo, cxt->baserel))
			continue;
		expr = hallway_ship_expr(cxt, rinfo->clause);
		if (expr == NULL)
			continue;
		request->conjuncts[request->n_conjuncts++] = expr;
		call->shipped = lappend(call->shipped, rinfo);
		call->param_ends = lappend_int(call->param_ends, list_length(cxt->params));
	}
	call->conjuncts = request->conjuncts;
	call->parameters = cxt->parameters;
	call->params = cxt->params;
}

/* The verdict on a clause, and its conjunct's index, -1 if it was not shipped. */
Hallway__V1__Verdict
hallway_verdict(const PlanCall *call, RestrictInfo *rinfo, int *conjunct)
{
	Hallway__V1__Verdict verdict;
	ListCell   *lc;

	foreach(lc, call->shipped)
	{
		if (lfirst(lc) != rinfo)
			continue;
		*conjunct = foreach_current_index(lc);
		verdict = call->answer->verdicts[*conjunct]->verdict;
		/* One that a newer sidecar may know is as good as none. */
		if (verdict == HALLWAY__V1__VERDICT__VERDICT_EXACT ||
			verdict == HALLWAY__V1__VERDICT__VERDICT_SUPERSET)
			return verdict;
		return HALLWAY__V1__VERDICT__VERDICT_LOCAL;
	}
	*conjunct = -1;
	return HALLWAY__V1__VERDICT__VERDICT_LOCAL;
}

bool
hallway_ordering_is_exact(const Hallway__V1__PlanResponse *answer, int ordering)
{
	for (size_t i = 0; i < answer->n_exact_orderings; i++)
	{
		if (answer->exact_orderings[i] == (uint32) ordering)
			return true;
	}
	return false;
}

/*
 * Offers the order that the query wants, as far as its keys are columns of this
 * relation: sorting the rest of it is less work on a presorted input.
 */
static void
offer_orderings(PlannerInfo *root, HallwayQualContext *cxt, PlanCall *call,
				Hallway__V1__PlanRequest *request)
{
	List	   *pathkeys = NIL;
	Hallway__V1__Ordering *ordering;
	ListCell   *lc;

	if (root->query_pathkeys == NIL)
		return;

	ordering = palloc(sizeof(Hallway__V1__Ordering));
	hallway__v1__ordering__init(ordering);
	ordering->keys = palloc(sizeof(Hallway__V1__SortKey *) * list_length(root->query_pathkeys));
	foreach(lc, root->query_pathkeys)
	{
		Hallway__V1__SortKey *key = hallway_ship_sortkey(cxt, lfirst(lc));

		if (key == NULL)
			break;
		ordering->keys[ordering->n_keys++] = key;
		pathkeys = lappend(pathkeys, lfirst(lc));
	}
	if (pathkeys == NIL)
		return;

	call->orderings = list_make1(pathkeys);
	request->orderings = palloc(sizeof(Hallway__V1__Ordering *));
	request->orderings[0] = ordering;
	request->n_orderings = 1;
}

/*
 * Columns that a scan must fetch: those which the query uses above the scan,
 * and those of all conditions. Exact ones are among these: whether they must be
 * checked here is known when the scan starts, and EvalPlanQual checks them.
 */
static List *
needed_attnums(RelOptInfo *baserel, TablePlanning *state, List *clauses)
{
	Bitmapset  *used = NULL;
	List	   *attnums = NIL;
	bool		whole_row;
	ListCell   *lc;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &used);
	foreach(lc, clauses)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, baserel->relid, &used);

	whole_row = bms_is_member(-FirstLowInvalidHeapAttributeNumber, used);
	for (int i = 0; i < state->relation->ncolumns; i++)
	{
		AttrNumber	attnum = state->relation->attnums[i];

		if (whole_row || bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, used))
			attnums = lappend_int(attnums, attnum);
	}
	return attnums;
}

static List *
without_pseudoconstants(List *clauses)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		if (!lfirst_node(RestrictInfo, lc)->pseudoconstant)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static bool
same_clauses(const PlanCall *call, List *clauses)
{
	ListCell   *lc;

	if (list_length(call->considered) != list_length(clauses))
		return false;
	foreach(lc, clauses)
	{
		if (!list_member_ptr(call->considered, lfirst(lc)))
			return false;
	}
	return true;
}

/* Rows that feed a write, or are to be locked, are read from the API. */
static bool
reads_cache(PlannerInfo *root, RelOptInfo *baserel, TablePlanning *state)
{
	return state->relation->cache.update_reads ||
		(!bms_is_member(baserel->relid, root->all_result_relids) &&
		 !hallway_written_meanwhile(root, baserel, state) &&
		 get_parse_rowmark(root->parse, baserel->relid) == NULL);
}

/* ---- LIMIT, ORDER BY ----------------------------------------------------- */

/*
 * True if the rows of this relation, with its own conditions, are the rows that
 * the query's LIMIT counts: nothing joins, groups, multiplies or locks them.
 */
static bool
limit_possible(PlannerInfo *root, RelOptInfo *baserel)
{
	Query	   *parse = root->parse;

	return parse->commandType == CMD_SELECT &&
		parse->limitCount != NULL &&
		!(IsA(parse->limitCount, Const) && ((Const *) parse->limitCount)->constisnull) &&
		parse->limitOption == LIMIT_OPTION_COUNT &&
		baserel->reloptkind == RELOPT_BASEREL &&
		bms_equal(root->all_baserels, baserel->relids) &&
		bms_is_empty(baserel->lateral_relids) &&
		!parse->hasAggs && !parse->hasWindowFuncs && !parse->hasTargetSRFs &&
		parse->groupClause == NIL && parse->groupingSets == NIL &&
		parse->distinctClause == NIL && parse->havingQual == NULL &&
		parse->setOperations == NULL && parse->rowMarks == NIL &&
	/* Evaluated once more, for the scan, and that must give the same. */
		!contain_volatile_functions(parse->limitCount) &&
		!contain_volatile_functions(parse->limitOffset) &&
		!contain_subplans(parse->limitCount) &&
		!contain_subplans(parse->limitOffset);
}

/* LIMIT plus OFFSET, if known by now, else 0. */
static uint64
limit_rows(PlannerInfo *root)
{
	return root->limit_tuples > 0 ? (uint64) root->limit_tuples : 0;
}

static bool
limit_goes_down(PlannerInfo *root, TablePlanning *state, PlanCall *call,
				ForeignPath *path, int ordering, int nexact, int nclauses)
{
	if (!state->limit_possible || !call->answer->limit_exact || nexact != nclauses ||
		path->path.param_info != NULL)
		return false;
	/* With a Sort above, all rows are needed. */
	return root->sort_pathkeys == NIL ||
		(ordering > 0 && pathkeys_contained_in(root->sort_pathkeys, path->path.pathkeys));
}

/* For EXPLAIN: attribute number, descending, nulls first of each key. */
static List *
describe_ordering(TablePlanning *state, PlanCall *call, RelOptInfo *baserel, int ordering)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (ordering == 0)
		return NIL;
	foreach(lc, (List *) list_nth(call->orderings, ordering - 1))
	{
		PathKey    *pathkey = lfirst(lc);
		Expr	   *expr = hallway_ec_member_of_rel(pathkey->pk_eclass, baserel)->em_expr;

		result = lappend_int(result, castNode(Var, hallway_strip_relabels(expr))->varattno);
		result = lappend_int(result, hallway_pathkey_descending(pathkey));
		result = lappend_int(result, pathkey->pk_nulls_first);
	}
	return result;
}

/* A plan's bytes as a node that can be copied, written and read. */
Const *
hallway_bytes_const(const ProtobufCBinaryData *bytes)
{
	bytea	   *value = palloc(bytes->len + VARHDRSZ);

	SET_VARSIZE(value, bytes->len + VARHDRSZ);
	memcpy(VARDATA(value), bytes->data, bytes->len);
	return makeConst(BYTEAOID, -1, InvalidOid, -1, PointerGetDatum(value), false, false);
}

/* ---- permissions --------------------------------------------------------- */

/*
 * The planner runs before the executor checks permissions, and asks the sidecar
 * with the credential of the user, or of a view's owner. So the executor's own
 * check is made here already, of all that the query names: who may not read a
 * view must not have its owner's credential used, nor see its errors. A view
 * that was not merged into its query is planned as a query of its own, hence the
 * outer ones too.
 */
void
hallway_check_permissions(PlannerInfo *root)
{
	for (; root != NULL; root = root->parent_root)
		hallway_exec_check_permissions(root->parse);
}
