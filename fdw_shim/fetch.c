/*-------------------------------------------------------------------------
 *
 * fetch.c
 *		One Scan RPC as a sequence of rows.
 *
 * Knows the order of messages (header, batches, footer) and can replay a small
 * result. Knows nothing of plans and executor nodes: ANALYZE uses it too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "hallway.h"

/* A result of one batch up to this size can be replayed. */
#define REWINDABLE_BYTES	(64 * 1024)

/* A column that PostgreSQL computes from others of the row. */
typedef struct GeneratedColumn
{
	AttrNumber	attnum;
	ExprState  *expr;
} GeneratedColumn;

struct HallwayFetch
{
	MemoryContext context;		/* holds all of this but the struct itself */
	Relation	rel;
	Oid			userid;
	Hallway__V1__ScanRequest *request;	/* the caller's */
	TupleDesc	groups;			/* what travels in place of rows; NULL: rows do */
	List	   *attnums;		/* that travel; no generated ones */
	List	   *generated;		/* of GeneratedColumn * */
	ExprContext *econtext;		/* to compute those; NULL if there are none */

	HallwayStream *stream;		/* NULL once ended */
	HallwayRowReader *reader;
	bool		in_batch;		/* the reader may have more rows */
	bool		ended;
	bool		tolerant;		/* HALLWAY_FETCH_FAILED rather than an ERROR */

	Hallway__V1__ScanHeader *header;
	Hallway__V1__ScanFooter *footer;
	Hallway__V1__ScanStats *progress;	/* the last one; NULL: none */

	/* The first batch, kept while it may be the only one; and one to read. */
	uint8	   *first;
	uint8	   *replay;
	size_t		first_len;
	uint32		first_rows;
	uint64		batches;
	uint64		received;		/* rows of all batches */
};

static HallwayFetch *open_fetch(Relation rel, Oid userid, Hallway__V1__ScanRequest *request,
								List *attnums, TupleDesc groups);
static void choose_columns(HallwayFetch *fetch, List *attnums);
static void compute_generated(HallwayFetch *fetch, TupleTableSlot *slot);
static void send_request(HallwayFetch *fetch);
static HallwayFetchStatus advance(HallwayFetch *fetch, bool wait);
static void take_message(HallwayFetch *fetch, const uint8 *data, size_t len);
static void take_batch(HallwayFetch *fetch, const uint8 *tuples, size_t len, uint32 rows);
pg_noreturn static void protocol_violation(HallwayFetch *fetch, const char *what);
static void *pb_alloc(void *context, size_t size);
static void pb_free(void *context, void *pointer);


HallwayFetch *
hallway_fetch_open(Relation rel, Oid userid, Hallway__V1__ScanRequest *request, List *attnums)
{
	return open_fetch(rel, userid, request, attnums, NULL);
}

HallwayFetch *
hallway_fetch_open_groups(Relation rel, Oid userid, Hallway__V1__ScanRequest *request,
						  TupleDesc groups)
{
	return open_fetch(rel, userid, request, NIL, groups);
}

static HallwayFetch *
open_fetch(Relation rel, Oid userid, Hallway__V1__ScanRequest *request, List *attnums,
		   TupleDesc groups)
{
	HallwayFetch *fetch = palloc0(sizeof(HallwayFetch));
	MemoryContext oldcontext;

	fetch->context = AllocSetContextCreate(CurrentMemoryContext,
										   "Hallway scan", ALLOCSET_DEFAULT_SIZES);
	fetch->rel = rel;
	fetch->userid = userid;
	fetch->request = request;
	fetch->groups = groups;

	oldcontext = MemoryContextSwitchTo(fetch->context);
	if (groups == NULL)
		choose_columns(fetch, attnums);
	send_request(fetch);
	for (int i = 0; groups != NULL && i < groups->natts; i++)
		fetch->attnums = lappend_int(fetch->attnums, i + 1);
	fetch->reader = hallway_reader_create(groups != NULL ? groups : RelationGetDescr(rel),
										  fetch->attnums);
	MemoryContextSwitchTo(oldcontext);

	return fetch;
}

