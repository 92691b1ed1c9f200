/*-------------------------------------------------------------------------
 *
 * modify.c
 *		INSERT, UPDATE and DELETE at work: what the executor calls.
 *
 * A row is written when the executor hands it over, and what the API answers
 * becomes the row that triggers and RETURNING see; or, where nobody looks at
 * it, together with others (modify_queue.c). Everything that PostgreSQL can
 * refuse is refused before the API is asked, because a write there cannot be
 * taken back. Planning is in modify_plan.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

PG_FUNCTION_INFO_V1(hallway_was_created);

/* PostgreSQL keeps as many slots with their rows. */
#define MAX_SLOTS	10000

static HallwayModifyState *begin(ModifyTableState *mtstate, ResultRelInfo *rinfo,
								 const HallwayModifyPlan *plan);
/* What hallway.was_created() says: of the last row that was inserted by itself. */
static bool created_known = false;
static bool created = false;

static int	send_batch(HallwayModifyState *state, HallwayBatch *batch,
					   TupleTableSlot **slots, int first, int kept);


void
hallwayBeginForeignModify(ModifyTableState *mtstate, ResultRelInfo *rinfo,
						  List *fdw_private, int subplan_index, int eflags)
{
	HallwayModifyPlan plan;
	HallwayModifyState *state;
	List	   *tlist = outerPlanState(mtstate)->plan->targetlist;
	ListCell   *lc;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	hallway_modify_plan(fdw_private, &plan);
	state = begin(mtstate, rinfo, &plan);

	state->key_junk = palloc(sizeof(AttrNumber) * Max(list_length(plan.keys), 1));
	foreach(lc, plan.keys)
	{
		char	   *name = hallway_key_junk_name(state->rel, lfirst_int(lc));
		AttrNumber	junk = ExecFindJunkAttributeInTlist(tlist, name);

		if (!AttributeNumberIsValid(junk))
			elog(ERROR, "could not find junk column \"%s\"", name);
		state->key_junk[foreach_current_index(lc)] = junk;
	}
	if (mtstate->operation == CMD_DELETE)
		state->wholerow_junk = ExecFindJunkAttributeInTlist(tlist, "wholerow");

	rinfo->ri_FdwState = state;
}

/*
 * COPY, and rows that a partitioned table routes here, come without a plan of
 * ours: all columns the statement names, and whatever else has a value.
 */
void
hallwayBeginForeignInsert(ModifyTableState *mtstate, ResultRelInfo *rinfo)
{
	ModifyTable *statement = castNode(ModifyTable, mtstate->ps.plan);
	EState	   *estate = mtstate->ps.state;
	Relation	rel = rinfo->ri_RelationDesc;
	HallwayModifyPlan plan = {0};
	Bitmapset  *inserted;
	int			col = -1;

	if (statement != NULL && statement->operation == CMD_UPDATE && rinfo->ri_FdwState != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot move rows into foreign table \"%s\", which the same UPDATE changes",
						RelationGetRelationName(rel)),
				 errhint("Restrict the UPDATE to the partitions that the rows come from.")));

	if (statement != NULL)
	{
		if (statement->onConflictAction == ONCONFLICT_UPDATE)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("ON CONFLICT DO UPDATE is not supported on foreign table \"%s\"",
							RelationGetRelationName(rel))));
		plan.do_nothing = statement->onConflictAction == ONCONFLICT_NOTHING;
	}

	inserted = ExecGetInsertedCols(rinfo, estate);
	while ((col = bms_next_member(inserted, col)) >= 0)
	{
		AttrNumber	attnum = col + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0 && !TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
			plan.columns = lappend_int(plan.columns, attnum);
	}

	/* Whoever looks at the row afterwards may look at all of it. */
	if ((statement != NULL && statement->returningLists != NIL) ||
		(statement != NULL && statement->withCheckOptionLists != NIL) ||
		(rel->trigdesc != NULL && rel->trigdesc->trig_insert_after_row))
		plan.returning = hallway_sent_columns(rel);

	rinfo->ri_FdwState = begin(mtstate, rinfo, &plan);
}

