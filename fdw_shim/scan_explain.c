/*-------------------------------------------------------------------------
 *
 * scan_explain.c
 *		What EXPLAIN asks a scan, before or after it ran: its request, what it cost,
 *		and whether the cache has its rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "cache.h"
#include "compat.h"
#include "hallway.h"
#include "scan.h"


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

	if (state->cache == NULL || hallway_scan_started(state))
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
	if (!hallway_scan_started(state))
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
	hallway_scan_take_stats(state);
	return state->has_stats ? &state->stats : NULL;
}

/* Adds a request's figures to the scan's, when no more of its rows are wanted. */
void
hallway_scan_take_stats(HallwayScanState *state)
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