void
hallway_fetch_tolerate(HallwayFetch *fetch)
{
	fetch->tolerant = true;
}

const Hallway__V1__Error *
hallway_fetch_error(HallwayFetch *fetch)
{
	return hallway_stream_error(fetch->stream);
}

HallwayFetchStatus
hallway_fetch_next(HallwayFetch *fetch, TupleTableSlot *slot, bool wait)
{
	for (;;)
	{
		HallwayFetchStatus status;

		if (fetch->in_batch)
		{
			if (hallway_reader_next(fetch->reader, slot))
			{
				if (fetch->generated != NIL)
					compute_generated(fetch, slot);
				return HALLWAY_FETCH_ROW;
			}
			fetch->in_batch = false;
		}

		status = advance(fetch, wait);
		if (status != HALLWAY_FETCH_ROW)
			return status;
	}
}

const Hallway__V1__ScanHeader *
hallway_fetch_header(HallwayFetch *fetch)
{
	while (fetch->header == NULL)
	{
		if (advance(fetch, true) == HALLWAY_FETCH_FAILED)
			hallway_throw(hallway_fetch_error(fetch), fetch->rel);
	}
	return fetch->header;
}

Hallway__V1__ScanHeader *
hallway_fetch_copy_header(HallwayFetch *fetch, MemoryContext context)
{
	const Hallway__V1__ScanHeader *header = hallway_fetch_header(fetch);
	ProtobufCAllocator allocator = {pb_alloc, pb_free, context};
	size_t		len = hallway__v1__scan_header__get_packed_size(header);
	uint8	   *packed = palloc(Max(len, 1));
	Hallway__V1__ScanHeader *copy;

	hallway__v1__scan_header__pack(header, packed);
	copy = hallway__v1__scan_header__unpack(&allocator, len, packed);
	pfree(packed);
	return copy;
}

const Hallway__V1__ScanFooter *
hallway_fetch_footer(const HallwayFetch *fetch)
{
	return fetch->footer;
}

const Hallway__V1__ScanStats *
hallway_fetch_stats(const HallwayFetch *fetch)
{
	return fetch->footer != NULL ? fetch->footer->stats : fetch->progress;
}

bool
hallway_fetch_rewindable(const HallwayFetch *fetch)
{
	return fetch->ended &&
		(fetch->batches == 0 || (fetch->batches == 1 && fetch->first != NULL));
}

bool
hallway_fetch_rewind(HallwayFetch *fetch)
{
	if (!hallway_fetch_rewindable(fetch))
		return false;
	if (fetch->batches == 1)
	{
		/* Reading changes the bytes in place. */
		if (fetch->replay == NULL)
			fetch->replay = MemoryContextAlloc(fetch->context, Max(fetch->first_len, 1));
		memcpy(fetch->replay, fetch->first, fetch->first_len);
		hallway_reader_batch(fetch->reader, fetch->replay, fetch->first_len, fetch->first_rows);
		fetch->in_batch = true;
	}
	return true;
}

bool
hallway_fetch_ready(HallwayFetch *fetch)
{
	return fetch->in_batch || fetch->ended || hallway_stream_ready(fetch->stream);
}

bool
hallway_fetch_unsent(HallwayFetch *fetch)
{
	return fetch->stream != NULL && hallway_stream_unsent(fetch->stream);
}

pgsocket
hallway_fetch_socket(HallwayFetch *fetch)
{
	return fetch->stream == NULL ? PGINVALID_SOCKET : hallway_stream_socket(fetch->stream);
}

void
hallway_fetch_close(HallwayFetch *fetch)
{
	if (fetch == NULL)
		return;
	hallway_stream_close(fetch->stream);
	if (fetch->econtext != NULL)
		FreeExprContext(fetch->econtext, true);
	MemoryContextDelete(fetch->context);
	pfree(fetch);
}

