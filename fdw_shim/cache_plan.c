/*-------------------------------------------------------------------------
 *
 * cache_plan.c
 *		What a foreign scan's plan carries for the one that reads a cache table in
 *		its place, and inner plans that are kept; cache_query.c makes them.
 *
 * Planning costs more than a lookup. So plans are kept for later executions of
 * the same outer plan (a prepared statement's, a function's), which is known by
 * a number that its copies share. The first execution only notes the number.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
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

static HTAB *kept_plans = NULL;
static uint64 last_plan_id = 0;

static List *sort_keys(TablePlanning *state, PlanCall *call, RelOptInfo *baserel, int ordering);
static KeptPlan *kept_plan(const KeptKey *key, bool *seen);
static void forget_kept(bool once, bool again);
static void forget_cache_table(Datum arg, Oid relid);


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
	hallway_make_inner_plan(node, plan, cache, cache_relid, result);
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
