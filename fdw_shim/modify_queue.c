/*-------------------------------------------------------------------------
 *
 * modify_queue.c
 *		Rows that wait for others, so that one call writes many.
 *
 * INSERT has PostgreSQL's own way of collecting rows. Here are those of COPY,
 * which has none before version 16 and none that knows the rows' lines, and of
 * UPDATE and DELETE. They are sent when there are as many as the API takes, and
 * at the statement's end: before its row count is told and its triggers fire.
 * That no callback of a wrapper says, so ExecutorRun's hook does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

/* Sets of columns, each with its batch, that an UPDATE has under way. */
#define MAX_BATCHES			8

/* States with rows waiting for the end of their statement. */
static dlist_head waiting = DLIST_STATIC_INIT(waiting);

static ExecutorRun_hook_type next_executor_run = NULL;

static void executor_run(HALLWAY_EXECUTOR_RUN_PARAMS);
static void decide(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command);
static void wait_for_end(HallwayModifyState *state);
static void forget(void *arg);
static void send_queued(HallwayModifyState *state, HallwayBatch *batch);
static void set_target(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command,
					   List *columns, HallwayWriteTarget *target);
static struct CopyFromStateData *find_copy(void);
static void show_line(void *arg, uint32 row);


void
hallway_modify_queue_init(void)
{
	next_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
}

