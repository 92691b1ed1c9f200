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

#include "compat.h"
#include "hallway.h"

/* Writes to one table within one (sub)transaction. */
typedef struct TableWrites
{
	char		name[NAMEDATALEN];
	uint64		inserted;
	uint64		updated;
	uint64		deleted;
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
} WriteLevel;

/* Innermost level that wrote; NULL: this transaction wrote nothing. */
static WriteLevel *innermost = NULL;

/* The transaction's own full id; set with the first write. */
static uint64 top_xid = 0;

/* Relations of which hallway_xact_first() was asked in this transaction. */
static List *told = NIL;

static void on_xact_event(XactEvent event, void *arg);
static void on_subxact_event(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);
static WriteLevel *current_level(void);
static TableWrites *table_writes(WriteLevel *level, const char *name);
static void merge_level(WriteLevel *from, WriteLevel *into);
static void send_end(WriteLevel *level, Hallway__V1__TransactionEnd end, bool whole);
static void warn_writes_stand(WriteLevel *level, bool savepoint);
static void forget_transaction(void);


void
hallway_xact_init(void)
{
	RegisterXactCallback(on_xact_event, NULL);
	RegisterSubXactCallback(on_subxact_event, NULL);
}

void
hallway_xact_begin_write(HallwayChannel *channel, Relation rel, Hallway__V1__Transaction *out)
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

	/* Until the answer says otherwise, as after a cancel it never does. */
	table_writes(level, RelationGetRelationName(rel))->unknown++;

	out->xid = top_xid;
	out->subxid = U64FromFullTransactionId(subxid);
}

void
hallway_xact_end_write(Relation rel, CmdType operation, uint64 rows)
{
	TableWrites *writes = table_writes(current_level(), RelationGetRelationName(rel));

	writes->unknown--;
	switch (operation)
	{
		case CMD_INSERT:
			writes->inserted += rows;
			break;
		case CMD_UPDATE:
			writes->updated += rows;
			break;
		default:
			writes->deleted += rows;
			break;
	}
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
 * Nothing here may fail: an ERROR while committing is a PANIC of the whole
 * cluster. So messages are sent without waiting, and the sidecar finds out by
 * the xid when one did not arrive.
 */
static void
on_xact_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (innermost != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has written through Hallway"),
						 errdetail("What was written stands in the API already, and cannot wait for COMMIT PREPARED."),
						 errhint("End the transaction with COMMIT or ROLLBACK.")));
			break;

		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			send_end(innermost, HALLWAY__V1__TRANSACTION_END__TRANSACTION_END_COMMIT, true);
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
				warn_writes_stand(innermost, false);
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
		warn_writes_stand(level, true);
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
table_writes(WriteLevel *level, const char *name)
{
	ListCell   *lc;
	TableWrites *writes;
	MemoryContext oldcontext;

	foreach(lc, level->tables)
	{
		writes = lfirst(lc);
		if (strcmp(writes->name, name) == 0)
			return writes;
	}

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	writes = palloc0(sizeof(TableWrites));
	strlcpy(writes->name, name, NAMEDATALEN);
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
		TableWrites *sum = table_writes(into, writes->name);

		sum->inserted += writes->inserted;
		sum->updated += writes->updated;
		sum->deleted += writes->deleted;
		sum->unknown += writes->unknown;
	}

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	into->channels = list_concat_unique_ptr(into->channels, from->channels);
	MemoryContextSwitchTo(oldcontext);
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

/* Says which rows outlive the rollback. */
static void
warn_writes_stand(WriteLevel *level, bool savepoint)
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

		if (writes->inserted + writes->updated + writes->deleted + writes->unknown == 0)
			continue;
		rows += writes->inserted + writes->updated + writes->deleted;
		unknown += writes->unknown;

		if (detail.len > 0)
			appendStringInfoString(&detail, "; ");
		appendStringInfo(&detail, "%s:", writes->name);
		append_count(&detail, writes->inserted, "inserted");
		append_count(&detail, writes->updated, "updated");
		append_count(&detail, writes->deleted, "deleted");
		append_count(&detail, writes->unknown, "with unknown outcome");
	}

	if (detail.len > 0)
		appendStringInfoChar(&detail, '.');
	if (rows > 0)
		ereport(WARNING,
				(errmsg_plural("%llu row written through Hallway stands in the API although the %s was rolled back",
							   "%llu rows written through Hallway stand in the API although the %s was rolled back",
							   (unsigned long) rows, (unsigned long long) rows, what),
				 errdetail_internal("%s", detail.data)));
	else if (unknown > 0)
		ereport(WARNING,
				(errmsg_plural("%llu row written through Hallway may stand in the API although the %s was rolled back",
							   "%llu rows written through Hallway may stand in the API although the %s was rolled back",
							   (unsigned long) unknown, (unsigned long long) unknown, what),
				 errdetail_internal("%s", detail.data)));
	pfree(detail.data);
}

static void
forget_transaction(void)
{
	/* The memory goes with TopTransactionContext. */
	innermost = NULL;
	top_xid = 0;
	told = NIL;
}
