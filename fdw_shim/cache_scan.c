/*-------------------------------------------------------------------------
 *
 * cache_scan.c
 *		Where a foreign scan reads this time.
 *
 * A fresh region that contains the query's rows is a hit: an inner plan reads
 * the cache table under the snapshot that showed the region, and the sidecar is
 * not asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/float.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "cache_scan.h"
#include "compat.h"

/* Of a table with more columns, a miss fetches those that are needed and the key. */
#define MAX_FILL_COLUMNS 64

/* A replica that is late by so many refreshes is not fresh. */
#define LATE_REFRESHES 3

/* The cache table whose region of all rows was the last hit: it is tried first. */
static int64 last_whole = 0;

static HallwayCacheOutcome choose(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request,
								  bool describe);
static const char *why_live(HallwayCacheScan *cache);
static bool locks_rows(ForeignScanState *node);
static bool writes_settled(HallwayCacheScan *cache);
static void encode_conjuncts(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request);
static uint32 all_conjuncts(const HallwayConjuncts *conjuncts);
static bool find_region(HallwayCacheScan *cache, Snapshot snapshot, double max_age);
static bool try_region(HallwayCacheScan *cache, Snapshot snapshot, uint32 mask, double max_age);
static bool find_replica(HallwayCacheScan *cache, double max_age);
static double allowed_age(const HallwayRelation *relation, bool replica);
static void fill(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request, List **attnums);
static bool is_variable(Node *node, void *context);
static Bitmapset *needed_columns(HallwayCacheScan *cache);

HallwayCacheScan *
hallway_cache_begin(ForeignScanState *node, const HallwayScanPlan *plan, Oid userid,
					bool feeds_write)
{
	HallwayCacheScan *cache;
	HallwayCachePlan unpacked;
	List	   *exprs = ((ForeignScan *) node->ss.ps.plan)->fdw_exprs;
	ListCell   *lc_first;
	ListCell   *lc_nparams;

	if (!hallway_cache_plan(plan, &unpacked))
		return NULL;
	cache = palloc0(sizeof(HallwayCacheScan));
	cache->node = node;
	cache->plan = plan;
	cache->cache = unpacked;
	cache->userid = userid;
	cache->feeds_write = feeds_write;
	forboth(lc_first, unpacked.first, lc_nparams, unpacked.nparams)
	{
		int			i = foreach_current_index(lc_first);

		for (int j = 0; i < HALLWAY_MAX_CONJUNCTS && j < lfirst_int(lc_nparams); j++)
		{
			if (is_variable(list_nth(exprs, lfirst_int(lc_first) + j), NULL))
				cache->variable |= (uint32) 1 << i;
		}
	}
	for (int i = plan->nparams; i < list_length(exprs); i++)
		cache->variable_limit |= is_variable(list_nth(exprs, i), NULL);
	return cache;
}

HallwayCacheOutcome
hallway_cache_start(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request, List **attnums)
{
	switch (choose(cache, request, cache->node->ss.ps.instrument != NULL))
	{
		case CACHE_HIT:
			if (!hallway_inner_open(cache, cache->own != NULL ? cache->own : cache->shared, 0))
			{
				cache->outcome = CACHE_LIVE;
				cache->why = "a condition cannot be checked there";
				break;
			}
			if (!cache->table.whole)
				hallway_touch(cache->relation, cache->table.id, cache->region.hash);
			cache->chosen[CACHE_HIT]++;
			return CACHE_HIT;
		case CACHE_MISS:
			fill(cache, request, attnums);
			break;
		case CACHE_LIVE:
			break;
	}
	hallway_cache_insist(cache->node->ss.ss_currentRelation, cache->why,
						 cache->outcome == CACHE_MISS);
	cache->read_api = true;
	cache->chosen[cache->outcome]++;
	return cache->outcome;
}

bool
hallway_cache_would_hit(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request)
{
	return choose(cache, request, cache->node->ss.ps.instrument != NULL) == CACHE_HIT;
}