TupleTableSlot *
hallwayExecForeignInsert(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	HallwayOutcome outcome;

	MemoryContextReset(state->context);
	hallway_check_transition_tables(state, CMD_INSERT);
	hallway_check_row(state, estate, rinfo, CMD_INSERT, slot);
	outcome = hallway_queue_row(state, rinfo, CMD_INSERT,
								hallway_columns_to_insert(state, slot), slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;
	hallway_take_answer(state, estate, rinfo, CMD_INSERT, slot);
	return slot;
}

/*
 * Rows that the executor has collected. Those that are not inserted, as ON CONFLICT
 * DO NOTHING wants it, go to the end of slots, behind the others. (COPY gives no
 * planSlots.)
 */
TupleTableSlot **
hallwayExecForeignBatchInsert(EState *estate, ResultRelInfo *rinfo,
							  TupleTableSlot **slots, TupleTableSlot **planSlots,
							  int *numSlots)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	HallwayBatch *batch = NULL;
	int			first = 0;		/* of the batch */
	int			kept = 0;

	for (int i = 0; i < *numSlots; i++)
	{
		MemoryContextReset(state->context);
		hallway_check_transition_tables(state, CMD_INSERT);
		hallway_check_row(state, estate, rinfo, CMD_INSERT, slots[i]);
	}
	for (int i = 0; i < *numSlots; i++)
	{
		List	   *columns;

		MemoryContextReset(state->context);
		columns = hallway_columns_to_insert(state, slots[i]);
		if (batch != NULL &&
			(hallway_queue_full(state, batch) || !equal(columns, batch->target.columns)))
		{
			kept = send_batch(state, batch, slots, first, kept);
			first = i;
		}
		state->rows++;
		batch = hallway_queue_batch(state, rinfo, CMD_INSERT, columns);
		hallway_queue_encode(state, batch, slots[i], NULL);
	}
	if (batch != NULL)
		kept = send_batch(state, batch, slots, first, kept);
	MemoryContextSwitchTo(oldcontext);

	*numSlots = kept;
	return slots;
}

/* Sends what is in slots from first, and moves what was kept of it behind the rest. */
static int
send_batch(HallwayModifyState *state, HallwayBatch *batch,
		   TupleTableSlot **slots, int first, int kept)
{
	int			rows = batch->rows;
	HallwayWriteResult result;

	hallway_queue_send(state, batch, &result);
	for (int i = 0; i < rows; i++)
	{
		TupleTableSlot *slot = slots[first + i];

		if (result.skipped[i])
			continue;
		slots[first + i] = slots[kept];
		slots[kept++] = slot;
	}
	return kept;
}

/* How many rows of an INSERT the executor is to collect. */
int
hallwayGetForeignModifyBatchSize(ResultRelInfo *rinfo)
{
	HallwayModifyState *state = rinfo->ri_FdwState;

	/* There is no state in an EXPLAIN. A row that moves here is not collected. */
	if (state == NULL || state->mtstate->operation != CMD_INSERT || hallway_queue_seen(state, rinfo, CMD_INSERT))
		return 1;

	/*
	 * Rows of a COPY wait with us, who know their lines; but statement triggers
	 * fire before we hear of its end. (Before 16 they go one by one then.)
	 */
	if (state->mtstate->ps.plan == NULL && !hallway_queue_copy_late(state))
		return 1;
	return Min(state->max_rows, MAX_SLOTS);
}

