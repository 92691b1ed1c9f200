/*-------------------------------------------------------------------------
 *
 * scan.c
 *		Executor callbacks of a foreign scan.
 *
 * Beginning is cheap, for EXPLAIN and EvalPlanQual begin scans that are never
 * run; the request goes out when the first row is wanted. What depends on who
 * runs the scan (relation, credential) is looked up then, never in the plan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "cache.h"
#include "compat.h"
#include "hallway.h"
#include "scan.h"

typedef struct HallwayScanState
{
	HallwayScanPlan plan;
	Oid			userid;			/* whose credential is used */
	TupleTableSlot *slot;		/* virtual: the rows are read into it */
	bool		system_columns; /* a row's are looked at */

	/* Made when first needed. */
	HallwayScanExprs exprs;
	ExprState **quals;			/* of single fdw_recheck_quals; NULL: not yet */

	/* The cache, if the plan allows it, and whether this run reads it. */
	HallwayCacheScan *cache;
	bool		hit;
	ExprState  *own_qual;		/* what the node checks of the API's rows */
	char	   *filled;			/* what became of the last miss; NULL: not told */

	/* The request that runs, or ran; NULL: none since the last rescan. */
	MemoryContext context;		/* holds request and fetch */
	Hallway__V1__ScanRequest *request;
	HallwayFetch *fetch;
	bool		header_read;	/* active is right for this request */
	int			nactive;
	ExprState **active;			/* quals that must be checked for each row */

	bool		rescanned;		/* the next row is the first one again */
	bool		params_changed; /* and parameters may differ */
	bool		nonblocking;
	bool		starved;

	/*
	 * Only when the statement writes to the same API: its rows are all read
	 * before the first one is handed out. Pages asked for after a write would
	 * miss rows, or have rows again that were changed.
	 */
	bool		read_ahead;
	bool		read_whole;		/* store holds all there is */
	Tuplestorestate *store;
	TupleTableSlot *stored;		/* of minimal tuples, for store */

	/* For EXPLAIN ANALYZE; over all rescans. */
	MemoryContext query_context;
	Hallway__V1__ScanHeader *header;	/* of the first request */
	Hallway__V1__ScanStats stats;
	bool		has_stats;
	bool		stats_taken;	/* of the current fetch */
} HallwayScanState;

static void start(ForeignScanState *node);
static bool started(const HallwayScanState *state);
static void read_cache(ForeignScanState *node, bool on);
static void stop(HallwayScanState *state);
static void forget_stored(HallwayScanState *state);
static bool replay(HallwayScanState *state);
static void take_stats(HallwayScanState *state);
static void read_header(ForeignScanState *node);
static TupleTableSlot *next_row(ForeignScanState *node);
static TupleTableSlot *cached_row(HallwayScanState *state);
static TupleTableSlot *next_stored_row(ForeignScanState *node);
static bool writes_to_server(ForeignScanState *node);
static bool passes(HallwayScanState *state, ExprContext *econtext, TupleTableSlot *slot);
static void notice_row_mark(ForeignScanState *node);


void
hallwayBeginForeignScan(ForeignScanState *node, int eflags)
{
	EState	   *estate = node->ss.ps.state;
	HallwayScanState *state;

	if (hallway_is_upper(node))
	{
		hallway_upper_begin(node);
		return;
	}

	state = palloc0(sizeof(HallwayScanState));
	hallway_scan_plan((ForeignScan *) node->ss.ps.plan, &state->plan);
	state->query_context = estate->es_query_cxt;

	/*
	 * Whose permissions were checked, which was a moment ago: a cursor may be
	 * fetched from by another role later, or by a SECURITY DEFINER function.
	 */
	state->userid = hallway_scan_user(node);
	hallway__v1__scan_stats__init(&state->stats);

	/*
	 * The node's own slot is a heap tuple's; scans may return any kind, and a
	 * virtual one saves forming a tuple of each row. Its descriptor is the
	 * node's, in which NOT NULL is not believed.
	 */
	state->slot = ExecInitExtraTupleSlot(estate,
										 node->ss.ss_ScanTupleSlot->tts_tupleDescriptor,
										 &TTSOpsVirtual);

	state->system_columns = ((ForeignScan *) node->ss.ps.plan)->fsSystemCol;

	state->read_ahead = writes_to_server(node);
	if (state->read_ahead)
		state->stored = ExecInitExtraTupleSlot(estate, state->slot->tts_tupleDescriptor,
											   &TTSOpsMinimalTuple);
	state->own_qual = node->ss.ps.qual;
	state->cache = hallway_cache_begin(node, &state->plan, state->userid, state->read_ahead);
	node->fdw_state = state;
}

