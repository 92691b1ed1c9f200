/*-------------------------------------------------------------------------
 *
 * cache_snapshot.c
 *		The state of the cache that a statement sees.
 *
 * All scans of a statement read under one snapshot, or a join would see rows from
 * before and after a fill.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "cache_scan.h"

/*
 * The snapshot that all scans of one executor share, so that they show one state
 * of the cache. Whoever uses it holds it registered, to the executor's end.
 */
typedef struct StatementSnapshot
{
	dlist_node	node;
	EState	   *estate;
	Snapshot	snapshot;
	TimestampTz taken;
	MemoryContextCallback callback;
} StatementSnapshot;

static dlist_head statement_snapshots = DLIST_STATIC_INIT(statement_snapshots);

static bool snapshot_is_fixed(void);
static StatementSnapshot *statement_snapshot(EState *estate);
static void forget_statement_snapshot(void *arg);

/* One for the whole transaction, or that of a statement run in parallel. */
static bool
snapshot_is_fixed(void)
{
	return IsolationUsesXactSnapshot() || IsInParallelMode();
}

TimestampTz
hallway_cache_snapshot_time(HallwayCacheScan *cache)
{
	StatementSnapshot *shared;

	if (snapshot_is_fixed())
		return GetCurrentTransactionStartTimestamp();
	if (cache->read_api)
		return 0;
	shared = statement_snapshot(cache->node->ss.ps.state);
	return shared != NULL ? shared->taken : 0;
}

Snapshot
hallway_cache_snapshot(HallwayCacheScan *cache)
{
	EState	   *estate = cache->node->ss.ps.state;
	StatementSnapshot *shared;

	if (snapshot_is_fixed())
	{
		if (cache->shared == NULL)
			cache->shared = RegisterSnapshot(estate->es_snapshot);
		return cache->shared;
	}
	if (cache->shared != NULL && cache->read_api)
	{
		if (cache->own != NULL)
			UnregisterSnapshot(cache->own);
		cache->own = RegisterSnapshot(GetLatestSnapshot());
		cache->read_api = false;
		return cache->own;
	}
	if (cache->own != NULL)
		return cache->own;
	if (cache->shared != NULL)
		return cache->shared;

	shared = statement_snapshot(estate);
	if (shared != NULL)
		return cache->shared = RegisterSnapshot(shared->snapshot);

	cache->shared = RegisterSnapshot(GetLatestSnapshot());
	shared = MemoryContextAllocZero(estate->es_query_cxt, sizeof(StatementSnapshot));
	shared->estate = estate;
	shared->snapshot = cache->shared;
	shared->taken = GetCurrentTimestamp();
	shared->callback.func = forget_statement_snapshot;
	shared->callback.arg = shared;
	dlist_push_head(&statement_snapshots, &shared->node);
	MemoryContextRegisterResetCallback(estate->es_query_cxt, &shared->callback);
	return cache->shared;
}

/* What is checked again for FOR UPDATE sees what the statement sees. */
static StatementSnapshot *
statement_snapshot(EState *estate)
{
	dlist_iter	iter;

	while (estate->es_epq_active != NULL)
		estate = estate->es_epq_active->parentestate;
	dlist_foreach(iter, &statement_snapshots)
	{
		StatementSnapshot *shared = dlist_container(StatementSnapshot, node, iter.cur);

		if (shared->estate == estate)
			return shared;
	}
	return NULL;
}

static void
forget_statement_snapshot(void *arg)
{
	dlist_delete(&((StatementSnapshot *) arg)->node);
}
