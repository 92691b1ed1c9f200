/*-------------------------------------------------------------------------
 *
 * upper_scan.c
 *		Executor callbacks of a node that gives groups; upper.c plans it.
 *
 * The node has a plan below it that reads the rows and groups them here. That one
 * runs, and no API's groups are asked for, where a cache has the rows; and it runs
 * instead where the sidecar cannot keep its word (Error.not_aggregated).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "scan.h"
#include "upper.h"

typedef struct UpperState
{
	HallwayScanPlan plan;		/* of it, plan and nparams */
	List	   *sources;
	int			nkeys;
	const char *shown;
	Relation	rel;
	Oid			userid;
	TupleTableSlot *wire;		/* as groups travel */
	TupleTableSlot *slot;		/* as the scan gives them */
	ForeignScanState *rows;		/* the scan below that reads rows */
	HallwayScanExprs exprs;

	MemoryContext context;		/* holds what is asked for, and fetch */
	HallwayFetch *fetch;		/* NULL: not begun, or local */
	uint64		received;
	bool		begun;
	bool		local;			/* the plan below runs */
	const char *why;			/* it does; lives as long as the query */

	/* For EXPLAIN ANALYZE; over all rescans. */
	Hallway__V1__ScanHeader *header;
	Hallway__V1__ScanStats stats;
	bool		has_stats;
} UpperState;

static void begin_groups(ForeignScanState *node);
static void run_locally(UpperState *state, ForeignScanState *node, const char *why);
static void end_groups(UpperState *state);
static void take_stats(UpperState *state);
static TupleTableSlot *next_group(ForeignScanState *node);
static Datum average(Datum sum, Oid type, Datum count);
static HallwayFetch *open_fetch(ForeignScanState *node, bool explain_only);



void
hallway_upper_begin(ForeignScanState *node)
{
	ForeignScan *scan = castNode(ForeignScan, node->ss.ps.plan);
	EState	   *estate = node->ss.ps.state;
	UpperState *state = palloc0(sizeof(UpperState));
	List	   *types = list_nth(scan->fdw_private, UPPER_TYPES);
	List	   *typmods = list_nth(scan->fdw_private, UPPER_TYPMODS);
	TupleDesc	desc = CreateTemplateTupleDesc(list_length(types));
	PlanState  *below = outerPlanState(node);
	ListCell   *lc;
	ListCell   *lc_typmod;

	forboth(lc, types, lc_typmod, typmods)
		TupleDescInitEntry(desc, foreach_current_index(lc) + 1, NULL,
						   lfirst_oid(lc), lfirst_int(lc_typmod), 0);

	state->plan.plan =
		DatumGetByteaPP(list_nth_node(Const, scan->fdw_private, UPPER_PLAN)->constvalue);
	state->plan.nparams = list_length(scan->fdw_exprs);
	state->sources = list_nth(scan->fdw_private, UPPER_SOURCES);
	state->nkeys = intVal(list_nth(scan->fdw_private, UPPER_NKEYS));
	state->shown = strVal(list_nth(scan->fdw_private, UPPER_SHOWN));
	state->userid = hallway_scan_user(node);
	/* The query's range table has it, and so it is locked. */
	state->rel = table_open(DatumGetObjectId(list_nth_node(Const, scan->fdw_private,
														   UPPER_RELID)->constvalue), NoLock);
	state->wire = ExecInitExtraTupleSlot(estate, desc, &TTSOpsVirtual);
	state->slot = ExecInitExtraTupleSlot(estate, node->ss.ss_ScanTupleSlot->tts_tupleDescriptor,
										 &TTSOpsVirtual);
	while (below != NULL && !IsA(below, ForeignScanState))
		below = outerPlanState(below);
	state->rows = (ForeignScanState *) below;
	hallway__v1__scan_stats__init(&state->stats);
	node->fdw_state = state;
}

TupleTableSlot *
hallway_upper_iterate(ForeignScanState *node)
{
	UpperState *state = node->fdw_state;
	TupleTableSlot *slot;

	if (!state->begun)
		begin_groups(node);
	if (!state->local)
	{
		slot = next_group(node);
		if (!state->local)
			return slot;
	}

	/* Whatever nodes make at their first row must last longer than ours. */
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

		slot = ExecProcNode(outerPlanState(node));
		MemoryContextSwitchTo(oldcontext);
	}
	return slot;
}

/* The executor has the plan below begin anew, if that is needed. */
void
hallway_upper_rescan(ForeignScanState *node)
{
	UpperState *state = node->fdw_state;

	if (state->fetch != NULL && node->ss.ps.chgParam == NULL &&
		hallway_fetch_rewind(state->fetch))
	{
		state->received = 0;
		return;
	}
	end_groups(state);
}

void
hallway_upper_end(ForeignScanState *node)
{
	UpperState *state = node->fdw_state;

	if (state == NULL)
		return;
	end_groups(state);
	table_close(state->rel, NoLock);
}