bool
hallway_cache_foresee(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request)
{
	if (cache->relation != NULL)
		return cache->outcome == CACHE_HIT;
	if (choose(cache, request, true) == CACHE_HIT &&
		!hallway_inner_open(cache, cache->shared, EXEC_FLAG_EXPLAIN_ONLY))
	{
		cache->outcome = CACHE_LIVE;
		cache->why = "a condition cannot be checked there";
	}
	return cache->outcome == CACHE_HIT;
}

bool
hallway_cache_rescan(HallwayCacheScan *cache, bool params_changed)
{
	if (params_changed)
	{
		if ((cache->region.mask & cache->variable) != 0 || cache->variable_limit)
			return false;
		hallway_inner_set_params(cache);
	}
	hallway_inner_rescan(cache);
	return true;
}

TupleTableSlot *
hallway_cache_next(HallwayCacheScan *cache)
{
	/* Whatever nodes make at their first row must last longer than ours. */
	MemoryContext oldcontext = MemoryContextSwitchTo(cache->desc->estate->es_query_cxt);
	TupleTableSlot *slot = ExecProcNode(cache->desc->planstate);

	/* A sort by an expression brings its keys along. */
	if (cache->desc->estate->es_junkFilter != NULL && !TupIsNull(slot))
		slot = ExecFilterJunk(cache->desc->estate->es_junkFilter, slot);
	MemoryContextSwitchTo(oldcontext);
	return slot;
}

bool
hallway_cache_rescue(HallwayCacheScan *cache, const Hallway__V1__Error *error)
{
	const char *sqlstate = error->sqlstate;
	MemoryContext oldcontext;
	Snapshot	snapshot;
	bool		found;

	if (!hallway_cache_tolerates(cache) ||
		(strcmp(sqlstate, "08006") != 0 && strcmp(sqlstate, "08001") != 0 &&
		 strcmp(sqlstate, "53400") != 0 && strcmp(sqlstate, "HV00N") != 0))
		return false;

	oldcontext = MemoryContextSwitchTo(cache->choice);
	snapshot = hallway_cache_snapshot(cache);
	found = hallway_cache_table(cache->relation, cache->node->ss.ss_currentRelation, snapshot,
								&cache->table, &cache->why) &&
		find_region(cache, snapshot, cache->relation->cache.stale_while_error);
	MemoryContextSwitchTo(oldcontext);
	if (!found || !hallway_inner_open(cache, snapshot, 0))
		return false;
	cache->outcome = CACHE_HIT;
	cache->rescued = true;
	ereport(WARNING,
			(errmsg("rows of foreign table \"%s\" are old ones from the cache, as the API cannot be read",
					RelationGetRelationName(cache->node->ss.ss_currentRelation)),
			 errdetail("They are %.0f s old. The API's error: %s.", floor(cache->age / 1000),
					   hallway_server_text(error->message))));
	return true;
}

bool
hallway_cache_tolerates(const HallwayCacheScan *cache)
{
	return cache->rescuable && cache->relation->cache.stale_while_error > 0;
}

bool
hallway_cache_checks_all(const HallwayCacheScan *cache)
{
	return cache->inner->all_inside;
}

void
hallway_cache_end(HallwayCacheScan *cache)
{
	hallway_inner_close(cache);
	if (cache->own != NULL)
		UnregisterSnapshot(cache->own);
	if (cache->shared != NULL)
		UnregisterSnapshot(cache->shared);
	cache->own = cache->shared = NULL;
}

/* ---- the choice ------------------------------------------------------------ */

