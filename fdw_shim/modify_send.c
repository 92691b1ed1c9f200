/*-------------------------------------------------------------------------
 *
 * modify_send.c
 *		The Modify RPC: rows go out, and each one's outcome comes back.
 *
 * Nothing here knows how rows were put together. What the API refuses is raised
 * as the error of the first row that is to blame; the transaction is told what
 * was applied before that happens.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"
#include "hallway.h"
#include "modify.h"

/* Hexadecimal digits of an idempotency key. */
#define IDEMPOTENCY_KEY_LEN		32

/* Keys whose bytes are drawn at a time: most of the work is in the asking. */
#define KEYS_DRAWN				64

/* One call in progress: some rows of a write. */
typedef struct Sending
{
	const HallwayWrite *write;
	Relation	rel;
	HallwayRowHook hook;
	void	   *arg;
	HallwayWriteResult *result;
	HallwayWriteStats *stats;
	const uint8 *tuples;
	size_t		len;
	uint32		rows;
	uint32	   *at;				/* of each, its place in write; NULL: the same */
	uint8	   *kept;			/* where tuples are, if not in write; NULL: there */
} Sending;

static const uint8 *next_part(const HallwayWrite *write, uint32 first,
							  const uint8 *tuples, uint32 *rows);
static HallwayKey match_key(const HallwayWriteTarget *target, const uint8 *tuple);
static uint32 send_rows(Sending *sending);
static Hallway__V1__ModifyResponse *call(Sending *sending, Hallway__V1__Error **error);
static void show_requests(const Hallway__V1__ModifyResponse *response);
static void check_response(Sending *sending, const Hallway__V1__ModifyResponse *response);
static void count_rows(Sending *sending, const Hallway__V1__ModifyResponse *response,
					   HallwayRowCounts *counts);
static bool is_duplicate(const HallwayWrite *write, const Hallway__V1__Error *error);
static void keep_unjudged(Sending *sending, const Hallway__V1__ModifyResponse *response);
static const uint8 *tuple_end(const uint8 *tuple, const uint8 *end);
pg_noreturn static void throw_for_row(Sending *sending, uint32 row,
									  const Hallway__V1__Error *error, bool retry_helps);
pg_noreturn static void throw_not_understood(Relation rel, const char *why);
static bool outcome_unknown(const Hallway__V1__Error *error);
static uint32 *column_indexes(const HallwayRelation *relation, List *attnums, size_t *n);
static char *new_idempotency_key(void);


void
hallway_write_send(const HallwayWrite *write, Relation rel,
				   HallwayRowHook hook, void *arg,
				   HallwayWriteResult *result, HallwayWriteStats *stats)
{
	Sending		sending = {.write = write,.rel = rel,.hook = hook,.arg = arg,
	.result = result,.stats = stats,.tuples = write->tuples};
	uint32		sent = 0;

	memset(result, 0, sizeof(*result));
	result->skipped = palloc0(sizeof(bool) * write->rows);

	while (sent < write->rows)
	{
		const uint8 *next = next_part(write, sent, sending.tuples, &sending.rows);

		sending.len = next - sending.tuples;
		sending.at = NULL;
		if (sent > 0)
		{
			sending.at = palloc(sizeof(uint32) * sending.rows);
			for (uint32 i = 0; i < sending.rows; i++)
				sending.at[i] = sent + i;
		}
		sent += sending.rows;

		/* Each round settles the row that was in the way of the others. */
		while (send_rows(&sending) > 0)
			CHECK_FOR_INTERRUPTS();
		sending.tuples = next;
	}
}

/*
 * How many of the write's rows, of which first is the number of the one at tuples,
 * go together: where it ends. For an UPSERT, up to one that finds the same row as
 * another before it: each is to update what the one before has made.
 */
static const uint8 *
next_part(const HallwayWrite *write, uint32 first, const uint8 *tuples, uint32 *rows)
{
	const HallwayWriteTarget *target = &write->target;
	const uint8 *end = write->tuples + write->len;
	HTAB	   *seen;

	*rows = write->rows - first;
	if (target->operation != HALLWAY__V1__OPERATION__OPERATION_UPSERT || *rows <= 1)
		return end;

	seen = hallway_key_table(CurrentMemoryContext);
	for (uint32 i = 0; i < *rows; i++)
	{
		HallwayKey	key = match_key(target, tuples);
		bool		found;

		(void) hash_search(seen, &key, HASH_ENTER, &found);
		if (found)
			*rows = i;
		else
			tuples = tuple_end(tuples, end);
	}
	hash_destroy(seen);
	return tuples;
}