static void
begin_groups(ForeignScanState *node)
{
	UpperState *state = node->fdw_state;
	MemoryContext oldcontext;

	state->begun = true;
	state->received = 0;
	if (state->context == NULL)
		state->context = AllocSetContextCreate(node->ss.ps.state->es_query_cxt,
											   "Hallway groups", ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(state->context);
	if (hallway_read_from == READ_FROM_CACHE)
		run_locally(state, node, "hallway.read_from is \"cache\"");
	else if (state->rows != NULL && hallway_scan_would_hit(state->rows))
		run_locally(state, node, "the cache has the rows");
	else
	{
		state->fetch = open_fetch(node, false);
		hallway_fetch_tolerate(state->fetch);
	}
	MemoryContextSwitchTo(oldcontext);
}

static void
run_locally(UpperState *state, ForeignScanState *node, const char *why)
{
	/* What is said may be the fetch's. */
	state->why = MemoryContextStrdup(node->ss.ps.state->es_query_cxt, why);
	state->local = true;
	if (state->fetch != NULL)
		take_stats(state);
	hallway_fetch_close(state->fetch);
	state->fetch = NULL;
}

static void
end_groups(UpperState *state)
{
	if (state->fetch != NULL)
		take_stats(state);
	hallway_fetch_close(state->fetch);
	state->fetch = NULL;
	state->begun = state->local = false;
	if (state->context != NULL)
		MemoryContextReset(state->context);
}

static void
take_stats(UpperState *state)
{
	const Hallway__V1__ScanStats *stats = hallway_fetch_stats(state->fetch);

	if (stats == NULL)
		return;
	hallway_add_stats(&state->stats, stats);
	state->has_stats = true;
}

/* The next group, an empty slot at the end; or state->local is set. */
static TupleTableSlot *
next_group(ForeignScanState *node)
{
	UpperState *state = node->fdw_state;
	const Hallway__V1__Error *error;

	ExecClearTuple(state->slot);
	switch (hallway_fetch_next(state->fetch, state->wire, true))
	{
		case HALLWAY_FETCH_ROW:
			state->received++;
			break;

		case HALLWAY_FETCH_FAILED:

			/*
			 * The rows will do. So they may where the table is cached, which
			 * may have them for when the API cannot be read.
			 */
			error = hallway_fetch_error(state->fetch);
			if (!error->not_aggregated &&
				(state->rows == NULL || !hallway_scan_caches(state->rows)))
				hallway_throw(error, state->rel);
			run_locally(state, node, hallway_server_text(error->message));
			return state->slot;

		default:
			if (node->ss.ps.instrument != NULL && state->header == NULL)
				state->header = hallway_fetch_copy_header(state->fetch,
														  node->ss.ps.state->es_query_cxt);
			if (state->nkeys == 0 && state->received != 1)
				ereport(ERROR,
						(errcode(ERRCODE_PROTOCOL_VIOLATION),
						 errmsg("the sidecar sent " UINT64_FORMAT " groups of foreign table \"%s\" where there is one",
								state->received, RelationGetRelationName(state->rel))));
			return state->slot;
	}

	/* Values last until the next group. */
	for (int i = 0; i < list_length(state->sources) / 2; i++)
	{
		int			first = list_nth_int(state->sources, 2 * i);
		int			second = list_nth_int(state->sources, 2 * i + 1);

		state->slot->tts_isnull[i] = state->wire->tts_isnull[first];
		state->slot->tts_values[i] = state->wire->tts_values[first];
		if (second != NO_SOURCE && !state->slot->tts_isnull[i])
			state->slot->tts_values[i] =
				average(state->wire->tts_values[first],
						TupleDescAttr(state->wire->tts_tupleDescriptor, first)->atttypid,
						state->wire->tts_values[second]);
	}
	return ExecStoreVirtualTuple(state->slot);
}

/* As avg() of integers and numerics ends. */
static Datum
average(Datum sum, Oid type, Datum count)
{
	if (type == INT8OID)
		sum = DirectFunctionCall1(int8_numeric, sum);
	return DirectFunctionCall2(numeric_div, sum, DirectFunctionCall1(int8_numeric, count));
}

static HallwayFetch *
open_fetch(ForeignScanState *node, bool explain_only)
{
	UpperState *state = node->fdw_state;
	Hallway__V1__ScanRequest *request;

	hallway_request_init(node, &state->plan, &state->exprs);
	request = hallway_request_build(node, &state->plan, &state->exprs);
	request->explain_only = explain_only;
	return hallway_fetch_open_groups(state->rel, state->userid, request,
									 state->wire->tts_tupleDescriptor);
}

/* ---- EXPLAIN --------------------------------------------------------------- */

void
hallway_upper_explain(ForeignScanState *node, ExplainState *es)
{
	UpperState *state = node->fdw_state;
	const Hallway__V1__ScanHeader *header = state->header;
	const char *why = state->why;
	HallwayFetch *fetch;

	ExplainPropertyText("Pushed Aggregate", state->shown, es);
	if (header == NULL && why == NULL && !hallway_request_needs_running(node))
	{
		if (state->rows != NULL && hallway_scan_foresees_hit(state->rows))
			why = "the cache has the rows";
		else
		{
			fetch = open_fetch(node, true);
			hallway_fetch_tolerate(fetch);
			if (hallway_fetch_next(fetch, state->wire, true) != HALLWAY_FETCH_FAILED)
				header = hallway_fetch_copy_header(fetch, CurrentMemoryContext);
			else if (hallway_fetch_error(fetch)->not_aggregated)
				why = hallway_server_text(hallway_fetch_error(fetch)->message);
			else
				hallway_throw(hallway_fetch_error(fetch), state->rel);
			hallway_fetch_close(fetch);
		}
	}
	if (header != NULL)
		ExplainPropertyText("Hallway Request", hallway_server_text(header->request), es);
	else if (why == NULL)
		ExplainPropertyText("Hallway Request",
							"depends on values that are known when the scan runs", es);
	if (why != NULL)
		ExplainPropertyText("Hallway Fallback", why, es);
	if (es->analyze && state->fetch != NULL)
	{
		take_stats(state);
		hallway_fetch_close(state->fetch);
		state->fetch = NULL;
	}
	if (state->has_stats)
		hallway_explain_stats(&state->stats, es);
}
