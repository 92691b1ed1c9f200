/*-------------------------------------------------------------------------
 *
 * xact.c
 *		What the local transaction means for rows already written in an API.
 *
 * An API write cannot be taken back by ROLLBACK. So the transaction gets its
 * ids before the first write, commits durably, tells the sidecar how it (or a
 * savepoint in it) ended, and warns when written rows outlive a rollback.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

/*
 * A commit that comes so soon after the transaction's first answer need not be told
 * at once: the journal looks for itself, 5 ms after an answer (linger in
 * sidecar/journal/outcome.go).
 */
#define TOLD_LATER_MS	4

/* Writes to one table within one (sub)transaction. */
typedef struct TableWrites
{
	char		name[NAMEDATALEN];
	bool		compensate;		/* a rollback has the sidecar undo them */
	HallwayRowCounts rows;
	uint64		unknown;
} TableWrites;

/*
 * What one (sub)transaction wrote, without what was written inside of
 * subtransactions that are still open. Allocated in TopTransactionContext.
 */
typedef struct WriteLevel
{
	struct WriteLevel *outer;
	SubTransactionId subid;
	List	   *tables;			/* of TableWrites * */
	List	   *channels;		/* of HallwayChannel * */
	bool		urgent;			/* rows wait for the end: to be sent, or undone */
} WriteLevel;

/* Innermost level that wrote; NULL: this transaction wrote nothing. */
static WriteLevel *innermost = NULL;

/* The transaction's own full id; set with the first write. */
static uint64 top_xid = 0;

/* When the transaction's first answer came; 0: none has. */
static TimestampTz first_answer = 0;

/* Relations of which hallway_xact_first() was asked in this transaction. */
static List *told = NIL;

static void on_xact_event(XactEvent event, void *arg);
static void on_subxact_event(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);
static WriteLevel *current_level(void);
static TableWrites *table_writes(WriteLevel *level, const char *name, bool compensate);
static void merge_level(WriteLevel *from, WriteLevel *into);
static void tell_commit(WriteLevel *level);
static void send_end(WriteLevel *level, Hallway__V1__TransactionEnd end, bool whole);
static void warn_after_rollback(WriteLevel *level, bool savepoint);
static void warn_of_writes(WriteLevel *level, bool savepoint, bool compensate);
static void forget_transaction(void);


void
hallway_xact_init(void)
{
	RegisterXactCallback(on_xact_event, NULL);
	RegisterSubXactCallback(on_subxact_event, NULL);
}

void
hallway_xact_begin_write(HallwayChannel *channel, Relation rel, uint64 rows,
						 bool compensate, Hallway__V1__Transaction *out)
{
	WriteLevel *level;
	MemoryContext oldcontext;
	FullTransactionId subxid = GetCurrentFullTransactionId();

	if (top_xid == 0)
	{
		top_xid = U64FromFullTransactionId(GetTopFullTransactionId());

		/*
		 * A transaction that wrote nothing local commits without waiting for
		 * its commit record to reach the disk: a crash could lose it, and its
		 * xid be used again. The forced flush mends that for this server; the
		 * empty message makes synchronous standbys be waited for as well,
		 * which PostgreSQL does for transactions with WAL of their own only.
		 */
		ForceSyncCommit();
		hallway_log_message("hallway");
	}

	level = current_level();
	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	level->channels = list_append_unique_ptr(level->channels, channel);
	MemoryContextSwitchTo(oldcontext);

	/* No rows: they are sent after the commit. */
	level->urgent |= compensate || rows == 0;

	/* Until the answer says otherwise, as after a cancel it never does. */
	table_writes(level, RelationGetRelationName(rel), compensate)->unknown += rows;

	out->xid = top_xid;
	out->subxid = U64FromFullTransactionId(subxid);
}

void
hallway_xact_end_write(Relation rel, uint64 rows, bool compensate,
					   const HallwayRowCounts *counts)
{
	TableWrites *writes = table_writes(current_level(), RelationGetRelationName(rel), compensate);

	if (first_answer == 0)
		first_answer = GetCurrentTimestamp();
	writes->unknown -= rows;
	writes->rows.inserted += counts->inserted;
	writes->rows.updated += counts->updated;
	writes->rows.deleted += counts->deleted;
}

bool
hallway_xact_wrote(void)
{
	for (WriteLevel *level = innermost; level != NULL; level = level->outer)
	{
		ListCell   *lc;

		foreach(lc, level->tables)
		{
			const TableWrites *writes = lfirst(lc);

			if (writes->rows.inserted + writes->rows.updated + writes->rows.deleted +
				writes->unknown > 0)
				return true;
		}
	}
	return false;
}

