/*-------------------------------------------------------------------------
 *
 * cache_plan.c
 *		The plan that reads a cache table in a foreign scan's place.
 *
 * It gives the foreign table's columns in their places, checks those conditions
 * of the scan that may be checked below it, and keeps the order that the query
 * relies on. Its permissions are those of the cache table's owner, as a view's
 * are; functions in it run as the user.
 *
 * Planning costs more than a lookup. So plans are kept for later executions of
 * the same outer plan (a prepared statement's, a function's), which is known by
 * a number that its copies share. The first execution only notes the number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "cache.h"
#include "compat.h"
#include "quals.h"

/* Positions in HallwayScanPlan.cache, a List. */
enum CachePrivate
{
	CACHE_PLAN_ID,				/* Const: int8 */
	CACHE_SHAPES,
	CACHE_CONJUNCTS,
	CACHE_FIRST,
	CACHE_NPARAMS,
	CACHE_LEVELS,
	CACHE_EXACT_LEVELS,
	CACHE_SORT					/* List of sort keys */
};

/* Positions in a sort key, an OidList; not all of them are OIDs. */
enum SortPrivate
{
	SORT_ATTNUM,
	SORT_OPERATOR,
	SORT_EQUALITY,
	SORT_TYPE,					/* as which it is compared */
	SORT_COLLATION,
	SORT_DESCENDING,
	SORT_NULLS_FIRST
};

/*
 * So many plans are remembered. Then those go that came once, and if most have
 * come again, all.
 */
#define MAX_KEPT 256

typedef struct KeptKey
{
	uint64		plan_id;
	Oid			cache_relid;
	Oid			userid;
} KeptKey;

typedef struct KeptPlan
{
	KeptKey		key;
	bool		stale;			/* set by invalidation; dropped at the next use */
	MemoryContext cxt;			/* holds plan; NULL: seen once */
	HallwayInnerPlan *plan;		/* not in the entry, which may go earlier */
} KeptPlan;

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

static HTAB *kept_plans = NULL;
static uint64 last_plan_id = 0;

static List *sort_keys(TablePlanning *state, PlanCall *call, RelOptInfo *baserel, int ordering);
static KeptPlan *kept_plan(const KeptKey *key, bool *seen);
static void forget_kept(bool once, bool again);
static void forget_cache_table(Datum arg, Oid relid);
static void make_inner_plan(ForeignScanState *node, const HallwayScanPlan *plan,
							const HallwayCachePlan *cache, Oid cache_relid,
							HallwayInnerPlan *out);
static RangeTblEntry *cache_rte(Relation cache_rel, Query *query);
static void init_translation(Translation *translation, Relation rel, int scanrelid);
static List *target_list(Translation *translation);
static bool add_quals(Translation *translation, ForeignScan *scan,
					  const HallwayCachePlan *cache, RangeTblEntry *rte, List **where);
static Expr *translated(Translation *translation, Expr *expr);
static Node *translate_mutator(Node *node, Translation *translation);
static void add_sort(Translation *translation, const HallwayCachePlan *cache, Query *query);


/* ---- what the outer plan carries ------------------------------------------- */

List *
hallway_cache_private(TablePlanning *state, PlanCall *call, RelOptInfo *baserel,
					  List *levels, List *exact_levels, int ordering)
{
	List	   *shapes = NIL;
	List	   *conjuncts = NIL;
	List	   *first = NIL;
	List	   *nparams = NIL;
	List	   *result;
	int			start = 0;
	ListCell   *lc;

	if (state->relation->cache.mode == HALLWAY__V1__CACHE_MODE__CACHE_MODE_OFF ||
		state->relation->description->n_key_columns == 0)
		return NIL;

	foreach(lc, call->shipped)
	{
		int			i = foreach_current_index(lc);
		int			end = list_nth_int(call->param_ends, i);
		int			ignored;

		if (hallway_verdict(call, lfirst(lc), &ignored) != HALLWAY__V1__VERDICT__VERDICT_LOCAL)
		{
			List	   *parameters = NIL;
			bytea	   *shape;

			for (int j = start; j < end; j++)
				parameters = lappend(parameters, list_nth(call->parameters, j));
			shape = hallway_conjunct_shape(call->conjuncts[i], parameters);
			shapes = lappend(shapes, makeConst(BYTEAOID, -1, InvalidOid, -1,
											   PointerGetDatum(shape), false, false));
			conjuncts = lappend_int(conjuncts, i);
			first = lappend_int(first, start);
			nparams = lappend_int(nparams, end - start);
		}
		start = end;
	}

	result = list_make5(makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
								  Int64GetDatum((int64) ++last_plan_id), false, FLOAT8PASSBYVAL),
						shapes, conjuncts, first, nparams);
	result = lappend(result, levels);
	result = lappend(result, exact_levels);
	return lappend(result, sort_keys(state, call, baserel, ordering));
}

bool
hallway_cache_plan(const HallwayScanPlan *plan, HallwayCachePlan *out)
{
	List	   *list = plan->cache;

	if (list == NIL)
		return false;
	out->id = (uint64) DatumGetInt64(list_nth_node(Const, list, CACHE_PLAN_ID)->constvalue);
	out->shapes = list_nth(list, CACHE_SHAPES);
	out->conjuncts = list_nth(list, CACHE_CONJUNCTS);
	out->first = list_nth(list, CACHE_FIRST);
	out->nparams = list_nth(list, CACHE_NPARAMS);
	out->levels = list_nth(list, CACHE_LEVELS);
	out->exact_levels = list_nth(list, CACHE_EXACT_LEVELS);
	out->sort = list_nth(list, CACHE_SORT);
	return true;
}