TupleTableSlot *
hallwayIterateForeignScan(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (unlikely(hallway_is_upper(node)))
		return hallway_upper_iterate(node);
	if (!started(state) || state->rescanned)
		start(node);
	if (state->hit)
		return cached_row(state);
	return unlikely(state->read_ahead) ? next_stored_row(node) : next_row(node);
}

/*
 * PostgreSQL itself checks fdw_recheck_quals again; there is nothing that only
 * we could check.
 */
bool
hallwayRecheckForeignScan(ForeignScanState *node, TupleTableSlot *slot)
{
	return true;
}

void
hallwayReScanForeignScan(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (hallway_is_upper(node))
	{
		hallway_upper_rescan(node);
		return;
	}
	if (!started(state))
		return;

	/* The node takes its conditions before it asks for a row, which may be the API's. */
	node->ss.ps.qual = state->own_qual;

	/*
	 * A whole, small result (or one that was read ahead, which must not change
	 * by what is written) is replayed if the parameters turn out to be the
	 * same; that is known when the next row is asked for. Anything else is
	 * asked for again, and what still runs is stopped now.
	 */
	if (state->hit || (state->read_ahead ? state->read_whole : hallway_fetch_rewindable(state->fetch)))
	{
		state->rescanned = true;
		if (node->ss.ps.chgParam != NULL)
			state->params_changed = true;
	}
	else
		stop(state);
}

void
hallwayEndForeignScan(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (hallway_is_upper(node))
	{
		hallway_upper_end(node);
		return;
	}
	if (state == NULL)
		return;
	stop(state);
	if (state->cache != NULL)
		hallway_cache_end(state->cache);
}

void
hallway_scan_start(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (!started(state) || state->rescanned)
		start(node);
}

void
hallway_scan_nonblocking(ForeignScanState *node, bool on)
{
	((HallwayScanState *) node->fdw_state)->nonblocking = on;
}

bool
hallway_scan_starved(ForeignScanState *node)
{
	return ((HallwayScanState *) node->fdw_state)->starved;
}

bool
hallway_scan_ready(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	return state->hit || (state->fetch != NULL && hallway_fetch_ready(state->fetch));
}

bool
hallway_scan_unsent(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	return state->fetch != NULL && hallway_fetch_unsent(state->fetch);
}

pgsocket
hallway_scan_socket(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	return state->fetch == NULL ? PGINVALID_SOCKET : hallway_fetch_socket(state->fetch);
}

bool
hallway_scan_caches(ForeignScanState *node)
{
	return ((HallwayScanState *) node->fdw_state)->cache != NULL;
}

bool
hallway_scan_would_hit(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (state->cache == NULL)
		return false;
	hallway_request_init(node, &state->plan, &state->exprs);
	return hallway_cache_would_hit(state->cache,
								   hallway_request_build(node, &state->plan, &state->exprs));
}

bool
hallway_scan_foresees_hit(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	if (state->cache == NULL || started(state))
		return state->hit;
	hallway_request_init(node, &state->plan, &state->exprs);
	return hallway_cache_foresee(state->cache,
								 hallway_request_foresee(node, &state->plan, &state->exprs));
}

/*
 * Says what is, or would be, read from the cache: true if the scan's rows are.
 * Values that only running the query gives decide which region has its rows.
 */
bool
hallway_scan_explain_cache(ForeignScanState *node, ExplainState *es)
{
	HallwayScanState *state = node->fdw_state;

	if (state->cache == NULL)
		return false;
	if (!started(state))
	{
		hallway_request_init(node, &state->plan, &state->exprs);
		(void) hallway_cache_foresee(state->cache,
									 hallway_request_foresee(node, &state->plan, &state->exprs));
	}
	return hallway_cache_explain(state->cache, state->filled != NULL ? state->filled : "", es);
}

void
hallway_scan_explain_inner(ForeignScanState *node, ExplainState *es)
{
	hallway_cache_explain_inner(((HallwayScanState *) node->fdw_state)->cache, es);
}

