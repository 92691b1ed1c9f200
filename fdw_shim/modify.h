/*-------------------------------------------------------------------------
 *
 * modify.h
 *		What planning and execution of writes share, and nobody else needs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HALLWAY_MODIFY_H
#define HALLWAY_MODIFY_H

#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "utils/hsearch.h"

#include "hallway.h"

struct CopyFromStateData;

/* ---- modify_plan.c ------------------------------------------------------ */

/* Attribute numbers of the key, in the object's order; NIL: it has none. */
extern List *hallway_key_attnums(const HallwayRelation *relation);
/* Those that the API sets itself. */
extern Bitmapset *hallway_read_only_attnums(const HallwayRelation *relation);
/* All that an API can know: without those that PostgreSQL computes. */
extern List *hallway_sent_columns(Relation rel);
/* Under which name the plan's rows carry a key column. */
extern char *hallway_key_junk_name(Relation rel, AttrNumber attnum);
pg_noreturn extern void hallway_refuse_read_only(Relation rel, AttrNumber attnum);

/* ---- modify_policy.c ---------------------------------------------------- */

/* How a table is written: the session's settings, its options, its server's. */
typedef struct HallwayWritePolicy
{
	HallwayWriteAt write_at;	/* never AUTO */
	bool		compensate;
	bool		journal;
	bool		journal_values;
	bool		dry_run;
	int			batch_size;		/* 0: what the API takes */
	List	   *upsert_key;		/* attnums; NIL: INSERT inserts */
	AttrNumber	delete_column;	/* 0: DELETE deletes */
	Datum		delete_value;	/* of that column, never NULL */
} HallwayWritePolicy;

/* In the current memory context. ERROR if an option does not fit the table. */
extern void hallway_write_policy(Relation rel, HallwayWritePolicy *out);
/* ERROR if the policy cannot be kept for what the statement does. */
extern void hallway_check_policy(const HallwayWritePolicy *policy, Relation rel,
								 CmdType command, bool returning);
/* Rows that one Modify of this command has at most, at least 1. */
extern int	hallway_batch_rows(const HallwayWritePolicy *policy,
							   const HallwayRelation *relation, CmdType command);

/* Bytes of rows that are enough for one Modify, however few they are. */
#define HALLWAY_BATCH_BYTES		(4 * 1024 * 1024)

/* ---- modify_send.c ------------------------------------------------------ */

/* What a write was and took, for EXPLAIN ANALYZE. */
typedef struct HallwayWriteStats
{
	uint64		requests;		/* Modify calls */
	uint64		calls;			/* of the API */
	uint64		rows;			/* sent */
	uint64		created;		/* of an upsert */
	uint64		unchanged;		/* not written, as the API had them so */
	uint64		queued;			/* left to the commit */
} HallwayWriteStats;

/* All of a write but its rows. */
typedef struct HallwayWriteTarget
{
	Oid			relid;
	Oid			userid;
	CmdType		command;		/* as it counts: a DELETE may be an UPDATE */
	Hallway__V1__Operation operation;
	List	   *keys;			/* attnums, in each tuple before the columns */
	List	   *columns;		/* attnums */
	List	   *match;			/* attnums; UPSERT */
	List	   *returning;		/* attnums; one row only */
	Bitmapset  *given;			/* attnums that errors may quote values of */
	bool		do_nothing;		/* rows that are duplicates are passed over */
	bool		part;			/* of a statement that writes other tables, too */
	bool		compensate;
	bool		journal;
	bool		journal_values;
	bool		after_commit;
	bool		skip_unchanged;
	bool		dry_run;
} HallwayWriteTarget;

/* Rows of one target as they are sent together. */
typedef struct HallwayWrite
{
	HallwayWriteTarget target;
	const uint8 *tuples;
	size_t		len;
	uint32		rows;
	const uint64 *numbers;		/* of each in the statement, from 1 */
	bool		several;		/* the statement has, or may have, other rows */
} HallwayWrite;

/* What came of it, in the memory context of the call. */
typedef struct HallwayWriteResult
{
	bool	   *skipped;		/* by row: not written, and not counted */
	uint32		nskipped;
	bool		created;		/* of the last applied row, for an UPSERT */
	const uint8 *tuples;		/* one of target.returning for each applied row */
	size_t		len;
	bool		answered;		/* false: not sent (yet), so tuples is empty */
} HallwayWriteResult;

/*
 * Who is told in which row of the write an error is before it is raised, or NULL.
 */
typedef void (*HallwayRowHook) (void *arg, uint32 row);

/*
 * Has the API write the rows. What it refuses is an ERROR that says which row it
 * was; so is an answer that cannot be understood, and no answer. Allocates in the
 * current memory context.
 */
extern void hallway_write_send(const HallwayWrite *write, Relation rel,
							   HallwayRowHook hook, void *arg,
							   HallwayWriteResult *result, HallwayWriteStats *stats);

/* ---- modify_refused.c --------------------------------------------------- */

/*
 * Raises the error, which is that of one row of the write, or of all if row is
 * negative. retry_helps: nothing has been applied in this transaction, so that a
 * conflict may go away if it is run once more.
 */
pg_noreturn extern void hallway_throw_refused(const HallwayWrite *write, Relation rel,
											  int64 row, const Hallway__V1__Error *error,
											  bool retry_helps);

/* ---- modify_commit.c ---------------------------------------------------- */