/* The order that the API was to deliver, as keys of SortPrivate. */
static List *
sort_keys(TablePlanning *state, PlanCall *call, RelOptInfo *baserel, int ordering)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (ordering == 0)
		return NIL;
	foreach(lc, (List *) list_nth(call->orderings, ordering - 1))
	{
		PathKey    *pathkey = lfirst(lc);
		EquivalenceMember *member = hallway_ec_member_of_rel(pathkey->pk_eclass, baserel);
		Expr	   *expr = member->em_expr;
		Oid			type = exprType((Node *) expr);
		Oid			operator = get_opfamily_member(pathkey->pk_opfamily, member->em_datatype,
												   member->em_datatype,
												   hallway_pathkey_descending(pathkey) ?
												   BTGreaterStrategyNumber : BTLessStrategyNumber);
		Oid			equality = get_opfamily_member(pathkey->pk_opfamily, member->em_datatype,
												   member->em_datatype, BTEqualStrategyNumber);
		List	   *key;

		key = list_make5_oid(castNode(Var, hallway_strip_relabels(expr))->varattno, operator, equality, type,
							 pathkey->pk_eclass->ec_collation);
		key = lappend_oid(key, hallway_pathkey_descending(pathkey));
		result = lappend(result, lappend_oid(key, pathkey->pk_nulls_first));
	}
	return result;
}

/* ---- kept plans ------------------------------------------------------------ */

const HallwayInnerPlan *
hallway_inner_plan(ForeignScanState *node, const HallwayScanPlan *plan,
				   const HallwayCachePlan *cache, Oid cache_relid)
{
	KeptKey		key;
	KeptPlan   *kept;
	bool		seen;
	HallwayInnerPlan *result;
	MemoryContext cxt;

	memset(&key, 0, sizeof(key));
	key.plan_id = cache->id;
	key.cache_relid = cache_relid;
	key.userid = GetUserId();
	kept = kept_plan(&key, &seen);
	if (kept->cxt != NULL)
		return kept->plan->stmt != NULL ? kept->plan : NULL;

	result = palloc0(sizeof(HallwayInnerPlan));
	make_inner_plan(node, plan, cache, cache_relid, result);
	if (!seen)
		return result->stmt != NULL ? result : NULL;

	/* The second time: it is one that comes again. */
	cxt = AllocSetContextCreate(CurrentMemoryContext, "Hallway cache plan", ALLOCSET_SMALL_SIZES);
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(cxt);
		HallwayInnerPlan *copy = palloc(sizeof(HallwayInnerPlan));

		copy->stmt = copyObject(result->stmt);
		copy->params = copyObject(result->params);
		copy->all_inside = result->all_inside;
		MemoryContextSwitchTo(oldcontext);

		/* Planning may have brought an invalidation. */
		kept = kept_plan(&key, &seen);
		if (kept->cxt == NULL)
		{
			MemoryContextSetParent(cxt, CacheMemoryContext);
			kept->plan = copy;
			kept->cxt = cxt;
		}
	}
	return result->stmt != NULL ? result : NULL;
}

/* The entry, made if there is none; *seen: it was there before. */
static KeptPlan *
kept_plan(const KeptKey *key, bool *seen)
{
	KeptPlan   *kept;

	if (kept_plans == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(KeptKey),.entrysize = sizeof(KeptPlan)};

		kept_plans = hash_create("Hallway cache plans", MAX_KEPT, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget_cache_table, (Datum) 0);
	}
	kept = hash_search(kept_plans, key, HASH_FIND, NULL);
	if (kept != NULL && !kept->stale)
	{
		*seen = true;
		return kept;
	}
	if (hash_get_num_entries(kept_plans) < MAX_KEPT)
		forget_kept(false, false);
	else
	{
		forget_kept(true, false);
		if (hash_get_num_entries(kept_plans) > MAX_KEPT / 2)
			forget_kept(true, true);
	}

	*seen = false;
	kept = hash_search(kept_plans, key, HASH_ENTER, NULL);
	kept->stale = false;
	kept->cxt = NULL;
	return kept;
}

/*
 * Stale ones, and those that came once, or again, if asked for. Executors may
 * still use them: they go with the transaction.
 */
static void
forget_kept(bool once, bool again)
{
	HASH_SEQ_STATUS seq;
	KeptPlan   *kept;

	hash_seq_init(&seq, kept_plans);
	while ((kept = hash_seq_search(&seq)) != NULL)
	{
		if (!kept->stale && !(kept->cxt == NULL ? once : again))
			continue;
		if (kept->cxt != NULL)
			MemoryContextSetParent(kept->cxt, TopTransactionContext);
		(void) hash_search(kept_plans, &kept->key, HASH_REMOVE, NULL);
	}
}

static void
forget_cache_table(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS seq;
	KeptPlan   *kept;

	hash_seq_init(&seq, kept_plans);
	while ((kept = hash_seq_search(&seq)) != NULL)
	{
		if (!OidIsValid(relid) || kept->key.cache_relid == relid)
			kept->stale = true;
	}
}

/* ---- the query ------------------------------------------------------------- */

/* out->stmt stays NULL if a condition has no counterpart over the cache table. */
static void
make_inner_plan(ForeignScanState *node, const HallwayScanPlan *plan,
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
 * API was to execute are nowhere else, and have to fit.
 */
static bool
add_quals(Translation *translation, ForeignScan *scan, const HallwayCachePlan *cache,
		  RangeTblEntry *rte, List **where)
{
	List	   *quals = NIL;
	List	   *levels = NIL;
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
		quals = lappend(quals, qual);
		levels = lappend_int(levels, lfirst_int(lc_level));
	}

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