/* Fills in outcome and why, or table and region. request has its values. */
static HallwayCacheOutcome
choose(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request, bool describe)
{
	Relation	rel = cache->node->ss.ss_currentRelation;
	MemoryContext oldcontext;
	Snapshot	snapshot;

	if (cache->choice == NULL)
		cache->choice = AllocSetContextCreate(cache->node->ss.ps.state->es_query_cxt,
											  "Hallway cache choice", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(cache->choice);
	oldcontext = MemoryContextSwitchTo(cache->choice);

	/* A hit needs no sidecar, so one that is gone is not noticed before a miss. */
	cache->relation = hallway_relation_known(RelationGetRelid(rel), cache->userid);
	if (cache->relation == NULL)
		cache->relation = hallway_relation(RelationGetRelid(rel), cache->userid);
	cache->explained = describe;
	cache->unforeseen = cache->rescuable = cache->rescued = false;

	cache->outcome = CACHE_LIVE;
	cache->why = why_live(cache);
	if (cache->why == NULL)
	{
		cache->outcome = CACHE_MISS;
		cache->limit = request->limit;
		encode_conjuncts(cache, request);
		cache->needed = needed_columns(cache);
		if (hallway_max_age == 0 && hallway_read_from != READ_FROM_CACHE)
			cache->why = "hallway.max_age is 0";
		else
		{
			snapshot = hallway_cache_snapshot(cache);
			if (hallway_cache_table(cache->relation, rel, snapshot, &cache->table, &cache->why) &&
				find_region(cache, snapshot, -1))
				cache->outcome = CACHE_HIT;
		}
		cache->rescuable = cache->outcome == CACHE_MISS;
		/* What refreshes a replica is not a reader. */
		if (cache->outcome == CACHE_MISS &&
			cache->relation->cache.mode == HALLWAY__V1__CACHE_MODE__CACHE_MODE_REPLICA)
			cache->outcome = CACHE_LIVE;
	}
	MemoryContextSwitchTo(oldcontext);
	return cache->outcome;
}

/* Why the cache is neither read nor filled, or NULL. */
static const char *
why_live(HallwayCacheScan *cache)
{
	const HallwayRelation *relation = cache->relation;

	if (relation->cache.mode == HALLWAY__V1__CACHE_MODE__CACHE_MODE_OFF)
		return "the table is not cached";
	if (relation->description->cache_account.len == 0 ||
		relation->description->n_key_columns == 0)
		return "the sidecar does not cache it";
	if (list_length(cache->cache.conjuncts) > HALLWAY_MAX_CONJUNCTS)
		return "there are too many conditions";
	if (!relation->cache.update_reads)
	{
		if (cache->feeds_write)
			return "it feeds a write";
		if (locks_rows(cache->node))
			return "its rows are locked";
	}
	if (hallway_read_from != READ_FROM_CACHE && !writes_settled(cache))
		return "it does not show this session's writes yet";
	return NULL;
}

/* Once they were not, the scan reads the API: to wait each time would add up. */
static bool
writes_settled(HallwayCacheScan *cache)
{
	if (!cache->unsettled)
		cache->unsettled = !hallway_writes_settled(cache->relation, hallway_cache_snapshot_time(cache));
	return !cache->unsettled;
}

/* FOR UPDATE, or one of its kind. */
static bool
locks_rows(ForeignScanState *node)
{
	EState	   *estate = node->ss.ps.state;
	ExecRowMark *mark;

	if (estate->es_rowmarks == NULL)
		return false;
	mark = estate->es_rowmarks[((Scan *) node->ss.ps.plan)->scanrelid - 1];
	return mark != NULL && mark->strength != LCS_NONE;
}

/* Evaluated parameters -> conjuncts in their canonical form. */
static void
encode_conjuncts(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request)
{
	const HallwayCachePlan *plan = &cache->cache;
	List	   *exprs = ((ForeignScan *) cache->node->ss.ps.plan)->fdw_exprs;
	int			n = list_length(plan->shapes);

	cache->conjuncts.n = n;
	cache->conjuncts.known = all_conjuncts(&cache->conjuncts);
	cache->conjuncts.bytes = palloc(sizeof(bytea *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Const	   *shape = list_nth_node(Const, plan->shapes, i);
		int			first = list_nth_int(plan->first, i);
		int			count = list_nth_int(plan->nparams, i);

		for (int j = first; j < first + count; j++)
		{
			if (request->parameters[j] == NULL)
				cache->conjuncts.known &= ~((uint32) 1 << i);
		}
		if ((cache->conjuncts.known & ((uint32) 1 << i)) == 0)
			count = 0;
		cache->conjuncts.bytes[i] =
			hallway_conjunct_bytes(DatumGetByteaPP(shape->constvalue), request->parameters,
								   exprs, first, count);
	}
	hallway_sort_conjuncts(&cache->conjuncts);
}

/* The mask of all of them. */
static uint32
all_conjuncts(const HallwayConjuncts *conjuncts)
{
	return (uint32) (((uint64) 1 << conjuncts->n) - 1);
}

/*
 * A region no older than max_age milliseconds (-1: what settings and table say)
 * of some of the conjuncts. Those that a rescan does not change are tried first,
 * for such a region need not be looked up again.
 */
static bool
find_region(HallwayCacheScan *cache, Snapshot snapshot, double max_age)
{
	int			n = cache->conjuncts.n;
	uint32		full = cache->conjuncts.known;
	uint32		constant = full & ~cache->variable;
	bool		empty_tried = false;

	if (max_age < 0)
		max_age = allowed_age(cache->relation, cache->table.replica);
	if (cache->table.replica)
		return find_replica(cache, max_age);

	cache->why = "no region has its rows";
	cache->unforeseen = full != all_conjuncts(&cache->conjuncts);
	if (cache->table.id == last_whole)
	{
		if (try_region(cache, snapshot, 0, max_age))
			return true;
		empty_tried = true;
	}
	if (constant != full && constant != 0 && try_region(cache, snapshot, constant, max_age))
		return true;
	if (full != 0 && constant == full && try_region(cache, snapshot, full, max_age))
		return true;
	if (!empty_tried && try_region(cache, snapshot, 0, max_age))
	{
		last_whole = cache->table.id;
		return true;
	}
	if (constant != full && try_region(cache, snapshot, full, max_age))
		return true;

	if (n <= 3)
	{
		for (uint32 mask = full; n > 1 && mask-- > 1;)
		{
			if (mask != constant && (mask & ~full) == 0 &&
				try_region(cache, snapshot, mask, max_age))
				return true;
		}
		return false;
	}
	for (int i = 0; i < n; i++)
	{
		if ((full & ((uint32) 1 << i)) == 0)
			continue;
		if (try_region(cache, snapshot, full & ~((uint32) 1 << i), max_age) ||
			try_region(cache, snapshot, (uint32) 1 << i, max_age))
			return true;
	}
	return false;
}

static bool
try_region(HallwayCacheScan *cache, Snapshot snapshot, uint32 mask, double max_age)
{
	if (!hallway_cache_region(&cache->table, cache->needed, &cache->conjuncts, mask, snapshot,
							  cache->explained, &cache->region))
		return false;
	cache->age = (double) (GetCurrentTimestamp() - cache->region.fetched_at) / 1000;
	if (cache->age <= max_age)
		return true;
	cache->why = cache->explained ?
		psprintf("the region is %.0f s old", floor(cache->age / 1000)) : "the region is too old";
	return false;
}

/* A replica is a region of all rows. */
static bool
find_replica(HallwayCacheScan *cache, double max_age)
{
	if (!cache->table.whole)
	{
		cache->why = "the replica is not complete yet";
		return false;
	}
	memset(&cache->region, 0, sizeof(cache->region));
	cache->region.all_rows = true;
	cache->region.fetched_at = cache->table.as_of;
	cache->age = (double) (GetCurrentTimestamp() - cache->table.as_of) / 1000;
	if (cache->age <= max_age)
		return true;
	cache->why = cache->explained ?
		psprintf("the replica is %.0f s old", floor(cache->age / 1000)) : "the replica is too old";
	return false;
}

bool
hallway_cache_all_rows(HallwayRelation *relation, const HallwayCacheTable *table,
					   Snapshot snapshot)
{
	HallwayConjuncts none = {0};
	HallwayRegion region;
	TimestampTz as_of;

	if (table->replica)
		as_of = table->as_of;
	else if (hallway_cache_region(table, NULL, &none, 0, snapshot, false, &region))
		as_of = region.fetched_at;
	else
		return false;
	return (!table->replica || table->whole) &&
		(double) (GetCurrentTimestamp() - as_of) / 1000 <= allowed_age(relation, table->replica);
}

/* In milliseconds. */
static double
allowed_age(const HallwayRelation *relation, bool replica)
{
	const HallwayCachePolicy *policy = &relation->cache;

	if (hallway_read_from == READ_FROM_CACHE)
		return get_float8_infinity();
	if (hallway_max_age >= 0)
		return hallway_max_age;
	if (replica && !policy->max_age_given)
		return LATE_REFRESHES * policy->refresh_every;
	return policy->max_age;
}

/* A miss: what the sidecar is to keep, and what is fetched for it. */
static void
fill(HallwayCacheScan *cache, Hallway__V1__ScanRequest *request, List **attnums)
{
	HallwayRelation *relation = cache->relation;
	Hallway__V1__CacheFill *message = palloc(sizeof(Hallway__V1__CacheFill));
	int			n = list_length(cache->cache.conjuncts);
	bytea	   *predicate;

	hallway__v1__cache_fill__init(message);
	predicate = hallway_predicate(&cache->conjuncts, all_conjuncts(&cache->conjuncts),
								  &message->hash);
	message->predicate.data = (uint8 *) VARDATA(predicate);
	message->predicate.len = VARSIZE(predicate) - VARHDRSZ;
	message->conjuncts = palloc(sizeof(uint32) * Max(n, 1));
	for (int i = 0; i < n; i++)
		message->conjuncts[message->n_conjuncts++] = list_nth_int(cache->cache.conjuncts, i);
	request->fill = message;
	request->max_age_ms = (uint64) allowed_age(relation, false);
	*attnums = hallway_cache_attnums(cache);
}

List *
hallway_cache_attnums(const HallwayCacheScan *cache)
{
	HallwayRelation *relation = cache->relation;
	TupleDesc	desc = RelationGetDescr(cache->node->ss.ss_currentRelation);
	List	   *all = list_copy(cache->plan->attnums);

	if (cache->outcome != CACHE_MISS)
		return all;
	if (relation->ncolumns <= MAX_FILL_COLUMNS)
	{
		for (int i = 0; i < relation->ncolumns; i++)
		{
			if (TupleDescAttr(desc, relation->attnums[i] - 1)->attgenerated == '\0')
				all = list_append_unique_int(all, relation->attnums[i]);
		}
	}
	else
	{
		for (size_t i = 0; i < relation->description->n_key_columns; i++)
			all = list_append_unique_int(all,
										 relation->attnums[relation->description->key_columns[i]]);
	}
	return all;
}

/* Column indexes that a region must hold: of generated columns, what they need. */
static Bitmapset *
needed_columns(HallwayCacheScan *cache)
{
	List	   *attnums = hallway_fetched_attnums(cache->node->ss.ss_currentRelation,
												  cache->plan->attnums);
	Bitmapset  *result = NULL;
	ListCell   *lc;

	foreach(lc, attnums)
		result = bms_add_member(result, cache->relation->columns[lfirst_int(lc) - 1]);
	return result;
}

void
hallway_cache_insist(Relation rel, const char *why, bool can_fill)
{
	if (hallway_read_from != READ_FROM_CACHE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of foreign table \"%s\" are not in the cache",
					RelationGetRelationName(rel)),
			 errdetail("hallway.read_from is \"cache\", and the API would be read: %s.", why),
			 can_fill ?
			 errhint("Fill the cache by hallway.refresh(), or set hallway.read_from to \"auto\".") :
			 errhint("Set hallway.read_from to \"auto\".")));
}

static bool
is_variable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, is_variable, context);
}