bool
hallway_xact_first(Oid relid)
{
	MemoryContext oldcontext;

	if (list_member_oid(told, relid))
		return false;
	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	told = lappend_oid(told, relid);
	MemoryContextSwitchTo(oldcontext);
	return true;
}

/*
 * But for what comes before the commit, nothing here may fail: an ERROR while
 * committing is a PANIC of the whole cluster. So messages are sent without
 * waiting, and the sidecar finds out by the xid when one did not arrive.
 */
static void
on_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			/* An error here is one of the transaction's still. */
			hallway_commit_flush();
			break;

		case XACT_EVENT_PRE_PREPARE:
			if (innermost != NULL || hallway_commit_pending())
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has written through Hallway"),
						 innermost != NULL ?
						 errdetail("What was written stands in the API already, and cannot wait for COMMIT PREPARED.") :
						 errdetail("What is to be written when it commits cannot wait for COMMIT PREPARED."),
						 errhint("End the transaction with COMMIT or ROLLBACK.")));
			break;

		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			tell_commit(innermost);
			forget_transaction();
			break;

		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* Savepoints that were still open roll back with it. */
			while (innermost != NULL && innermost->outer != NULL)
			{
				WriteLevel *level = innermost;

				innermost = level->outer;
				merge_level(level, innermost);
			}
			send_end(innermost, HALLWAY__V1__TRANSACTION_END__TRANSACTION_END_ABORT, true);
			if (innermost != NULL)
				warn_after_rollback(innermost, false);
			forget_transaction();
			break;

		case XACT_EVENT_PREPARE:
			forget_transaction();
			break;

		default:
			break;
	}
}

static void
on_subxact_event(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	WriteLevel *level = innermost;

	if (event == SUBXACT_EVENT_COMMIT_SUB)
		hallway_commit_release_sub(mySubid, parentSubid);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		hallway_commit_abort_sub(mySubid);

	if (level == NULL || level->subid != mySubid)
		return;

	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (level->outer != NULL && level->outer->subid == parentSubid)
		{
			innermost = level->outer;
			merge_level(level, innermost);
		}
		else
			level->subid = parentSubid;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		innermost = level->outer;
		send_end(level, HALLWAY__V1__TRANSACTION_END__TRANSACTION_END_ABORT, false);
		warn_after_rollback(level, true);
		if (innermost == NULL)
		{
			/* The transaction itself has written nothing that is not told. */
			top_xid = 0;
		}
	}
}

/* The level of the current (sub)transaction, made if there is none. */
static WriteLevel *
current_level(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	WriteLevel *level;

	if (innermost != NULL && innermost->subid == subid)
		return innermost;

	level = MemoryContextAllocZero(TopTransactionContext, sizeof(WriteLevel));
	level->subid = subid;
	level->outer = innermost;
	innermost = level;
	return level;
}

static TableWrites *
table_writes(WriteLevel *level, const char *name, bool compensate)
{
	ListCell   *lc;
	TableWrites *writes;
	MemoryContext oldcontext;

	foreach(lc, level->tables)
	{
		writes = lfirst(lc);
		if (strcmp(writes->name, name) == 0 && writes->compensate == compensate)
			return writes;
	}

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	writes = palloc0(sizeof(TableWrites));
	strlcpy(writes->name, name, NAMEDATALEN);
	writes->compensate = compensate;
	level->tables = lappend(level->tables, writes);
	MemoryContextSwitchTo(oldcontext);
	return writes;
}

/* Adds the writes of one level to another's. */
static void
merge_level(WriteLevel *from, WriteLevel *into)
{
	ListCell   *lc;
	MemoryContext oldcontext;

	foreach(lc, from->tables)
	{
		TableWrites *writes = lfirst(lc);
		TableWrites *sum = table_writes(into, writes->name, writes->compensate);

		sum->rows.inserted += writes->rows.inserted;
		sum->rows.updated += writes->rows.updated;
		sum->rows.deleted += writes->rows.deleted;
		sum->unknown += writes->unknown;
	}

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	into->channels = list_concat_unique_ptr(into->channels, from->channels);
	MemoryContextSwitchTo(oldcontext);
	into->urgent |= from->urgent;
}

/*
 * Tells that the transaction has committed: at once if somebody waits for that,
 * else with the next write, which costs neither this statement nor the sidecar a
 * message.
 */
