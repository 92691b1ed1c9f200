/*-------------------------------------------------------------------------
 *
 * cache_query.c
 *		The plan that reads a cache table in a foreign scan's place.
 *
 * It gives the foreign table's columns in their places, checks those conditions
 * of the scan that may be checked below it, and keeps the order that the query
 * relies on. Its permissions are those of the cache table's owner, as a view's
 * are; functions in it run as the user.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"

#include "cache.h"
#include "compat.h"

/* Turns expressions of the scan into those of the inner plan. */
typedef struct Translation
{
	int			varno;			/* of the foreign table in what is translated */
	Relation	rel;
	AttrNumber *places;			/* attribute number - 1 -> place in the cache table */
	Expr	  **generated;		/* the same -> how it is computed, translated; or NULL */
	List	   *params;			/* of the scan, by number of ours - 1 */
	bool		failed;
} Translation;

static RangeTblEntry *cache_rte(Relation cache_rel, Query *query);
static void init_translation(Translation *translation, Relation rel, int scanrelid);
static List *target_list(Translation *translation);
static bool add_quals(Translation *translation, ForeignScan *scan,
					  const HallwayCachePlan *cache, RangeTblEntry *rte, List **where);
static Expr *translated(Translation *translation, Expr *expr);
static Node *translate_mutator(Node *node, Translation *translation);
static void add_sort(Translation *translation, const HallwayCachePlan *cache, Query *query);


void
hallway_make_inner_plan(ForeignScanState *node, const HallwayScanPlan *plan,
						const HallwayCachePlan *cache, Oid cache_relid, HallwayInnerPlan *out)
{
	ForeignScan *scan = castNode(ForeignScan, node->ss.ps.plan);
	Relation	cache_rel = table_open(cache_relid, NoLock);	/* locked by who found it */
	Query	   *query = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	RangeTblEntry *rte;
	List	   *where = NIL;
	Translation translation;

	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->stmt_location = -1;
	rte = cache_rte(cache_rel, query);
	query->rtable = list_make1(rte);
	table_close(cache_rel, NoLock);

	init_translation(&translation, node->ss.ss_currentRelation, scan->scan.scanrelid);
	query->targetList = target_list(&translation);
	out->all_inside = add_quals(&translation, scan, cache, rte, &where);
	ref->rtindex = 1;
	query->jointree = makeFromExpr(list_make1(ref),
								   where == NIL ? NULL : (Node *) make_ands_explicit(where));
	add_sort(&translation, cache, query);
	if (plan->has_limit)
	{
		Param	   *bound = makeNode(Param);

		/* The parameter after the others; NULL if there is no bound. */
		bound->paramkind = PARAM_EXTERN;
		bound->paramid = list_length(translation.params) + 1;
		bound->paramtype = INT8OID;
		bound->paramtypmod = -1;
		bound->location = -1;
		query->limitCount = (Node *) bound;
		query->limitOption = LIMIT_OPTION_COUNT;
	}

	out->params = translation.params;
	if (!translation.failed)
		out->stmt = planner(query, "", 0, NULL);
}

/* Read as its owner, whose sidecar made it, whoever the user is. */
static RangeTblEntry *
cache_rte(Relation cache_rel, Query *query)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	TupleDesc	desc = RelationGetDescr(cache_rel);
	List	   *names = NIL;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(cache_rel);
	rte->relkind = cache_rel->rd_rel->relkind;
	rte->rellockmode = AccessShareLock;
	rte->inh = true;
	rte->inFromCl = true;
	for (int i = 0; i < desc->natts; i++)
		names = lappend(names, makeString(pstrdup(NameStr(TupleDescAttr(desc, i)->attname))));
	rte->eref = makeAlias(RelationGetRelationName(cache_rel), names);
	hallway_allow_select(query, rte, cache_rel->rd_rel->relowner);
	return rte;
}