/* Keeps a copy of the rows until the transaction commits. */
extern void hallway_commit_queue(const HallwayWrite *write, int max_rows);
/* Sends what is kept; then nothing is. Before the commit of the transaction. */
extern void hallway_commit_flush(void);
/* Whether anything is kept. */
extern bool hallway_commit_pending(void);
/* A subtransaction that ended: its rows go, or become its parent's. */
extern void hallway_commit_abort_sub(SubTransactionId subid);
extern void hallway_commit_release_sub(SubTransactionId subid, SubTransactionId parent);
/* The transaction has ended; the memory goes with it. */
extern void hallway_commit_forget(void);

/* ---- modify_queue.c ----------------------------------------------------- */

/* Rows on their way: of one operation, with the same columns. */
typedef struct HallwayBatch
{
	HallwayWriteTarget target;
	HallwayRowWriter *writer;
	uint32		rows;
	uint32		room;			/* in numbers and lines */
	uint64	   *numbers;		/* of each row in the statement */
	uint64	   *lines;			/* in COPY's input, or 0 */
} HallwayBatch;

/* A foreign table that a statement writes to. */
typedef struct HallwayModifyState
{
	HallwayModifyPlan plan;
	HallwayWritePolicy policy;
	Relation	rel;
	Oid			userid;
	ModifyTableState *mtstate;	/* operation: UPDATE, when rows move here */
	MemoryContext own;			/* where this is */
	MemoryContext context;		/* of one row */
	MemoryContext call;			/* of one Modify */
	Bitmapset  *given;			/* attnums of plan.columns */
	Bitmapset  *read_only;		/* attnums that the API does not take */
	Bitmapset  *left_out;		/* attnums that are not sent if they are NULL */
	AttrNumber *key_junk;		/* where the plan's slot has the keys */
	AttrNumber	wholerow_junk;	/* and the old row; 0: it has not */
	bool		stale_reads;	/* rows to update may come from the cache */
	HTAB	   *touched;		/* keys of rows written so far; NULL: none */
	HallwayRowWriter *key_writer;
	HallwayRowReader *reader;	/* of answers; NULL: none wanted */
	TupleTableSlot *answer;
	uint64		rows;			/* handed over so far */
	int			max_rows;		/* of one Modify, at least 1 */
	bool		decided;		/* whether rows wait, below */
	bool		queueing;		/* rows wait for others */
	List	   *batches;		/* of HallwayBatch *, with room for rows */
	struct CopyFromStateData *copy; /* NULL: no COPY, or not to be found */
	bool		listed;			/* in the list of those with rows waiting */
	dlist_node	node;
	HallwayWriteStats stats;
} HallwayModifyState;

/* How the API dealt with a row. */
typedef enum HallwayOutcome
{
	OUTCOME_APPLIED,			/* or will be */
	OUTCOME_NO_ROW,				/* gone, or a duplicate that may be one */
} HallwayOutcome;

/*
 * The row to the API: now, or with others. With planSlot comes the key of a row
 * to update or delete. What was asked back is in state->answer, or that is empty.
 */
extern HallwayOutcome hallway_queue_row(HallwayModifyState *state, ResultRelInfo *rinfo,
										CmdType command, List *columns,
										TupleTableSlot *slot, TupleTableSlot *planSlot);
/* Sends all that waits. */
extern void hallway_queue_flush(HallwayModifyState *state);
/* The batch for a row of these columns, which has room; others may be sent. */
extern HallwayBatch *hallway_queue_batch(HallwayModifyState *state, ResultRelInfo *rinfo,
										 CmdType command, List *columns);
extern bool hallway_queue_full(const HallwayModifyState *state, const HallwayBatch *batch);
extern void hallway_queue_encode(HallwayModifyState *state, HallwayBatch *batch,
								 TupleTableSlot *slot, TupleTableSlot *planSlot);
/* Sends the batch, which is empty then; the result lasts until the next call. */
extern void hallway_queue_send(HallwayModifyState *state, HallwayBatch *batch,
							   HallwayWriteResult *result);
/* Whether somebody looks at each row when it is written. */
extern bool hallway_queue_seen(const HallwayModifyState *state, const ResultRelInfo *rinfo,
							   CmdType command);
/* Whether a COPY's end would come too late for what waits. */
extern bool hallway_queue_copy_late(const HallwayModifyState *state);

/* ---- modify.c: for RETURNING ---------------------------------------------- */

/* What hallway.was_created() is to say of the row that was just inserted. */
extern void hallway_set_created(bool known, bool created);

/* ---- modify_row.c ------------------------------------------------------- */

extern List *hallway_columns_to_insert(HallwayModifyState *state, TupleTableSlot *slot);
extern List *hallway_columns_to_update(HallwayModifyState *state, ResultRelInfo *rinfo,
									   TupleTableSlot *slot);
/* All that PostgreSQL can refuse, before the API is asked. */
extern void hallway_check_row(HallwayModifyState *state, EState *estate,
							  ResultRelInfo *rinfo, CmdType operation,
							  TupleTableSlot *slot);
extern void hallway_check_transition_tables(HallwayModifyState *state, CmdType operation);
/* Values that identify a row, encoded. */
typedef struct HallwayKey
{
	const uint8 *data;
	size_t		len;
} HallwayKey;

/* An empty table of HallwayKeys, in the context. It keeps what data points to. */
extern HTAB *hallway_key_table(MemoryContext context);
/* True if this statement has written the row before. */
extern bool hallway_touched_before(HallwayModifyState *state, TupleTableSlot *planSlot);
/* Adds the row's key to the writer. */
extern void hallway_encode_key(HallwayModifyState *state, HallwayRowWriter *writer,
							   TupleTableSlot *planSlot);
/* Makes the slot what the API says the row is now. */
extern void hallway_take_answer(HallwayModifyState *state, EState *estate,
								ResultRelInfo *rinfo, CmdType operation,
								TupleTableSlot *slot);

#endif							/* HALLWAY_MODIFY_H */