static void
tell_commit(WriteLevel *level)
{
	ListCell   *lc;

	if (level == NULL)
		return;
	if (level->urgent || first_answer == 0 ||
		TimestampDifferenceExceeds(first_answer, GetCurrentTimestamp(), TOLD_LATER_MS))
		send_end(level, HALLWAY__V1__TRANSACTION_END__TRANSACTION_END_COMMIT, true);
	else
		foreach(lc, level->channels)
			hallway_channel_tell_later(lfirst(lc), top_xid);
}

/*
 * Tells the sidecars that were written to how the transaction (whole) or the
 * current subtransaction ended.
 */
static void
send_end(WriteLevel *level, Hallway__V1__TransactionEnd end, bool whole)
{
	Hallway__V1__EndTransactionRequest request = HALLWAY__V1__END_TRANSACTION_REQUEST__INIT;
	Hallway__V1__Transaction transaction = HALLWAY__V1__TRANSACTION__INIT;
	ListCell   *lc;

	if (level == NULL)
		return;

	transaction.xid = top_xid;
	transaction.subxid = whole ? top_xid :
		U64FromFullTransactionId(GetCurrentFullTransactionIdIfAny());
	request.transaction = &transaction;
	request.end = end;

	foreach(lc, level->channels)
		hallway_send(lfirst(lc), "EndTransaction", &request.base);
}

static void
append_count(StringInfo buf, uint64 count, const char *what)
{
	if (count == 0)
		return;
	if (buf->len > 0 && buf->data[buf->len - 1] != ':')
		appendStringInfoChar(buf, ',');
	appendStringInfo(buf, " " UINT64_FORMAT " %s", count, what);
}

/* Says which rows outlive the rollback, and which ones are being undone. */
static void
warn_after_rollback(WriteLevel *level, bool savepoint)
{
	warn_of_writes(level, savepoint, false);
	warn_of_writes(level, savepoint, true);
}

static void
warn_of_writes(WriteLevel *level, bool savepoint, bool compensate)
{
	StringInfoData detail;
	const char *what = savepoint ? "subtransaction" : "transaction";
	uint64		rows = 0;
	uint64		unknown = 0;
	ListCell   *lc;

	initStringInfo(&detail);
	foreach(lc, level->tables)
	{
		TableWrites *writes = lfirst(lc);
		const HallwayRowCounts *counts = &writes->rows;
		uint64		sum = counts->inserted + counts->updated + counts->deleted;

		if (writes->compensate != compensate || sum + writes->unknown == 0)
			continue;
		rows += sum;
		unknown += writes->unknown;

		if (detail.len > 0)
			appendStringInfoString(&detail, "; ");
		appendStringInfo(&detail, "%s:", writes->name);
		append_count(&detail, counts->inserted, "inserted");
		append_count(&detail, counts->updated, "updated");
		append_count(&detail, counts->deleted, "deleted");
		append_count(&detail, writes->unknown, "with unknown outcome");
	}

	if (detail.len > 0)
		appendStringInfoChar(&detail, '.');
	if (rows + unknown == 0)
		 /* nothing to say */ ;
	else if (compensate)
		ereport(WARNING,
				(errmsg_plural("%llu row written through Hallway is being undone in the API, as the %s was rolled back",
							   "%llu rows written through Hallway are being undone in the API, as the %s was rolled back",
							   (unsigned long) (rows + unknown),
							   (unsigned long long) (rows + unknown), what),
				 errdetail_internal("%s", detail.data),
				 errhint("hallway.my_writes() says what became of each.")));
	else if (rows > 0)
		ereport(WARNING,
				(errmsg_plural("%llu row written through Hallway stands in the API although the %s was rolled back",
							   "%llu rows written through Hallway stand in the API although the %s was rolled back",
							   (unsigned long) rows, (unsigned long long) rows, what),
				 errdetail_internal("%s", detail.data),
				 errhint("hallway.failures has what the journal knows of them. With the option on_rollback 'compensate' they are undone.")));
	else
		ereport(WARNING,
				(errmsg_plural("%llu row written through Hallway may stand in the API although the %s was rolled back",
							   "%llu rows written through Hallway may stand in the API although the %s was rolled back",
							   (unsigned long) unknown, (unsigned long long) unknown, what),
				 errdetail_internal("%s", detail.data),
				 errhint("hallway.failures says what to look for.")));
	pfree(detail.data);
}

static void
forget_transaction(void)
{
	/* The memory goes with TopTransactionContext. */
	hallway_commit_forget();
	innermost = NULL;
	top_xid = 0;
	first_answer = 0;
	told = NIL;
}