static void
init_translation(Translation *translation, Relation rel, int scanrelid)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	place = 0;

	memset(translation, 0, sizeof(*translation));
	translation->rel = rel;
	translation->places = palloc0(sizeof(AttrNumber) * Max(desc->natts, 1));
	translation->generated = palloc0(sizeof(Expr *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			translation->places[i] = ++place;
	}

	/* The API has no generated columns: the cache holds what they come from. */
	translation->varno = 1;
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped &&
			TupleDescAttr(desc, i)->attgenerated == ATTRIBUTE_GENERATED_STORED)
		{
			translation->generated[i] =
				translated(translation, (Expr *) build_column_default(rel, i + 1));
			if (translation->generated[i] == NULL)
				translation->failed = true;
		}
	}
	translation->varno = scanrelid;
}

/* The foreign table's attributes, each in its place. */
static List *
target_list(Translation *translation)
{
	TupleDesc	desc = RelationGetDescr(translation->rel);
	List	   *result = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr	   *expr;

		if (att->attisdropped)
			expr = (Expr *) makeNullConst(INT4OID, -1, InvalidOid);
		else if (att->attgenerated != '\0' &&
				 att->attgenerated != ATTRIBUTE_GENERATED_STORED)
			/* Virtual ones (18 and later) are computed where they are used. */
			expr = (Expr *) makeNullConst(att->atttypid, att->atttypmod, att->attcollation);
		else if (translation->generated[i] != NULL)
			expr = translation->generated[i];
		else
			expr = (Expr *) makeVar(1, translation->places[i], att->atttypid, att->atttypmod,
									att->attcollation, 0);
		result = lappend(result, makeTargetEntry(expr, i + 1, pstrdup(NameStr(att->attname)),
												 false));
	}
	return result;
}

/*
 * Puts conditions into the query: those of the last security level into *where,
 * earlier ones into barriers before it. A condition of the scan that must stay
 * outside (it is volatile, has a subplan, or looks at the row as a whole) keeps
 * those of later levels outside, too. False: there are such. Conditions that the
 * API was to execute are nowhere else, and have to fit. They come before the others
 * of their level: rows for which they do not hold would never have come from the API,
 * and may be such that another condition fails.
 */
static bool
add_quals(Translation *translation, ForeignScan *scan, const HallwayCachePlan *cache,
		  RangeTblEntry *rte, List **where)
{
	List	   *quals = NIL;
	List	   *levels = NIL;
	List	   *executed = NIL;
	int			outside = INT_MAX;	/* the lowest level of those */
	int			highest = 0;
	ListCell   *lc;
	ListCell   *lc_level;

	forboth(lc, scan->scan.plan.qual, lc_level, cache->levels)
	{
		Expr	   *qual = translated(translation, lfirst(lc));

		if (qual == NULL)
			outside = Min(outside, lfirst_int(lc_level));
		quals = lappend(quals, qual);
		levels = lappend_int(levels, lfirst_int(lc_level));
	}
	forboth(lc, quals, lc_level, levels)
	{
		if (lfirst(lc) != NULL && lfirst_int(lc_level) > outside)
			lfirst(lc) = NULL;
	}
	forboth(lc, scan->fdw_recheck_quals, lc_level, cache->exact_levels)
	{
		Expr	   *qual = translated(translation, lfirst(lc));

		if (qual == NULL)
			translation->failed = true;
		executed = lappend(executed, qual);
	}
	quals = list_concat(executed, quals);
	levels = list_concat(list_copy(cache->exact_levels), levels);

	foreach(lc_level, levels)
		highest = Max(highest, lfirst_int(lc_level));
	for (int level = 0; level <= highest; level++)
	{
		List	   *same = NIL;

		forboth(lc, quals, lc_level, levels)
		{
			if (lfirst_int(lc_level) == level && lfirst(lc) != NULL)
				same = lappend(same, lfirst(lc));
		}
		if (level == highest)
			*where = same;
		else if (same != NIL)
			rte->securityQuals = lappend(rte->securityQuals, same);
	}
	return outside == INT_MAX;
}