TupleTableSlot *
hallwayExecForeignUpdate(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	List	   *columns;
	HallwayOutcome outcome;

	MemoryContextReset(state->context);
	if (hallway_touched_before(state, planSlot))
	{
		MemoryContextSwitchTo(oldcontext);
		return NULL;
	}
	hallway_check_transition_tables(state, CMD_UPDATE);
	hallway_check_row(state, estate, rinfo, CMD_UPDATE, slot);
	columns = hallway_columns_to_update(state, rinfo, slot);

	/* The row was read a moment ago and is already as it should become. */
	if (columns == NIL)
	{
		MemoryContextSwitchTo(oldcontext);
		return slot;
	}

	outcome = hallway_queue_row(state, rinfo, CMD_UPDATE, columns, slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;
	hallway_take_answer(state, estate, rinfo, CMD_UPDATE, slot);
	return slot;
}

TupleTableSlot *
hallwayExecForeignDelete(EState *estate, ResultRelInfo *rinfo,
						 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayModifyState *state = rinfo->ri_FdwState;
	MemoryContext oldcontext = MemoryContextSwitchTo(state->context);
	HallwayOutcome outcome;

	MemoryContextReset(state->context);
	if (hallway_touched_before(state, planSlot))
	{
		MemoryContextSwitchTo(oldcontext);
		return NULL;
	}
	hallway_check_transition_tables(state, CMD_DELETE);
	outcome = hallway_queue_row(state, rinfo, CMD_DELETE, NIL, slot, planSlot);
	MemoryContextSwitchTo(oldcontext);

	if (outcome == OUTCOME_NO_ROW)
		return NULL;

	if (AttributeNumberIsValid(state->wholerow_junk))
	{
		bool		isnull;
		Datum		row = ExecGetJunkAttribute(planSlot, state->wholerow_junk, &isnull);

		if (isnull)
			elog(ERROR, "wholerow is NULL");
		ExecStoreHeapTupleDatum(row, slot);
	}
	return slot;
}

/* What these began goes with the executor's memory. */
void
hallwayEndForeignModify(EState *estate, ResultRelInfo *rinfo)
{
}

/* COPY is not over before this, and nothing else is called at its end. */
void
hallwayEndForeignInsert(EState *estate, ResultRelInfo *rinfo)
{
	if (rinfo->ri_FdwState != NULL)
		hallway_queue_flush(rinfo->ri_FdwState);
}

static HallwayModifyState *
begin(ModifyTableState *mtstate, ResultRelInfo *rinfo, const HallwayModifyPlan *plan)
{
	HallwayModifyState *state = palloc0(sizeof(HallwayModifyState));
	Relation	rel = rinfo->ri_RelationDesc;
	EState	   *estate = mtstate->ps.state;
	CmdType		command = mtstate->operation == CMD_UPDATE && plan->keys == NIL ?
		CMD_INSERT : mtstate->operation;
	HallwayRelation *relation;
	List	   *returning = plan->returning;
	ListCell   *lc;

	state->plan = *plan;
	state->rel = rel;
	state->userid = hallway_modify_user(rinfo, estate);
	state->mtstate = mtstate;
	state->own = CurrentMemoryContext;
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "Hallway modify", ALLOCSET_DEFAULT_SIZES);
	state->call = AllocSetContextCreate(CurrentMemoryContext,
										"Hallway modify call", ALLOCSET_DEFAULT_SIZES);

	hallway_write_policy(rel, &state->policy);
	if (command != CMD_INSERT)
		state->policy.upsert_key = NIL;
	hallway_check_policy(&state->policy, rel, command,
						 mtstate->ps.plan != NULL &&
						 castNode(ModifyTable, mtstate->ps.plan)->returningLists != NIL);
	if (state->policy.upsert_key != NIL && plan->do_nothing)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("ON CONFLICT DO NOTHING is not supported on foreign table \"%s\", which has the option upsert_key",
						RelationGetRelationName(rel)),
				 errhint("Create another foreign table for the object without that option.")));

	relation = hallway_relation(RelationGetRelid(rel), state->userid);
	state->max_rows = hallway_batch_rows(&state->policy, relation, command);
	state->stale_reads = relation->cache.update_reads &&
		relation->cache.mode != HALLWAY__V1__CACHE_MODE__CACHE_MODE_OFF;
	state->read_only = hallway_read_only_attnums(relation);

	/* The plan may be older than the object's key. */
	if (plan->keys != NIL && !equal(plan->keys, hallway_key_attnums(relation)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key of foreign table \"%s\" has changed since the statement was planned",
						RelationGetRelationName(rel)),
				 errhint("Run DISCARD PLANS, and the statement again.")));

	foreach(lc, plan->columns)
		state->given = bms_add_member(state->given, lfirst_int(lc));
	for (size_t i = 0; i < relation->description->n_unnullable_columns; i++)
	{
		AttrNumber	attnum = relation->attnums[relation->description->unnullable_columns[i]];

		if (list_member_int(plan->of_values, attnum))
			state->left_out = bms_add_member(state->left_out, attnum);
	}

	state->key_writer = hallway_writer_create(RelationGetDescr(rel), NIL);

	/* Without an answer, triggers see the row as it was given. */
	if (state->policy.write_at != WRITE_AT_STATEMENT && !state->policy.dry_run)
		state->plan.returning = returning = NIL;
	if (returning != NIL)
	{
		state->reader = hallway_reader_create(RelationGetDescr(rel), returning);
		state->answer = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), &TTSOpsVirtual);
	}
	return state;
}

void
hallway_set_created(bool known, bool is_created)
{
	created_known = known;
	created = is_created;
}

/*
 * hallway.was_created(): in RETURNING, whether the row was inserted, and not found
 * by upsert_key. RETURNING is computed when each row has been written, so the last
 * row is the one that is asked about. NULL where nothing is known.
 */
Datum
hallway_was_created(PG_FUNCTION_ARGS)
{
	if (!created_known)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(created);
}