/* The values of an UPSERT's match columns in a tuple, which has columns alone. */
static HallwayKey
match_key(const HallwayWriteTarget *target, const uint8 *tuple)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	tuple += 2;
	foreach(lc, target->columns)
	{
		uint32		len;

		memcpy(&len, tuple, 4);
		len = pg_ntoh32(len);
		len = 4 + (len == PG_UINT32_MAX ? 0 : len);
		if (list_member_int(target->match, lfirst_int(lc)))
			appendBinaryStringInfo(&buf, (const char *) tuple, len);
		tuple += len;
	}
	return (HallwayKey) {.data = (uint8 *) buf.data,.len = buf.len};
}

/* Sends, and returns how many rows are left to be sent again. */
static uint32
send_rows(Sending *sending)
{
	const HallwayWriteTarget *target = &sending->write->target;
	HallwayWriteResult *result = sending->result;
	bool		first = !hallway_xact_wrote();
	Hallway__V1__Error *error = NULL;
	Hallway__V1__ModifyResponse *response = call(sending, &error);
	HallwayRowCounts counts = {0};
	uint32		bystanders = 0;
	uint32		unsent = 0;
	uint32		settled = 0;
	int64		bystander = -1;

	if (target->dry_run)
	{
		if (response == NULL)
			throw_for_row(sending, sending->rows, error, false);
		show_requests(response);
		return 0;
	}

	/* Without an outcome that can be understood, the rows stand there perhaps. */
	if (response == NULL && error != NULL && outcome_unknown(error))
		throw_for_row(sending, sending->rows == 1 ? 0 : sending->rows, error, false);
	if (response != NULL)
	{
		check_response(sending, response);
		count_rows(sending, response, &counts);
	}
	hallway_xact_end_write(sending->rel, target->after_commit ? 0 : sending->rows,
						   target->compensate, &counts);

	if (response == NULL)
	{
		if (sending->rows == 1 && is_duplicate(sending->write, error))
		{
			result->skipped[sending->at != NULL ? sending->at[0] : 0] = true;
			result->nskipped++;
			return 0;
		}
		throw_for_row(sending, sending->rows == 1 ? 0 : sending->rows, error, first);
	}

	for (size_t i = 0; i < response->n_warnings; i++)
		hallway_warn(response->warnings[i]);

	for (uint32 i = 0; i < sending->rows; i++)
	{
		const Hallway__V1__RowResult *row = response->results[i];

		switch (row->outcome)
		{
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED:
				result->created = row->created ||
					target->operation == HALLWAY__V1__OPERATION__OPERATION_INSERT;
				settled++;
				continue;
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_FOUND:
				break;
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_SENT:
				unsent++;
				continue;
			default:
				if (row->bystander)
				{
					bystanders++;
					if (bystander < 0)
						bystander = i;
					continue;
				}
				if (!is_duplicate(sending->write, row->error))
					throw_for_row(sending, i, row->error,
								  first && !hallway_xact_wrote());
				break;
		}
		settled++;
		result->skipped[sending->at != NULL ? sending->at[i] : i] = true;
		result->nskipped++;
	}

	/* Without a culprit, or if a round brings nothing: better that than for ever. */
	if (bystanders > 0 && (settled == 0 || !target->do_nothing))
		throw_for_row(sending, (uint32) bystander, response->results[bystander]->error, false);
	if (unsent > 0 && settled == 0)
		throw_not_understood(sending->rel, "it has sent none of the rows");
	sending->stats->rows -= unsent;
	if (bystanders + unsent > 0)
		keep_unjudged(sending, response);

	result->answered = true;
	result->tuples = response->tuples.data;
	result->len = response->tuples.len;
	return bystanders + unsent;
}