/*
 * The header of the first request that was sent, else the one that would be
 * sent. NULL if that depends on values which only running the query gives.
 */
Hallway__V1__ScanHeader *
hallway_scan_explain(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;
	Hallway__V1__ScanRequest *request;
	HallwayFetch *fetch;

	if (state->header != NULL)
		return state->header;
	if (hallway_request_needs_running(node))
		return NULL;

	/* All of this lives in EXPLAIN's memory; only the stream is closed. */
	hallway_request_init(node, &state->plan, &state->exprs);
	request = hallway_request_build(node, &state->plan, &state->exprs);
	request->explain_only = true;
	fetch = hallway_fetch_open(node->ss.ss_currentRelation, state->userid, request,
							   state->cache != NULL ? hallway_cache_attnums(state->cache) :
							   state->plan.attnums);
	state->header = hallway_fetch_copy_header(fetch, state->query_context);
	hallway_fetch_close(fetch);
	return state->header;
}

/* For EXPLAIN ANALYZE, of requests that run or ran; NULL if none did. */
const Hallway__V1__ScanStats *
hallway_scan_stats(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;

	/* The last request may have been left where a LIMIT above had enough. */
	take_stats(state);
	return state->has_stats ? &state->stats : NULL;
}

/*
 * Sends the request, or replays the last one's rows if it was the same.
 */
