/*-------------------------------------------------------------------------
 *
 * cache_inner.c
 *		Reading the cache table: an executor inside of the scan's own.
 *
 * It is ended with the node. After an error nobody does that, and what it held goes
 * with the resource owner, as the outer one's does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "tcop/dest.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "cache_scan.h"
#include "compat.h"

bool
hallway_inner_open(HallwayCacheScan *cache, Snapshot snapshot, int eflags)
{
	EState	   *estate = cache->node->ss.ps.state;
	MemoryContext oldcontext;
	ParamListInfo params;
	int			nparams;
	ListCell   *lc;

	/* The same table again, with other values: nothing is to be planned anew. */
	if (cache->desc != NULL && cache->desc_relid == cache->table.relid &&
		cache->desc_snapshot == snapshot)
	{
		hallway_inner_set_params(cache);
		hallway_inner_rescan(cache);
		return true;
	}
	hallway_inner_close(cache);

	if (cache->inner_context == NULL)
		cache->inner_context = AllocSetContextCreate(estate->es_query_cxt,
													 "Hallway cache executor",
													 ALLOCSET_DEFAULT_SIZES);
	oldcontext = MemoryContextSwitchTo(cache->inner_context);
	cache->inner = hallway_inner_plan(cache->node, cache->plan, &cache->cache,
									  cache->table.relid);
	if (cache->inner == NULL)
	{
		MemoryContextSwitchTo(oldcontext);
		return false;
	}

	nparams = list_length(cache->inner->params);
	params = makeParamList(nparams + (cache->plan->has_limit ? 1 : 0));
	cache->param_states = NIL;
	foreach(lc, cache->inner->params)
	{
		ParamExternData *param = &params->params[foreach_current_index(lc)];

		param->ptype = exprType(lfirst(lc));
		param->isnull = true;
		param->pflags = 0;
		cache->param_states = lappend(cache->param_states,
									  ExecInitExpr(lfirst(lc), &cache->node->ss.ps));
	}
	if (cache->plan->has_limit)
	{
		params->params[nparams].ptype = INT8OID;
		params->params[nparams].isnull = true;
		params->params[nparams].pflags = 0;
	}

	cache->desc = CreateQueryDesc(cache->inner->stmt, estate->es_sourceText, snapshot,
								  InvalidSnapshot, None_Receiver, params, NULL,
								  estate->es_instrument);
	cache->desc_relid = cache->table.relid;
	cache->desc_snapshot = snapshot;
	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		hallway_inner_set_params(cache);
	PushActiveSnapshot(snapshot);
	ExecutorStart(cache->desc, eflags);
	PopActiveSnapshot();
	MemoryContextSwitchTo(oldcontext);
	return true;
}

void
hallway_inner_close(HallwayCacheScan *cache)
{
	QueryDesc  *desc = cache->desc;

	if (desc != NULL)
	{
		cache->desc = NULL;
		ExecutorFinish(desc);
		ExecutorEnd(desc);
		FreeQueryDesc(desc);
	}
	/* Nothing is left of it in a scan that opens many. */
	if (cache->inner_context != NULL)
		MemoryContextReset(cache->inner_context);
}

void
hallway_inner_set_params(HallwayCacheScan *cache)
{
	ParamListInfo params = cache->desc->params;
	ExprContext *econtext = cache->node->ss.ps.ps_ExprContext;
	ListCell   *lc;

	if (params == NULL)
		return;
	if (cache->param_values == NULL)
		cache->param_values = AllocSetContextCreate(cache->node->ss.ps.state->es_query_cxt,
													"Hallway cache parameters",
													ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(cache->param_values);

	foreach(lc, cache->param_states)
	{
		ParamExternData *param = &params->params[foreach_current_index(lc)];
		MemoryContext oldcontext;
		int16		len;
		bool		byval;

		param->value = ExecEvalExprSwitchContext(lfirst(lc), econtext, &param->isnull);
		get_typlenbyval(param->ptype, &len, &byval);
		if (param->isnull || byval)
			continue;
		oldcontext = MemoryContextSwitchTo(cache->param_values);
		param->value = datumCopy(param->value, byval, len);
		MemoryContextSwitchTo(oldcontext);
	}
	if (cache->plan->has_limit)
	{
		ParamExternData *bound = &params->params[list_length(cache->param_states)];

		bound->isnull = cache->limit == 0;
		bound->value = Int64GetDatum((int64) cache->limit);
	}
}

void
hallway_inner_rescan(HallwayCacheScan *cache)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(cache->desc->estate->es_query_cxt);

	ExecReScan(cache->desc->planstate);
	MemoryContextSwitchTo(oldcontext);
}
