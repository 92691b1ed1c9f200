/*-------------------------------------------------------------------------
 *
 * scan_ahead.c
 *		Scans of a statement that writes to the server it reads: all rows are read
 *		before the first one is handed out.
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
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "scan.h"


/*
 * Does the statement write to the server that is scanned? To which partitions
 * of a partitioned target is not known yet: to any.
 */
bool
hallway_scan_writes_to_server(ForeignScanState *node)
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

/* The next API's row, once all of them have been read. */
TupleTableSlot *
hallway_scan_next_stored(ForeignScanState *node)
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
		for (slot = hallway_scan_next(node); !TupIsNull(slot); slot = hallway_scan_next(node))
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

/* Rows are read again, or never. */
void
hallway_scan_forget_stored(HallwayScanState *state)
{
	if (state->store != NULL)
	{
		ExecClearTuple(state->stored);
		tuplestore_end(state->store);
		state->store = NULL;
	}
	state->read_whole = false;
}