static Hallway__V1__ModifyResponse *
call(Sending *sending, Hallway__V1__Error **error)
{
	const HallwayWrite *write = sending->write;
	const HallwayWriteTarget *target = &write->target;
	Hallway__V1__ModifyRequest request = HALLWAY__V1__MODIFY_REQUEST__INIT;
	Hallway__V1__Transaction transaction = HALLWAY__V1__TRANSACTION__INIT;
	HallwayRelation *relation = hallway_relation(target->relid, target->userid);
	Hallway__V1__ModifyResponse *response;
	bool		consecutive = true;

	request.operation = target->operation;
	request.key_columns = column_indexes(relation, target->keys, &request.n_key_columns);
	request.columns = column_indexes(relation, target->columns, &request.n_columns);
	request.match_columns = column_indexes(relation, target->match, &request.n_match_columns);
	request.returning = column_indexes(relation, target->returning, &request.n_returning);
	request.tuples.data = (uint8 *) sending->tuples;
	request.tuples.len = sending->len;
	request.rows = sending->rows;
	request.idempotency_key = new_idempotency_key();
	request.dry_run = target->dry_run;
	request.on_rollback = target->compensate ?
		HALLWAY__V1__ON_ROLLBACK__ON_ROLLBACK_COMPENSATE :
		HALLWAY__V1__ON_ROLLBACK__ON_ROLLBACK_KEEP;
	request.after_commit = target->after_commit;
	request.unjournaled = !target->journal;
	request.values_unjournaled = !target->journal_values;
	request.skip_unchanged = target->skip_unchanged;

	request.row_numbers = palloc(sizeof(uint64_t) * sending->rows);
	for (uint32 i = 0; i < sending->rows; i++)
	{
		request.row_numbers[i] = write->numbers[sending->at != NULL ? sending->at[i] : i];
		consecutive = consecutive && request.row_numbers[i] == request.row_numbers[0] + i;
	}
	request.rows_before = request.row_numbers[0] - 1;
	request.statement = hallway_statement_number();
	request.n_row_numbers = consecutive ? 0 : sending->rows;

	if (!target->dry_run)
	{
		request.transaction = &transaction;
		request.committed = hallway_channel_take_committed(relation->channel);
		hallway_xact_begin_write(relation->channel, sending->rel,
								 target->after_commit ? 0 : sending->rows,
								 target->compensate, &transaction);
	}
	sending->stats->requests++;
	sending->stats->rows += sending->rows;

	response = (Hallway__V1__ModifyResponse *)
		hallway_relation_call(relation, "Modify", &request.base, &request.relation,
							  &hallway__v1__modify_response__descriptor, true, error);
	if (response != NULL)
	{
		hallway_note_write(relation, response->write_number);
		sending->stats->calls += response->calls;
	}
	return response;
}

static void
show_requests(const Hallway__V1__ModifyResponse *response)
{
	for (size_t i = 0; i < response->n_requests; i++)
		ereport(NOTICE,
				(errmsg("not sent, as hallway.dry_run is on: %s",
						hallway_server_text(response->requests[i]))));
}

/* Before hallway_xact_end_write(), so that the rows count as ones that may stand. */
static void
check_response(Sending *sending, const Hallway__V1__ModifyResponse *response)
{
	if (response->n_results != sending->rows)
		throw_not_understood(sending->rel,
							 psprintf("it has %zu results for %u rows",
									  response->n_results, sending->rows));
	for (size_t i = 0; i < response->n_results; i++)
	{
		switch (response->results[i]->outcome)
		{
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED:
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_FOUND:
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_SENT:
				break;
			case HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_REFUSED:
				if (response->results[i]->error != NULL)
					break;
				/* FALLTHROUGH */
			default:
				throw_not_understood(sending->rel, "it does not say what became of each row");
		}
	}
}

static void
count_rows(Sending *sending, const Hallway__V1__ModifyResponse *response,
		   HallwayRowCounts *counts)
{
	const HallwayWriteTarget *target = &sending->write->target;

	for (size_t i = 0; i < response->n_results; i++)
	{
		const Hallway__V1__RowResult *row = response->results[i];

		if (row->outcome != HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_APPLIED)
			continue;
		if (row->unchanged)
		{
			sending->stats->unchanged++;
			continue;
		}
		if (row->created)
			sending->stats->created++;

		/* Nothing is in the API before the commit. */
		if (target->after_commit)
			continue;
		if (target->command == CMD_DELETE)
			counts->deleted++;
		else if (row->created ||
				 target->operation == HALLWAY__V1__OPERATION__OPERATION_INSERT)
			counts->inserted++;
		else
			counts->updated++;
	}
}

