/*-------------------------------------------------------------------------
 *
 * modify_refused.c
 *		What an API refused as the statement's error: which row it was, and what
 *		that had in the column that the API does not like.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "hallway.h"
#include "modify.h"

/* Bytes of a value that an error quotes. */
#define MAX_QUOTED_VALUE		200

static void add_sentence(StringInfo buf, const char *sentence);
static char *quote_value(const HallwayWrite *write, Relation rel, uint32 row,
						 const char *column);


void
hallway_throw_refused(const HallwayWrite *write, Relation rel, int64 row,
					  const Hallway__V1__Error *error, bool retry_helps)
{
	Hallway__V1__Error out = *error;
	StringInfoData detail;
	const char *where = "The row";
	char	   *value;

	out.row = 0;
	if (retry_helps && strcmp(error->sqlstate, "55000") == 0 &&
		(error->http_status == 409 || error->http_status == 412))
		out.sqlstate = "40001";
	if (row < 0)
		hallway_throw(&out, rel);

	initStringInfo(&detail);
	value = quote_value(write, rel, row, error->column_name);

	/* In PostgreSQL's words, for the sake of clients that take them apart. */
	if (value != NULL && strcmp(error->sqlstate, "23505") == 0)
	{
		add_sentence(&detail, psprintf("Key %s already exists.", value));
		value = NULL;
	}
	else if (value != NULL && strcmp(error->sqlstate, "23503") == 0)
	{
		add_sentence(&detail, psprintf("Key %s is not present in the API.", value));
		value = NULL;
	}
	add_sentence(&detail, error->detail);
	if (write->several && write->target.part)
		where = psprintf("Row " UINT64_FORMAT " of those for foreign table \"%s\"",
						 write->numbers[row],
						 hallway_to_utf8(RelationGetRelationName(rel)));
	else if (write->several)
		where = psprintf("Row " UINT64_FORMAT " of the statement", write->numbers[row]);
	if (value != NULL)
		add_sentence(&detail, psprintf("%s has %s.", where, value));
	else if (write->several)
		add_sentence(&detail, psprintf("%s.", where));
	out.detail = detail.data;

	hallway_throw(&out, rel);
}

static void
add_sentence(StringInfo buf, const char *sentence)
{
	if (sentence[0] == '\0')
		return;
	if (buf->len > 0)
		appendStringInfoChar(buf, ' ');
	appendStringInfoString(buf, sentence);
	if (strchr(".!?", buf->data[buf->len - 1]) == NULL)
		appendStringInfoChar(buf, '.');
}

/*
 * "(column)=(value)" of a row of the write, in UTF-8; NULL if the statement did
 * not give the column, or values are not to be shown.
 */
static char *
quote_value(const HallwayWrite *write, Relation rel, uint32 row, const char *column)
{
	const HallwayWriteTarget *target = &write->target;
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *name = hallway_server_text(column);
	AttrNumber	attnum = name[0] != '\0' ? get_attnum(RelationGetRelid(rel), name) : 0;
	HallwayRowReader *reader;
	TupleTableSlot *slot;
	uint8	   *copy;
	Datum		value;
	bool		isnull;
	const char *text = "null";

	if (attnum <= 0 || !target->journal_values ||
		!list_member_int(target->columns, attnum) || !bms_is_member(attnum, target->given))
		return NULL;

	/* Reading alters what is read. */
	copy = palloc(write->len);
	memcpy(copy, write->tuples, write->len);
	reader = hallway_reader_create(desc, list_concat_copy(target->keys, target->columns));
	hallway_reader_batch(reader, copy, write->len, write->rows);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	for (uint32 i = 0; i <= row; i++)
	{
		ExecClearTuple(slot);
		if (!hallway_reader_next(reader, slot))
			elog(ERROR, "the reader lost row %u of a write", i);
	}
	value = slot_getattr(slot, attnum, &isnull);
	if (!isnull)
	{
		Oid			function;
		bool		varlena;
		char	   *whole;
		int			len;

		getTypeOutputInfo(TupleDescAttr(desc, attnum - 1)->atttypid, &function, &varlena);
		whole = OidOutputFunctionCall(function, value);
		len = pg_mbcliplen(whole, strlen(whole), MAX_QUOTED_VALUE);
		text = whole[len] == '\0' ? whole : psprintf("%.*s...", len, whole);
	}
	ExecDropSingleTupleTableSlot(slot);
	return hallway_to_utf8(psprintf("(%s)=(%s)", name, text));
}