/*
 * An API has no generated columns: instead of those among attnums, the columns
 * they are computed from are asked for.
 */
static void
choose_columns(HallwayFetch *fetch, List *attnums)
{
	TupleDesc	desc = RelationGetDescr(fetch->rel);
	ListCell   *lc;

	fetch->attnums = hallway_fetched_attnums(fetch->rel, attnums);
	foreach(lc, attnums)
	{
		AttrNumber	attnum = lfirst_int(lc);
		GeneratedColumn *generated;
		Expr	   *expr;

		if (TupleDescAttr(desc, attnum - 1)->attgenerated != ATTRIBUTE_GENERATED_STORED)
			continue;
		expr = (Expr *) build_column_default(fetch->rel, attnum);
		generated = palloc(sizeof(GeneratedColumn));
		generated->attnum = attnum;
		generated->expr = ExecInitExpr(expression_planner(expr), NULL);
		fetch->generated = lappend(fetch->generated, generated);
	}
	if (fetch->generated != NIL)
		fetch->econtext = CreateStandaloneExprContext();
}

List *
hallway_fetched_attnums(Relation rel, List *attnums)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *result = NIL;
	ListCell   *lc;

	if (desc->constr == NULL)
		return list_copy(attnums);

	foreach(lc, attnums)
	{
		AttrNumber	attnum = lfirst_int(lc);
		Bitmapset  *inputs = NULL;
		int			col = -1;

		if (!TupleDescAttr(desc, attnum - 1)->attgenerated)
		{
			result = list_append_unique_int(result, attnum);
			continue;
		}

		/* Virtual ones (18 and later) are computed where they are used. */
		if (TupleDescAttr(desc, attnum - 1)->attgenerated != ATTRIBUTE_GENERATED_STORED)
			continue;

		pull_varattnos(build_column_default(rel, attnum), 1, &inputs);
		while ((col = bms_next_member(inputs, col)) >= 0)
		{
			AttrNumber	input = col + FirstLowInvalidHeapAttributeNumber;

			if (input > 0)		/* tableoid needs no asking */
				result = list_append_unique_int(result, input);
		}
	}
	return result;
}

/* Fills them in; the values last until the next row. */
static void
compute_generated(HallwayFetch *fetch, TupleTableSlot *slot)
{
	ListCell   *lc;

	ResetExprContext(fetch->econtext);
	fetch->econtext->ecxt_scantuple = slot;
	slot->tts_tableOid = RelationGetRelid(fetch->rel);
	foreach(lc, fetch->generated)
	{
		GeneratedColumn *generated = lfirst(lc);
		int			i = generated->attnum - 1;

		slot->tts_values[i] = ExecEvalExprSwitchContext(generated->expr, fetch->econtext,
														&slot->tts_isnull[i]);
	}
}

/* The relation is looked up here: what is known of it may have changed. */
static void
send_request(HallwayFetch *fetch)
{
	Hallway__V1__ScanRequest *request = fetch->request;
	HallwayRelation *relation = hallway_relation(RelationGetRelid(fetch->rel), fetch->userid);
	ListCell   *lc;

	request->columns = palloc(sizeof(uint32) * Max(list_length(fetch->attnums), 1));
	request->n_columns = 0;
	foreach(lc, fetch->attnums)
	{
		int			column = relation->columns[lfirst_int(lc) - 1];

		if (column < 0)
			elog(ERROR, "column %d of foreign table \"%s\" cannot be fetched",
				 lfirst_int(lc), RelationGetRelationName(fetch->rel));
		request->columns[request->n_columns++] = column;
	}
	fetch->stream = hallway_relation_scan(relation, request);
}

/*
 * Takes messages until there is a batch (HALLWAY_FETCH_ROW), the stream has
 * ended, or the next one would have to be waited for.
 */