/* A refusal that ON CONFLICT DO NOTHING passes over. */
static bool
is_duplicate(const HallwayWrite *write, const Hallway__V1__Error *error)
{
	return write->target.do_nothing && strcmp(error->sqlstate, "23505") == 0;
}

/* Leaves those rows of the write that were not judged. */
static void
keep_unjudged(Sending *sending, const Hallway__V1__ModifyResponse *response)
{
	const uint8 *tuple = sending->tuples;
	const uint8 *end = tuple + sending->len;
	uint32	   *at = palloc(sizeof(uint32) * sending->rows);
	uint8	   *kept = palloc(sending->len);
	size_t		len = 0;
	uint32		rows = 0;

	for (uint32 i = 0; i < sending->rows; i++)
	{
		const uint8 *next = tuple_end(tuple, end);

		const Hallway__V1__RowResult *row = response->results[i];

		if (row->outcome == HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_NOT_SENT ||
			(row->outcome == HALLWAY__V1__ROW_OUTCOME__ROW_OUTCOME_REFUSED && row->bystander))
		{
			memcpy(kept + len, tuple, next - tuple);
			len += next - tuple;
			at[rows++] = sending->at != NULL ? sending->at[i] : i;
		}
		tuple = next;
	}
	/* There may be many rounds, each with nearly all rows. */
	if (sending->kept != NULL)
		pfree(sending->kept);
	if (sending->at != NULL)
		pfree(sending->at);
	sending->tuples = sending->kept = kept;
	sending->len = len;
	sending->rows = rows;
	sending->at = at;
}

/* Where a tuple that write.c made ends. */
static const uint8 *
tuple_end(const uint8 *tuple, const uint8 *end)
{
	uint16		n;

	Assert(end - tuple >= 2);
	memcpy(&n, tuple, 2);
	tuple += 2;
	for (n = pg_ntoh16(n); n > 0; n--)
	{
		uint32		len;

		Assert(end - tuple >= 4);
		memcpy(&len, tuple, 4);
		len = pg_ntoh32(len);
		tuple += 4 + (len == PG_UINT32_MAX ? 0 : len);
	}
	Assert(tuple <= end);
	return tuple;
}

/* Raises the error, which is that of one row, or of all if row is none of them. */
static void
throw_for_row(Sending *sending, uint32 row, const Hallway__V1__Error *error, bool retry_helps)
{
	if (row >= sending->rows)
		hallway_throw_refused(sending->write, sending->rel, -1, error, retry_helps);
	if (sending->at != NULL)
		row = sending->at[row];
	if (sending->hook != NULL)
		sending->hook(sending->arg, row);
	hallway_throw_refused(sending->write, sending->rel, row, error, retry_helps);
}

static void
throw_not_understood(Relation rel, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("could not understand the sidecar's answer to a write to foreign table \"%s\": %s",
					RelationGetRelationName(rel), why),
			 errhint("The API may or may not have applied it: look there before writing again.")));
}

/* Does the error leave open whether the API has done the write? */
static bool
outcome_unknown(const Hallway__V1__Error *error)
{
	return strcmp(error->sqlstate, "08007") == 0 ||
		strcmp(error->sqlstate, "08P01") == 0 ||
		strncmp(error->sqlstate, "XX", 2) == 0;
}

static uint32 *
column_indexes(const HallwayRelation *relation, List *attnums, size_t *n)
{
	uint32	   *indexes = palloc(sizeof(uint32) * Max(list_length(attnums), 1));
	ListCell   *lc;

	*n = 0;
	foreach(lc, attnums)
	{
		int			column = relation->columns[lfirst_int(lc) - 1];

		if (column < 0)
			elog(ERROR, "column %d of foreign table %u cannot be written",
				 lfirst_int(lc), relation->relid);
		indexes[(*n)++] = column;
	}
	return indexes;
}

static char *
new_idempotency_key(void)
{
	static uint8 drawn[KEYS_DRAWN][IDEMPOTENCY_KEY_LEN / 2];
	static int	left = 0;
	char	   *key = palloc(IDEMPOTENCY_KEY_LEN + 1);

	if (left == 0)
	{
		if (!pg_strong_random(drawn, sizeof(drawn)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values for an idempotency key")));
		left = KEYS_DRAWN;
	}
	left--;
	hex_encode((const char *) drawn[left], sizeof(drawn[left]), key);
	key[IDEMPOTENCY_KEY_LEN] = '\0';
	return key;
}