/* The expression over the cache table, or NULL if there is none. */
static Expr *
translated(Translation *translation, Expr *expr)
{
	int			nparams = list_length(translation->params);
	bool		failed = translation->failed;
	Expr	   *result;

	if (contain_volatile_functions((Node *) expr))
		return NULL;
	translation->failed = false;
	result = (Expr *) translate_mutator((Node *) expr, translation);
	if (translation->failed)
	{
		translation->params = list_truncate(translation->params, nparams);
		result = NULL;
	}
	translation->failed = failed;
	return result;
}

static Node *
translate_mutator(Node *node, Translation *translation)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if (var->varno == translation->varno && var->varlevelsup == 0)
		{
			if (var->varattno == TableOidAttributeNumber)
				return (Node *) makeConst(OIDOID, -1, InvalidOid, sizeof(Oid),
										  ObjectIdGetDatum(RelationGetRelid(translation->rel)),
										  false, true);
			if (var->varattno > 0)
			{
				if (translation->generated[var->varattno - 1] != NULL)
					return copyObject((Node *) translation->generated[var->varattno - 1]);
				if (translation->places[var->varattno - 1] > 0)
					return (Node *) makeVar(1, translation->places[var->varattno - 1],
											var->vartype, var->vartypmod, var->varcollid, 0);
			}
		}
		translation->failed = true;
		return node;
	}
	if (IsA(node, Param))
	{
		Param	   *param = copyObject((Param *) node);
		int			number = 0;
		ListCell   *lc;

		if (param->paramkind != PARAM_EXEC && param->paramkind != PARAM_EXTERN)
			translation->failed = true;
		foreach(lc, translation->params)
		{
			if (equal(lfirst(lc), node))
				number = foreach_current_index(lc) + 1;
		}
		if (number == 0)
		{
			translation->params = lappend(translation->params, copyObject(node));
			number = list_length(translation->params);
		}
		param->paramkind = PARAM_EXTERN;
		param->paramid = number;
		return (Node *) param;
	}
	if (IsA(node, SubPlan) || IsA(node, AlternativeSubPlan) || IsA(node, CurrentOfExpr))
	{
		translation->failed = true;
		return node;
	}
	return expression_tree_mutator(node, translate_mutator, translation);
}

/* ORDER BY what the foreign scan's path promised. */
static void
add_sort(Translation *translation, const HallwayCachePlan *cache, Query *query)
{
	ListCell   *lc;

	foreach(lc, cache->sort)
	{
		List	   *key = lfirst(lc);
		int			i = (int) list_nth_oid(key, SORT_ATTNUM) - 1;
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(translation->rel), i);
		Oid			type = list_nth_oid(key, SORT_TYPE);
		Oid			collation = list_nth_oid(key, SORT_COLLATION);
		SortGroupClause *clause = makeNode(SortGroupClause);
		TargetEntry *tle = list_nth(query->targetList, i);

		if (type != att->atttypid || collation != att->attcollation)
		{
			RelabelType *relabel = makeRelabelType((Expr *) makeVar(1, translation->places[i],
																	att->atttypid, att->atttypmod,
																	att->attcollation, 0),
												   type, -1, collation, COERCE_IMPLICIT_CAST);

			tle = makeTargetEntry((Expr *) relabel, list_length(query->targetList) + 1,
								  NULL, true);
			query->targetList = lappend(query->targetList, tle);
		}
		if (tle->ressortgroupref == 0)
			tle->ressortgroupref = list_length(query->sortClause) + 1;
		clause->tleSortGroupRef = tle->ressortgroupref;
		clause->eqop = list_nth_oid(key, SORT_EQUALITY);
		clause->sortop = list_nth_oid(key, SORT_OPERATOR);
		clause->nulls_first = list_nth_oid(key, SORT_NULLS_FIRST) != 0;
		hallway_set_reverse_sort(clause, list_nth_oid(key, SORT_DESCENDING) != 0);
		query->sortClause = lappend(query->sortClause, clause);
	}
}