static HallwayFetchStatus
advance(HallwayFetch *fetch, bool wait)
{
	while (!fetch->ended)
	{
		const uint8 *data;
		size_t		len;

		switch (hallway_stream_next(fetch->stream, wait, &data, &len))
		{
			case HALLWAY_STREAM_MESSAGE:
				take_message(fetch, data, len);
				if (fetch->in_batch)
					return HALLWAY_FETCH_ROW;
				break;

			case HALLWAY_STREAM_WAIT:
				return HALLWAY_FETCH_WAIT;

			case HALLWAY_STREAM_END:
				/* The header is all that an explain_only request is answered with. */
				if (fetch->footer == NULL && !(fetch->request->explain_only && fetch->header != NULL))
					ereport(ERROR,
							(errcode(ERRCODE_CONNECTION_FAILURE),
							 errmsg("the scan of foreign table \"%s\" ended early",
									RelationGetRelationName(fetch->rel)),
							 errdetail("The sidecar closed the stream without saying that all rows were sent.")));
				hallway_stream_close(fetch->stream);
				fetch->stream = NULL;
				fetch->ended = true;
				if (fetch->footer != NULL)
				{
					for (size_t i = 0; i < fetch->footer->n_warnings; i++)
						hallway_warn(fetch->footer->warnings[i]);
				}
				break;

			case HALLWAY_STREAM_ERROR:
				if (fetch->tolerant && fetch->received == 0)
					return HALLWAY_FETCH_FAILED;
				hallway_throw(hallway_stream_error(fetch->stream), fetch->rel);
		}
	}
	return HALLWAY_FETCH_END;
}

static void
take_message(HallwayFetch *fetch, const uint8 *data, size_t len)
{
	HallwayScanMessage message;
	MemoryContext oldcontext;

	if (fetch->footer != NULL)
		protocol_violation(fetch, "a message after the footer");

	oldcontext = MemoryContextSwitchTo(fetch->context);
	hallway_scan_message(data, len, &message);
	MemoryContextSwitchTo(oldcontext);

	if (message.header != NULL)
	{
		if (fetch->header != NULL)
			protocol_violation(fetch, "a second header");
		fetch->header = message.header;
		for (size_t i = 0; i < fetch->header->n_warnings; i++)
			hallway_warn(fetch->header->warnings[i]);
	}
	else if (fetch->header == NULL)
		protocol_violation(fetch, "something else before the header");
	else if (message.footer != NULL)
		fetch->footer = message.footer;
	else if (message.progress != NULL)
	{
		if (fetch->progress != NULL)
			pfree(fetch->progress);
		fetch->progress = message.progress;
	}
	else
		take_batch(fetch, message.tuples, message.len, message.rows);
}

static void
take_batch(HallwayFetch *fetch, const uint8 *tuples, size_t len, uint32 rows)
{
	fetch->batches++;
	fetch->received += rows;
	if (fetch->progress != NULL)
		fetch->progress->rows = Max(fetch->progress->rows, fetch->received);
	if (fetch->batches == 1 && len <= REWINDABLE_BYTES)
	{
		fetch->first = MemoryContextAlloc(fetch->context, Max(len, 1));
		memcpy(fetch->first, tuples, len);
		fetch->first_len = len;
		fetch->first_rows = rows;
	}
	else if (fetch->first != NULL)
	{
		pfree(fetch->first);
		fetch->first = NULL;
	}

	hallway_reader_batch(fetch->reader, tuples, len, rows);
	fetch->in_batch = true;
}

static void
protocol_violation(HallwayFetch *fetch, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the sidecar sent %s during the scan of foreign table \"%s\"",
					what, RelationGetRelationName(fetch->rel))));
}

static void *
pb_alloc(void *context, size_t size)
{
	/* protobuf-c holds no resources that an ereport through it would lose. */
	return MemoryContextAlloc((MemoryContext) context, Max(size, 1));
}

static void
pb_free(void *context, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}
