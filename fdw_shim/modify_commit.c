/*-------------------------------------------------------------------------
 *
 * modify_commit.c
 *		Rows that are kept until the transaction commits (write_at 'commit').
 *
 * They are encoded when the statement runs, and sent when all else that may keep
 * the transaction from committing has been done: deferred constraints and their
 * triggers. A subtransaction that is rolled back takes its rows along.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

typedef struct QueuedWrite
{
	HallwayWriteTarget target;
	SubTransactionId subid;
	bool		several;
	StringInfoData tuples;
	uint32		rows;
	uint32		room;			/* in numbers */
	uint64	   *numbers;
} QueuedWrite;

/* In the order of the statements; all of it below TopTransactionContext. */
static List *queue = NIL;
static MemoryContext queue_context = NULL;
static uint64 queued_bytes = 0;

static QueuedWrite *queued_write(const HallwayWrite *write, uint32 max_rows);
static bool same_target(const HallwayWriteTarget *a, const HallwayWriteTarget *b);
static void send_queued(const QueuedWrite *queued);


void
hallway_commit_queue(const HallwayWrite *write, int max_rows)
{
	MemoryContext oldcontext;
	QueuedWrite *queued;

	if (queued_bytes + write->len > (uint64) hallway_max_queued * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many rows wait for the commit of the transaction"),
				 errdetail("hallway.max_queued is %d kB.", hallway_max_queued),
				 errhint("Commit more often, raise hallway.max_queued, or set write_at to \"statement\" or \"after_commit\".")));

	if (queue_context == NULL)
		queue_context = AllocSetContextCreate(TopTransactionContext, "Hallway queued rows",
											  ALLOCSET_DEFAULT_SIZES);
	oldcontext = MemoryContextSwitchTo(queue_context);
	queued = queued_write(write, max_rows);
	appendBinaryStringInfo(&queued->tuples, (const char *) write->tuples, write->len);
	while (queued->rows + write->rows > queued->room)
	{
		queued->room *= 2;
		queued->numbers = repalloc(queued->numbers, sizeof(uint64) * queued->room);
	}
	memcpy(queued->numbers + queued->rows, write->numbers, sizeof(uint64) * write->rows);
	queued->rows += write->rows;
	queued->several = queued->several || write->several;
	queued_bytes += write->len;
	MemoryContextSwitchTo(oldcontext);
}

/* The last one, if the rows go on it, else another. */
static QueuedWrite *
queued_write(const HallwayWrite *write, uint32 max_rows)
{
	QueuedWrite *queued = queue != NIL ? llast(queue) : NULL;

	if (queued != NULL && queued->subid == GetCurrentSubTransactionId() &&
		queued->rows + write->rows <= max_rows &&
		queued->tuples.len + write->len <= HALLWAY_BATCH_BYTES &&
		same_target(&queued->target, &write->target))
		return queued;

	queued = palloc0(sizeof(QueuedWrite));
	queued->target = write->target;
	queued->target.keys = list_copy(write->target.keys);
	queued->target.columns = list_copy(write->target.columns);
	queued->target.match = list_copy(write->target.match);
	queued->target.given = bms_copy(write->target.given);
	queued->subid = GetCurrentSubTransactionId();
	queued->room = Max(write->rows, 8);
	queued->numbers = palloc(sizeof(uint64) * queued->room);
	initStringInfo(&queued->tuples);
	queue = lappend(queue, queued);
	return queued;
}

static bool
same_target(const HallwayWriteTarget *a, const HallwayWriteTarget *b)
{
	return a->relid == b->relid && a->userid == b->userid &&
		a->command == b->command && a->operation == b->operation &&
		equal(a->keys, b->keys) && equal(a->columns, b->columns) &&
		equal(a->match, b->match) && bms_equal(a->given, b->given) &&
		a->do_nothing == b->do_nothing && a->part == b->part &&
		a->compensate == b->compensate && a->journal == b->journal &&
		a->journal_values == b->journal_values &&
		a->skip_unchanged == b->skip_unchanged;
}

bool
hallway_commit_pending(void)
{
	return queue != NIL;
}

/*
 * statement_timeout does not hold here any more, so each call is bounded by
 * hallway.max_wait. After an error the rows that were not sent are forgotten with
 * the transaction.
 */
void
hallway_commit_flush(void)
{
	MemoryContext context;
	MemoryContext oldcontext;

	if (queue == NIL)
		return;
	context = AllocSetContextCreate(queue_context, "Hallway commit", ALLOCSET_DEFAULT_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	while (queue != NIL)
	{
		QueuedWrite *queued = linitial(queue);

		CHECK_FOR_INTERRUPTS();
		queue = list_delete_first(queue);
		send_queued(queued);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
	queued_bytes = 0;
}

static void
send_queued(const QueuedWrite *queued)
{
	Relation	rel = try_relation_open(queued->target.relid, RowExclusiveLock);
	HallwayWrite write = {.target = queued->target,.tuples = (uint8 *) queued->tuples.data,
		.len = queued->tuples.len,.rows = queued->rows,.numbers = queued->numbers,
	.several = queued->several};
	HallwayWriteResult result;
	HallwayWriteStats stats = {0};

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("a foreign table was dropped before its rows were written"),
				 errdetail("They waited for the commit, as its option write_at said.")));
	hallway_write_send(&write, rel, NULL, NULL, &result, &stats);
	if (result.nskipped > 0 && queued->target.command != CMD_INSERT)
		ereport(WARNING,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg_plural("%u row of foreign table \"%s\" that was to be written at the commit is not there any more",
							   "%u rows of foreign table \"%s\" that were to be written at the commit are not there any more",
							   result.nskipped, result.nskipped, RelationGetRelationName(rel))));
	relation_close(rel, NoLock);
}

void
hallway_commit_abort_sub(SubTransactionId subid)
{
	ListCell   *lc;

	foreach(lc, queue)
	{
		QueuedWrite *queued = lfirst(lc);

		if (queued->subid != subid)
			continue;
		queued_bytes -= queued->tuples.len;
		pfree(queued->tuples.data);
		queue = foreach_delete_current(queue, lc);
	}
}

void
hallway_commit_release_sub(SubTransactionId subid, SubTransactionId parent)
{
	ListCell   *lc;

	foreach(lc, queue)
	{
		QueuedWrite *queued = lfirst(lc);

		if (queued->subid == subid)
			queued->subid = parent;
	}
}

void
hallway_commit_forget(void)
{
	queue = NIL;
	queue_context = NULL;
	queued_bytes = 0;
}