static void
executor_run(HALLWAY_EXECUTOR_RUN_PARAMS)
{
	dlist_mutable_iter iter;

	if (next_executor_run != NULL)
		next_executor_run(HALLWAY_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(HALLWAY_EXECUTOR_RUN_ARGS);

	/* Those of statements that this one is part of wait on. */
	dlist_foreach_modify(iter, &waiting)
	{
		HallwayModifyState *state = dlist_container(HallwayModifyState, node, iter.cur);

		if (state->mtstate->ps.state == queryDesc->estate)
			hallway_queue_flush(state);
	}
}

HallwayOutcome
hallway_queue_row(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command,
				  List *columns, TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	HallwayBatch *batch;
	HallwayWriteResult result;

	if (!state->decided)
		decide(state, rinfo, command);
	state->rows++;
	batch = hallway_queue_batch(state, rinfo, command, columns);
	hallway_queue_encode(state, batch, slot, planSlot);
	if (state->queueing)
	{
		if (hallway_queue_full(state, batch))
			send_queued(state, batch);
		return OUTCOME_APPLIED;
	}

	if (state->answer != NULL)
		ExecClearTuple(state->answer);
	hallway_queue_send(state, batch, &result);
	if (command == CMD_INSERT)
		hallway_set_created(result.answered && result.nskipped == 0, result.created);
	if (result.nskipped > 0)
		return OUTCOME_NO_ROW;
	if (state->reader != NULL && result.answered)
	{
		hallway_reader_batch(state->reader, result.tuples, result.len, 1);
		if (!hallway_reader_next(state->reader, state->answer))
			elog(ERROR, "the reader lost the answer's row");
	}
	return OUTCOME_APPLIED;
}

void
hallway_queue_flush(HallwayModifyState *state)
{
	ListCell   *lc;
	ErrorContextCallback *previous = error_context_stack;
	ErrorContextCallback context = {.previous = previous,
		.callback = CopyFromErrorCallback,.arg = state->copy};

	/* At its end COPY does not say any more where it is. */
	if (state->copy != NULL && find_copy() != state->copy)
		error_context_stack = &context;
	foreach(lc, state->batches)
	{
		HallwayBatch *batch = lfirst(lc);

		if (batch->rows > 0)
			send_queued(state, batch);
	}
	error_context_stack = previous;
	if (state->listed)
	{
		dlist_delete(&state->node);
		state->listed = false;
	}
}

/* Whether rows wait, which the first one decides. */
static void
decide(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command)
{
	ModifyTableState *mtstate = state->mtstate;

	state->decided = true;
	if (state->max_rows <= 1 || hallway_queue_seen(state, rinfo, command))
		return;

	if (mtstate->ps.plan == NULL)
	{
		state->copy = find_copy();
		state->queueing = command == CMD_INSERT && !hallway_queue_copy_late(state);
		return;
	}

	/*
	 * A WITH query may be run to its end after ExecutorRun, and others may look
	 * at what it has done.
	 */
	if (command != CMD_INSERT && mtstate->operation == command && mtstate->canSetTag &&
		mtstate->ps.state->es_plannedstmt->planTree == mtstate->ps.plan)
	{
		state->queueing = true;
		wait_for_end(state);
	}
}

bool
hallway_queue_seen(const HallwayModifyState *state, const ResultRelInfo *rinfo,
				   CmdType command)
{
	const TriggerDesc *triggers = rinfo->ri_TrigDesc;

	if (state->reader != NULL || rinfo->ri_projectReturning != NULL ||
		rinfo->ri_WithCheckOptions != NIL)
		return true;
	/* What is kept for the commit is sent together then. */
	if (state->policy.write_at == WRITE_AT_COMMIT && !state->policy.dry_run)
		return true;
	if (triggers == NULL)
		return false;
	switch (command)
	{
		case CMD_INSERT:
			return triggers->trig_insert_before_row || triggers->trig_insert_after_row;
		case CMD_UPDATE:
			return triggers->trig_update_before_row || triggers->trig_update_after_row;
		default:
			return triggers->trig_delete_before_row || triggers->trig_delete_after_row;
	}
}

bool
hallway_queue_copy_late(const HallwayModifyState *state)
{
	const ResultRelInfo *root = state->mtstate->rootResultRelInfo;

	return root != NULL && root->ri_TrigDesc != NULL &&
		root->ri_TrigDesc->trig_insert_after_statement;
}

static void
wait_for_end(HallwayModifyState *state)
{
	MemoryContextCallback *callback = MemoryContextAlloc(state->own, sizeof(MemoryContextCallback));

	callback->func = forget;
	callback->arg = state;
	MemoryContextRegisterResetCallback(state->own, callback);
	dlist_push_tail(&waiting, &state->node);
	state->listed = true;
}

/* The statement is gone, by an error if rows wait still. */
static void
forget(void *arg)
{
	HallwayModifyState *state = arg;

	if (state->listed)
		dlist_delete(&state->node);
	state->listed = false;
}

/* What counted as done when it was handed over may not have been there. */
static void
send_queued(HallwayModifyState *state, HallwayBatch *batch)
{
	HallwayWriteResult result;

	hallway_queue_send(state, batch, &result);
	if (state->mtstate->canSetTag && state->mtstate->ps.plan != NULL)
		state->mtstate->ps.state->es_processed -= result.nskipped;
}

void
hallway_queue_send(HallwayModifyState *state, HallwayBatch *batch, HallwayWriteResult *result)
{
	CopyFromState copy = state->copy;
	uint64		line = copy != NULL ? copy->cur_lineno : 0;
	bool		line_shown = copy != NULL && copy->line_buf_valid;
	HallwayWrite write = {.target = batch->target,.rows = batch->rows,
	.numbers = batch->numbers};
	MemoryContext oldcontext;

	MemoryContextReset(state->call);
	oldcontext = MemoryContextSwitchTo(state->call);
	hallway_writer_data(batch->writer, &write.tuples, &write.len);
	write.several = batch->rows > 1 || batch->numbers[0] > 1;

	if (state->policy.write_at == WRITE_AT_COMMIT && !state->policy.dry_run)
	{
		hallway_commit_queue(&write, state->max_rows);
		state->stats.queued += batch->rows;
		memset(result, 0, sizeof(*result));
		result->skipped = palloc0(sizeof(bool) * batch->rows);
	}
	else
	{
		/* The text of the line that is read just now is not that of the row. */
		if (copy != NULL)
			copy->line_buf_valid = false;
		hallway_write_send(&write, state->rel, copy != NULL ? show_line : NULL,
						   state->copy != NULL ? (void *[]) {copy, batch} : NULL,
						   result, &state->stats);
		if (copy != NULL)
		{
			copy->cur_lineno = line;
			copy->line_buf_valid = line_shown;
		}
	}
	hallway_writer_reset(batch->writer);
	batch->rows = 0;
	MemoryContextSwitchTo(oldcontext);
}

/* ---- batches -------------------------------------------------------------- */

HallwayBatch *
hallway_queue_batch(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command,
					List *columns)
{
	int			limit = state->queueing && command == CMD_UPDATE ? MAX_BATCHES : 1;
	HallwayBatch *batch = NULL;
	MemoryContext oldcontext;
	ListCell   *lc;

	if (command == CMD_DELETE && state->policy.delete_column != 0)
		columns = list_make1_int(state->policy.delete_column);
	foreach(lc, state->batches)
	{
		HallwayBatch *other = lfirst(lc);

		if (equal(columns, other->target.columns))
			return other;
		if (batch == NULL || other->rows > batch->rows)
			batch = other;
	}

	/* In another's place: that with most rows has least to gain by waiting. */
	if (list_length(state->batches) >= limit && batch != NULL)
	{
		if (batch->rows > 0)
			send_queued(state, batch);
		list_free(batch->target.columns);
		oldcontext = MemoryContextSwitchTo(state->own);
		batch->target.columns = list_copy(columns);
		MemoryContextSwitchTo(oldcontext);
		return batch;
	}

	oldcontext = MemoryContextSwitchTo(state->own);
	batch = palloc0(sizeof(HallwayBatch));
	set_target(state, rinfo, command, columns, &batch->target);
	batch->writer = hallway_writer_create(RelationGetDescr(state->rel), NIL);
	batch->room = Min(state->max_rows, 64);
	batch->numbers = palloc(sizeof(uint64) * batch->room);
	batch->lines = palloc(sizeof(uint64) * batch->room);
	state->batches = lappend(state->batches, batch);
	MemoryContextSwitchTo(oldcontext);
	return batch;
}

bool
hallway_queue_full(const HallwayModifyState *state, const HallwayBatch *batch)
{
	const uint8 *data;
	size_t		len;

	hallway_writer_data(batch->writer, &data, &len);
	return batch->rows >= (uint32) state->max_rows || len >= HALLWAY_BATCH_BYTES;
}

/* The row's key, as it was read, and then the columns. */
void
hallway_queue_encode(HallwayModifyState *state, HallwayBatch *batch,
					 TupleTableSlot *slot, TupleTableSlot *planSlot)
{
	const HallwayWriteTarget *target = &batch->target;
	TupleDesc	desc = RelationGetDescr(state->rel);
	ListCell   *lc;

	if (batch->rows == batch->room)
	{
		batch->room *= 2;
		batch->numbers = repalloc(batch->numbers, sizeof(uint64) * batch->room);
		batch->lines = repalloc(batch->lines, sizeof(uint64) * batch->room);
	}

	hallway_writer_begin(batch->writer,
						 list_length(target->keys) + list_length(target->columns));
	if (target->keys != NIL)
		hallway_encode_key(state, batch->writer, planSlot);
	foreach(lc, target->columns)
	{
		Oid			type = TupleDescAttr(desc, lfirst_int(lc) - 1)->atttypid;
		bool		isnull = false;
		Datum		value;

		if (target->command == CMD_DELETE)
			value = state->policy.delete_value;
		else
			value = slot_getattr(slot, lfirst_int(lc), &isnull);
		hallway_writer_value(batch->writer, type, value, isnull);
	}
	batch->numbers[batch->rows] = state->rows;
	batch->lines[batch->rows] = state->copy != NULL ? state->copy->cur_lineno : 0;
	batch->rows++;
}

static void
set_target(HallwayModifyState *state, ResultRelInfo *rinfo, CmdType command,
		   List *columns, HallwayWriteTarget *target)
{
	const HallwayWritePolicy *policy = &state->policy;

	target->relid = RelationGetRelid(state->rel);
	target->userid = state->userid;
	target->command = command;
	target->operation =
		command == CMD_INSERT ?
		(policy->upsert_key != NIL ? HALLWAY__V1__OPERATION__OPERATION_UPSERT :
		 HALLWAY__V1__OPERATION__OPERATION_INSERT) :
		command == CMD_UPDATE || policy->delete_column != 0 ?
		HALLWAY__V1__OPERATION__OPERATION_UPDATE : HALLWAY__V1__OPERATION__OPERATION_DELETE;
	if (command != CMD_INSERT)
		target->keys = state->plan.keys;
	target->columns = list_copy(columns);
	if (command == CMD_INSERT)
		target->match = policy->upsert_key;
	target->returning = state->plan.returning;
	target->given = state->given;
	target->do_nothing = command == CMD_INSERT && state->plan.do_nothing;
	target->part = rinfo->ri_RootResultRelInfo != NULL;
	target->compensate = policy->compensate;
	target->journal = policy->journal;
	target->journal_values = policy->journal_values;
	target->after_commit = policy->write_at == WRITE_AT_AFTER_COMMIT;
	target->skip_unchanged =
		target->operation == HALLWAY__V1__OPERATION__OPERATION_UPSERT ||
		(command == CMD_UPDATE && state->stale_reads);
	target->dry_run = policy->dry_run;
}

/* ---- COPY ----------------------------------------------------------------- */

/* The innermost COPY that runs, or NULL: only its error context tells. */
static struct CopyFromStateData *
find_copy(void)
{
	for (ErrorContextCallback *context = error_context_stack; context != NULL;
		 context = context->previous)
	{
		if (context->callback == CopyFromErrorCallback)
			return context->arg;
	}
	return NULL;
}

/* Has the error say in which line its row is. */
static void
show_line(void *arg, uint32 row)
{
	CopyFromState copy = ((void **) arg)[0];
	const HallwayBatch *batch = ((void **) arg)[1];

	if (batch->lines[row] > 0)
		copy->cur_lineno = batch->lines[row];
}
