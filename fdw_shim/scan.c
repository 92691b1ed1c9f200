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

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "cache.h"
#include "compat.h"
#include "hallway.h"
#include "scan.h"

static void start(ForeignScanState *node);
static void read_cache(ForeignScanState *node, bool on);
static void stop(HallwayScanState *state);
static bool replay(HallwayScanState *state);
static void read_header(ForeignScanState *node);
static TupleTableSlot *cached_row(HallwayScanState *state);
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

	state->read_ahead = hallway_scan_writes_to_server(node);
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
	if (!hallway_scan_started(state) || state->rescanned)
		start(node);
	if (state->hit)
		return cached_row(state);
	return unlikely(state->read_ahead) ? hallway_scan_next_stored(node) : hallway_scan_next(node);
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
	if (!hallway_scan_started(state))
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

	if (!hallway_scan_started(state) || state->rescanned)
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
TupleTableSlot *
hallway_scan_next(ForeignScanState *node)
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
				hallway_scan_take_stats(state);
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

/* Back to the state before the first row. */
static void
stop(HallwayScanState *state)
{
	if (state->context != NULL)
	{
		hallway_scan_take_stats(state);
		hallway_fetch_close(state->fetch);
		MemoryContextDelete(state->context);
	}
	hallway_scan_forget_stored(state);
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