static void
start(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;
	MemoryContext context;
	MemoryContext oldcontext;
	Hallway__V1__ScanRequest *request;
	List	   *attnums = state->plan.attnums;

	if (state->hit)
	{
		if (hallway_cache_rescan(state->cache, state->params_changed))
		{
			state->rescanned = state->params_changed = false;
			return;
		}
	}
	else if (state->rescanned && !state->params_changed && replay(state))
		return;

	hallway_request_init(node, &state->plan, &state->exprs);
	notice_row_mark(node);

	context = AllocSetContextCreate(state->query_context,
									"Hallway scan request", ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	request = hallway_request_build(node, &state->plan, &state->exprs);

	if (state->rescanned && !state->hit &&
		hallway_request_same(request, state->request) && replay(state))
	{
		MemoryContextSwitchTo(oldcontext);
		MemoryContextDelete(context);
		return;
	}

	stop(state);
	state->context = context;
	state->request = request;
	if (state->cache != NULL &&
		hallway_cache_start(state->cache, request, &attnums) == CACHE_HIT)
		read_cache(node, true);
	else
	{
		read_cache(node, false);
		if (state->cache == NULL)
			hallway_cache_insist(node->ss.ss_currentRelation, "the table is not cached", false);
		state->fetch = hallway_fetch_open(node->ss.ss_currentRelation, state->userid,
										  request, attnums);
		if (state->cache != NULL && !state->read_ahead &&
			hallway_cache_tolerates(state->cache))
			hallway_fetch_tolerate(state->fetch);
	}
	MemoryContextSwitchTo(oldcontext);
}

/* Rows are coming: from the cache, or of a request. */
static bool
started(const HallwayScanState *state)
{
	return state->hit || state->fetch != NULL;
}

/*
 * From where this run reads. The inner plan has checked the node's own
 * conditions, if it can check all of them, and once is enough.
 */
static void
read_cache(ForeignScanState *node, bool on)
{
	HallwayScanState *state = node->fdw_state;

	state->hit = on;
	node->ss.ps.qual = on && hallway_cache_checks_all(state->cache) ? NULL : state->own_qual;
}

/* Back to the first row of what was read; false if it must be asked for again. */
static bool
replay(HallwayScanState *state)
{
	if (state->read_ahead && state->read_whole)
		tuplestore_rescan(state->store);
	else if (!hallway_fetch_rewind(state->fetch))
		return false;
	state->rescanned = state->params_changed = false;
	return true;
}

/* The next row that belongs to the result; an empty slot at the end, or if starved. */
static TupleTableSlot *
next_row(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;
	TupleTableSlot *slot = state->slot;

	for (;;)
	{
		switch (hallway_fetch_next(state->fetch, slot, !state->nonblocking))
		{
			case HALLWAY_FETCH_ROW:
				if (!state->header_read)
					read_header(node);
				if (likely(state->nactive == 0))
					return slot;
				if (passes(state, node->ss.ps.ps_ExprContext, slot))
					return slot;
				InstrCountFiltered2(node, 1);
				ResetExprContext(node->ss.ps.ps_ExprContext);
				break;

			case HALLWAY_FETCH_END:
				if (!state->header_read)
					read_header(node);
				state->starved = false;
				take_stats(state);
				return ExecClearTuple(slot);

			case HALLWAY_FETCH_WAIT:
				state->starved = true;
				return ExecClearTuple(slot);

			case HALLWAY_FETCH_FAILED:
				if (!hallway_cache_rescue(state->cache, hallway_fetch_error(state->fetch)))
					hallway_throw(hallway_fetch_error(state->fetch),
								  node->ss.ss_currentRelation);
				hallway_fetch_close(state->fetch);
				state->fetch = NULL;
				state->starved = false;
				read_cache(node, true);
				return cached_row(state);
		}
	}
}

/*
 * The next row of the cache. Where system columns are looked at it has those of
 * the API's rows: none but tableoid.
 */
static TupleTableSlot *
cached_row(HallwayScanState *state)
{
	TupleTableSlot *row = hallway_cache_next(state->cache);
	int			n;

	if (!state->system_columns || TupIsNull(row))
		return row;
	slot_getallattrs(row);
	ExecClearTuple(state->slot);
	n = state->slot->tts_tupleDescriptor->natts;
	memcpy(state->slot->tts_values, row->tts_values, sizeof(Datum) * n);
	memcpy(state->slot->tts_isnull, row->tts_isnull, sizeof(bool) * n);
	return ExecStoreVirtualTuple(state->slot);
}

/* The next API's row, once all of them have been read. */
static TupleTableSlot *
next_stored_row(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;
	MemoryContext oldcontext;

	if (!state->read_whole)
	{
		TupleTableSlot *slot;

		if (state->store == NULL)
		{
			oldcontext = MemoryContextSwitchTo(state->query_context);
			state->store = tuplestore_begin_heap(false, false, work_mem);
			tuplestore_set_eflags(state->store, EXEC_FLAG_REWIND);
			MemoryContextSwitchTo(oldcontext);
		}
		for (slot = next_row(node); !TupIsNull(slot); slot = next_row(node))
		{
			tuplestore_puttupleslot(state->store, slot);
			ResetExprContext(node->ss.ps.ps_ExprContext);
		}
		if (state->starved)
			return slot;
		state->read_whole = true;
	}

	/* A row read from a file is the slot's to free, after the next reset of ours. */
	oldcontext = MemoryContextSwitchTo(state->query_context);
	(void) tuplestore_gettupleslot(state->store, true, false, state->stored);
	MemoryContextSwitchTo(oldcontext);
	return state->stored;
}

/*
 * Does the statement write to the server that is scanned? To which partitions
 * of a partitioned target is not known yet: to any.
 */
static bool
writes_to_server(ForeignScanState *node)
{
	EState	   *estate = node->ss.ps.state;
	Oid			serverid = InvalidOid;
	ListCell   *lc;

	foreach(lc, estate->es_plannedstmt->resultRelations)
	{
		RangeTblEntry *rte = exec_rt_fetch(lfirst_int(lc), estate);
		List	   *targets;
		ListCell   *target;

		if (rte->relkind == RELKIND_FOREIGN_TABLE)
			targets = list_make1_oid(rte->relid);
		else if (rte->relkind == RELKIND_PARTITIONED_TABLE)
			targets = find_all_inheritors(rte->relid, NoLock, NULL);
		else
			continue;

		if (!OidIsValid(serverid))
			serverid = GetForeignServerIdByRelId(RelationGetRelid(node->ss.ss_currentRelation));
		foreach(target, targets)
		{
			if (get_rel_relkind(lfirst_oid(target)) == RELKIND_FOREIGN_TABLE &&
				GetForeignServerIdByRelId(lfirst_oid(target)) == serverid)
				return true;
		}
	}
	return false;
}

/* Back to the state before the first row. */
static void
stop(HallwayScanState *state)
{
	if (state->context != NULL)
	{
		take_stats(state);
		hallway_fetch_close(state->fetch);
		MemoryContextDelete(state->context);
	}
	forget_stored(state);
	state->hit = false;
	state->context = NULL;
	state->request = NULL;
	state->fetch = NULL;
	state->header_read = false;
	state->nactive = 0;
	state->rescanned = false;
	state->params_changed = false;
	state->stats_taken = false;
}

/* Rows are read again, or never. */
static void
forget_stored(HallwayScanState *state)
{
	if (state->store != NULL)
	{
		ExecClearTuple(state->stored);
		tuplestore_end(state->store);
		state->store = NULL;
	}
	state->read_whole = false;
}

/* Adds a request's figures to the scan's, when no more of its rows are wanted. */
static void
take_stats(HallwayScanState *state)
{
	const Hallway__V1__ScanStats *stats;

	if (state->fetch == NULL || state->stats_taken)
		return;
	stats = hallway_fetch_stats(state->fetch);
	if (stats == NULL)
		return;

	hallway_add_stats(&state->stats, stats);
	state->has_stats = true;
	state->stats_taken = true;
	if (hallway_fetch_footer(state->fetch) != NULL)
		state->filled = MemoryContextStrdup(state->query_context,
											hallway_fetch_footer(state->fetch)->cache);
}

void
hallway_add_stats(Hallway__V1__ScanStats *sum, const Hallway__V1__ScanStats *stats)
{
	sum->calls += stats->calls;
	sum->pages += stats->pages;
	sum->rows += stats->rows;
	sum->retries += stats->retries;
	sum->limit_wait_ms += stats->limit_wait_ms;
	sum->api_ms += stats->api_ms;
	sum->api_bytes += stats->api_bytes;
}

/*
 * Takes from the header which conjuncts, exact when the query was planned,
 * must be checked here for the values it runs with.
 */
static void
read_header(ForeignScanState *node)
{
	HallwayScanState *state = node->fdw_state;
	List	   *recheck_quals = ((ForeignScan *) node->ss.ps.plan)->fdw_recheck_quals;
	const Hallway__V1__ScanHeader *header = hallway_fetch_header(state->fetch);
	MemoryContext oldcontext = MemoryContextSwitchTo(state->query_context);

	state->nactive = 0;
	if (header->n_recheck > 0 && recheck_quals != NIL)
	{
		int			nquals = list_length(recheck_quals);

		if (state->quals == NULL)
		{
			state->quals = palloc0(sizeof(ExprState *) * nquals);
			state->active = palloc0(sizeof(ExprState *) * nquals);
		}

		for (int i = 0; i < nquals; i++)
		{
			for (size_t j = 0; j < header->n_recheck; j++)
			{
				if (header->recheck[j] != (uint32) list_nth_int(state->plan.exact, i))
					continue;
				if (state->quals[i] == NULL)
					state->quals[i] = ExecInitQual(list_make1(list_nth(recheck_quals, i)),
												   &node->ss.ps);
				state->active[state->nactive++] = state->quals[i];
				break;
			}
		}
	}

	/* EXPLAIN wants it after the stream has gone: of the first request. */
	if (node->ss.ps.instrument != NULL && state->header == NULL)
		state->header = hallway_fetch_copy_header(state->fetch, state->query_context);

	state->header_read = true;
	MemoryContextSwitchTo(oldcontext);
}

/* Runs in the per-tuple context, as ExecQual wants it. */
static bool
passes(HallwayScanState *state, ExprContext *econtext, TupleTableSlot *slot)
{
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < state->nactive; i++)
	{
		if (!ExecQual(state->active[i], econtext))
			return false;
	}
	return true;
}

/* FOR UPDATE and FOR SHARE lock nothing in an API: said once a transaction. */
static void
notice_row_mark(ForeignScanState *node)
{
	EState	   *estate = node->ss.ps.state;
	Index		rti = ((Scan *) node->ss.ps.plan)->scanrelid;
	ExecRowMark *mark;

	if (estate->es_rowmarks == NULL || estate->es_epq_active != NULL)
		return;
	mark = estate->es_rowmarks[rti - 1];
	if (mark == NULL || mark->strength == LCS_NONE)
		return;
	if (!hallway_xact_first(RelationGetRelid(node->ss.ss_currentRelation)))
		return;
	ereport(NOTICE,
			(errmsg("rows of foreign table \"%s\" are not locked in the API",
					RelationGetRelationName(node->ss.ss_currentRelation)),
			 errdetail("FOR UPDATE and FOR SHARE lock local rows only.")));
}
